"""What changed between two versions of a table, as values that hold no cell of a hidden column."""

from dataclasses import dataclass
from typing import Literal

State = Literal["unchanged", "changed", "new", "gone", "unseen"]
"""`unseen`: the digests differ, and the content of a side is not here to be looked at."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many rows came, went and stayed."""

    base: int
    head: int
    added: int
    removed: int
    changed: int | None
    """Rows of the same key with another content; None where rows are not named by a key."""
    key: str | None
    repeated_base: int = 0
    """Rows whose key stands in an earlier row too; only the first of each is compared."""
    repeated_head: int = 0


@dataclass(frozen=True, kw_only=True)
class Span:
    """The lowest and highest value of a column on one side, as text."""

    low: str
    high: str


@dataclass(frozen=True, kw_only=True)
class Moved:
    """How far the shares of a column's values moved, and the value that moved most."""

    distance: float
    """Total variation, 0 to 1."""
    chance: float
    """The distance that two samples of the same source exceed once in a million times."""
    groups_base: int
    groups_head: int
    new: int
    """Values that only head has, and `gone` those that only the base has."""
    gone: int
    most: str
    """The value whose share moved most; empty where it may not be shown."""
    share_base: float
    share_head: float


@dataclass(frozen=True, kw_only=True)
class Means:
    """How far the mean of a numeric column moved."""

    base: float
    head: float
    deviations: float
    """The move in standard deviations of the base."""
    chance: float
    """The move that chance exceeds once in a million times, in the same unit."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """What changed in one column."""

    name: str
    cells_base: str
    """What its cells are (int, text ...); empty where the side lacks the column."""
    cells_head: str
    hidden: bool
    """Whether none of its values may be shown."""
    changed: int | None = None
    """Rows of the same key whose value differs."""
    missing_base: float = 0.0
    """Share of missing values."""
    missing_head: float = 0.0
    span_base: Span | None = None
    span_head: Span | None = None
    widened: bool = False
    """Whether head's values go beyond the base's lowest or highest."""
    moved: Moved | None = None
    means: Means | None = None

    @property
    def is_retyped(self) -> bool:
        """Whether its cells are of another kind than they were."""
        kinds = {self.cells_base, self.cells_head} - {"empty"}
        return self.stays and len(kinds) > 1 and kinds != {"int", "float"}

    @property
    def stays(self) -> bool:
        """Whether both sides have the column."""
        return bool(self.cells_base and self.cells_head)


@dataclass(frozen=True, kw_only=True)
class Change:
    """What changed between two versions of one table."""

    name: str
    """`train`, `test`, or what the user named."""
    state: State
    why: str = ""
    """What keeps us from looking, and what to do about it; empty otherwise."""
    rows: Counts | None = None
    columns: tuple[Column, ...] = ()
    label: str = ""
    """Name of the column that a model predicts, where there is one."""
    slices: tuple[str, ...] = ()
    """Names of the columns by which parts of the data are counted."""
    left_out: int = 0
    """Columns that the settings say to ignore."""

    def column(self, name: str) -> Column | None:
        """Return a column by name."""
        return next((one for one in self.columns if one.name == name), None)
