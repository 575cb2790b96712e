"""What trying a property on many rows came to, before anybody judges it."""

from dataclasses import dataclass, field

import pandas as pd

from ci_mlops.stages.behaviour.shrinking import Breaks, Shape


@dataclass(frozen=True, kw_only=True)
class Example:
    """Rows that break a property, and how to tell whether others like them do."""

    rows: pd.DataFrame
    breaks: Breaks | None
    """None where smaller rows would mean nothing, as of a case that somebody wrote."""
    shape: Shape = field(default_factory=Shape)
    """What may be changed about them to make them smaller."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One property on one model."""

    tried: int
    """Rows that it was tried on."""
    broken: int = 0
    said: str = ""
    """What was seen, of the example."""
    example: Example | None = None
    skipped: str = ""
    """Why it was not tried, where that is no fault."""
    undecided: str = ""
    """Why it could not be decided, where that is the model's own doing."""
    wrong: tuple[tuple[str, str, str], ...] = ()
    """Of cases: name, what was expected, what was answered."""
    which: tuple[int, ...] = ()
    """Of cases: the positions of those that broke it."""
    unlike: int = 0
    """Rows that could not be judged by it, such as those for which the model raised."""

    @property
    def percent(self) -> float:
        """Rows that broke it, in percent of those tried."""
        return 100 * self.broken / self.tried if self.tried else 0.0

    def is_no_worse(self, base: "Trial", slack: float) -> bool:
        """Whether it broke no more than at the base: the same cases, or a share within slack."""
        if self.which:
            return set(self.which) <= set(base.which)
        return self.percent <= base.percent + slack
