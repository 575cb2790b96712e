"""The one place that catches: every stop becomes one line and its exit code."""

import errno
import os
import sys
from collections.abc import Mapping, Sequence

from ci_mlops import REPOSITORY, __version__
from ci_mlops.errors import OutsideError, Stop

ISSUES = f"https://github.com/{REPOSITORY}/issues/new"
DISK = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS))
"""Where a disk refuses, nobody has made a mistake in a program."""


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Run the command line and return its exit code."""
    environ = os.environ if environ is None else environ
    try:
        from ci_mlops import cli

        return cli.main(sys.argv[1:] if arguments is None else arguments, environ)
    except Stop as stop:
        return _say(stop, environ)
    except KeyboardInterrupt:
        print("interrupted: nothing half-written was kept", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`| head`); there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as bug:  # noqa: BLE001 - the last line of defence; it hides nothing
        full = _full_disk(bug)
        return _say(full, environ) if full else _say_bug(bug)


def _say(stop: Stop, environ: Mapping[str, str]) -> int:
    from ci_mlops.github import printable

    print(f"error: {printable(str(stop))}", file=sys.stderr)
    if environ.get("GITHUB_ACTIONS") == "true":
        from ci_mlops.github import escape_command

        file, _, line = stop.place.partition(":")
        known = os.path.exists(file)  # noqa: PTH110 - a text, not a path of ours
        at = f" file={escape_command(file, is_property=True)}" if known else ""
        at += f",line={line}" if known and line.isdigit() else ""
        print(f"::error{at}::{escape_command(str(stop))}")
    return stop.exit_code


def _full_disk(bug: Exception) -> Stop | None:
    if not isinstance(bug, OSError) or bug.errno not in DISK:
        return None
    said = str(bug.strerror)
    return OutsideError(said, place=str(bug.filename or ""), remedy="Make room, and run it again")


def _say_bug(bug: Exception) -> int:
    import platform
    import traceback

    traceback.print_exception(bug)
    print(
        f"\nThis is a fault of ci-mlops {__version__} (Python {platform.python_version()}, "
        f"{platform.platform()}), not of your project.\nPlease report it with the lines above: "
        f"{ISSUES}",
        file=sys.stderr,
    )
    return 3


if __name__ == "__main__":
    sys.exit(main())
