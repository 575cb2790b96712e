"""Stage serving: whether the model answers over HTTP as it was judged."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ci_mlops.stage import Findings, Stage, Workspace


class ServingStage(Stage):
    """Makes the bundle that a release takes, starts its server, and asks it."""

    name: ClassVar[Literal["serving"]] = "serving"
    question: ClassVar[str] = "Does it answer over HTTP as it was judged?"
    uses: ClassVar[tuple[str, ...]] = ("data.test", "data.train", "model", "code")

    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.000_001
    """How far a number may lie from the judged one, relative where it is above 1."""
    ready_within_s: Annotated[float, Field(gt=0, le=3600)] = 30
    """How long the server may take until it is ready."""

    def inputs(self, workspace: Workspace) -> Mapping[str, str]:
        """Digests of what the bundle depends on beside data, model and code."""
        from ci_mlops import bundling

        return bundling.inputs(workspace.head)

    def run(self, workspace: Workspace) -> Findings:
        """Make head's bundle and try it. Raises CannotLook."""
        from ci_mlops.stages.serving import trying

        return trying.run(self, workspace)
