"""Every way we stop, one class per who must act, each with its exit code."""


class Stop(Exception):  # noqa: N818 - a stop is not always somebody's error
    """A stop that the user sees as one line: place, fault, remedy."""

    exit_code = 3

    def __init__(self, fault: str, *, place: str = "", remedy: str = "") -> None:
        super().__init__(fault)
        self.fault = fault
        self.place = place
        self.remedy = remedy

    def __str__(self) -> str:
        line = f"{self.place}: {self.fault}" if self.place else self.fault
        stop = "" if line.endswith(("?", ".", "!")) else "."
        line = f"{line}{stop} {self.remedy}" if self.remedy else line
        return " ".join(line.split())


class ConfigError(Stop):
    """The configuration, a flag or a policy is wrong; its author must act. Exit code 2."""

    exit_code = 2


class CannotLook(Stop):
    """A stage could not look at what it should judge; becomes an `error` check, never a pass.

    Outside a stage (a verb that needs the same file) it ends the command with exit code 2.
    """

    exit_code = 2


class EvidenceError(Stop):
    """Evidence is missing, damaged or forged. Exit code 1: what cannot be read never passes."""

    exit_code = 1


class OutsideError(Stop):
    """Something outside refused: docker, a registry, GitHub, git. Exit code 4."""

    exit_code = 4


class Interrupted(Stop):
    """The user pressed Ctrl-C, or the runner cancelled the job. Exit code 130."""

    exit_code = 130
