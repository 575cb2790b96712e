"""The command that starts a bundle's server."""

import sys
from pathlib import Path

from ci_mlops.model.process import interpreter
from ci_mlops.model.settings import ModelSettings

TOP = Path(__file__).resolve().parents[2]
START = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from ci_mlops.serving.__main__ import main; sys.exit(main())"
)


def flags(model: ModelSettings | None, root: Path) -> list[str]:
    """Return how the model of a project is loaded: by which interpreter, in how much memory.

    Raises CannotLook when the interpreter is missing.
    """
    if model is None:
        return []
    made = [f"--timeout-s={model.timeout_s:g}", f"--memory-mb={model.memory_mb}"]
    if model.python is not None:
        made.append(f"--python={interpreter(model, root).absolute()}")
    return made


def command(bundle: Path, *flags: str) -> list[str]:
    """Return a command that serves a bundle.

    It is isolated (`-I`): no file of the folder it starts in, and no variable, is imported.
    """
    return [sys.executable, "-I", "-c", START, str(TOP), str(bundle), *flags]
