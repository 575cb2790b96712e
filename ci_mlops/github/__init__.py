"""The one door to GitHub: the runner's environment and files, and the API."""

from ci_mlops.github.workflow import Workflow, escape_command, printable

__all__ = ["Workflow", "escape_command", "printable"]
