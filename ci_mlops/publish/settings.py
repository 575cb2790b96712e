"""The `publish` section of mlops.yml: by what means a report reaches the pull request."""

from typing import Literal

from ci_mlops.values import Value

Via = Literal["github", "cml"]


class PublishSettings(Value):
    """How the report is shown to people."""

    via: Via = "github"
    """Who posts the comment: ci-mlops itself, or the `cml` command of Iterative's CML."""
