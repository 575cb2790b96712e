"""Monitor fairness: the policy packs of stage policy, on what was decided in production."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ci_mlops.monitors.production import Monitor, Watched
from ci_mlops.stage import Findings
from ci_mlops.values import Many


class FairnessMonitor(Monitor):
    """Judges decisions in production by group, by the same rules as before the merge."""

    name: ClassVar[Literal["fairness"]] = "fairness"
    question: ClassVar[str] = "Does the model keep our rules for fairness in production, too?"
    uses: ClassVar[tuple[str, ...]] = ("data.test", "model", "code")

    packs: Annotated[Many[str], Field(min_length=1)] | None = None
    """Packs as in stage policy; default: that stage's, or `four-fifths`. Rules that need a base or
    a document are judged before the merge alone."""
    window_days: Annotated[float, Field(gt=0, le=3660)] = 30
    """Predictions that are looked at: those of what is live whose labels have arrived."""
    min_labels: Annotated[int, Field(ge=20)] = 100
    """Labels below which nothing is decided."""

    def look(self, watched: Watched) -> Findings:
        """Judge the rules on the window's rows."""
        from ci_mlops.monitors.fairness import judging

        return judging.judge(self, watched)
