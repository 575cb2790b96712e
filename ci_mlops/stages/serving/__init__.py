"""Stage serving: whether the model answers over HTTP as it was judged."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ci_mlops.stage import Findings, Stage, Workspace


class ServingStage(Stage):
    """Makes the bundle that a release takes, starts its server, and asks it."""

    name: ClassVar[Literal["serving"]] = "serving"
    question: ClassVar[str] = "Does it answer over HTTP as it was judged?"
    uses: ClassVar[tuple[str, ...]] = ("data.test", "data.train", "model", "code")

    recorded_rows: Annotated[int, Field(ge=1, le=1000)] = 32
    """Test rows that the bundle holds with the answers that were judged, for every later
    verification. Whoever can read the bundle can read them."""
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.000_001
    """How far a probability may lie from the judged one, absolute or as a share of it."""
    ready_within_s: Annotated[float, Field(gt=0, le=3600)] = 30
    """How long the server may take until it is ready."""
    seed: Annotated[int, Field(ge=0, le=2**31)] = 0
    """Decides which test rows are recorded."""

    def run(self, workspace: Workspace) -> Findings:
        """Make head's bundle and try it. Raises CannotLook."""
        from ci_mlops.stages.serving import trying

        return trying.run(self, workspace)
