"""Two versions of a table in, what changed out; both are streamed and joined by hashes of cells.

Rows are matched by the hash of their key, or without a key by that of their content, as a multiset.
Memory stays bounded however long the tables are: where hashes of all rows would need more than
`MEMORY_BYTES`, the tables are read several times, each time for another share of the keys.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ci_mlops.dataset.change import Change, Column, Counts, Means, Moved, Span
from ci_mlops.dataset.columns import MAX_CATEGORIES
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.dataset.streaming import Cells, Rows, joined
from ci_mlops.errors import CannotLook
from ci_mlops.stats import shift

if TYPE_CHECKING:
    import pyarrow as pa

MEMORY_BYTES = 1 << 29
"""What the hashes of both sides may take."""
MAX_VALUES = 1000
"""Distinct values of a column that are counted; of more, none is."""
MAX_LABELS = 20
"""A numeric label of more distinct values is a quantity, compared by its mean."""
ALPHA = 1e-6
INDEX = re.compile(r"__index_level_\d+__")
"""Where pandas keeps a frame's row labels in Parquet; they are no column."""
SIGMAS = 4.9
"""Standard errors that chance exceeds once in a million times."""


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """What the columns mean, as far as comparing needs to know."""

    key: str | None = None
    label: str = ""
    hidden: frozenset[str] = frozenset()
    """Columns of which no value may come out."""
    slices: tuple[str, ...] = ()
    """Columns by which parts of the data are counted."""
    categorical: frozenset[str] = frozenset()
    ignore: frozenset[str] = frozenset()


def meaning_of(settings: Sequence[DataSettings]) -> Meaning:
    """Return what columns mean as the last of the settings says, the head's.

    What any of them hides stays hidden. What one alone ignores is looked at, so that a change
    cannot hide itself.
    """
    head = settings[-1]
    hidden = {name for one in settings for name in (*one.hidden, *one.sensitive, one.key or "")}
    ignored = [frozenset(one.ignore) for one in settings]
    return Meaning(
        key=head.key,
        label=head.label,
        hidden=frozenset(hidden),
        slices=head.sensitive,
        categorical=frozenset(head.categorical or ()),
        ignore=frozenset.intersection(*ignored) - {head.key, head.label, *head.sensitive},
    )


def compare(
    name: str,
    base: Rows,
    head: Rows,
    meaning: Meaning,
    *,
    seed: int = 0,
    memory: int = MEMORY_BYTES,
) -> Change:
    """Return what changed from `base` to `head`. Raises CannotLook when one cannot be read.

    `seed` salts the hashes, so that nobody can prepare rows that hash alike.
    """
    meaning = _known(meaning, base, head)
    plan = _Plan.of(base, head, meaning)
    seen = {side: {c: _Seen() for c in columns} for side, columns in plan.read.items()}
    parts = max(1, math.ceil(plan.bytes() / memory))
    total = _Tally(changed_by_column=np.zeros(len(plan.common), dtype=np.int64))
    for part in range(parts):
        rows = {
            side: _gather(
                source,
                plan,
                side,
                seen[side] if part == 0 else {},
                part=part,
                parts=parts,
                hashing=_Hashing(seed),
            )
            for side, source in (("base", base), ("head", head))
        }
        total.add(rows["base"], rows["head"], keyed=meaning.key is not None)
    return _change(name, plan, meaning, seen, total)


def _known(meaning: Meaning, base: Rows, head: Rows) -> Meaning:
    """Return the meaning without a key that a side lacks in its own words. Raises CannotLook."""
    if meaning.key is None:
        return meaning
    for source in (base, head):
        if meaning.key not in source.shape.columns:
            raise CannotLook(
                f"has no column {meaning.key!r}, the key",
                place=source.place,
                remedy="Name another column, or leave the key out to count whole rows",
            )
    return meaning


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """Which columns are read on each side, as what, and which are held against each other."""

    read: dict[str, dict[str, Cells]]
    own: dict[str, dict[str, Cells]]
    common: tuple[str, ...]
    key: str | None
    rows: dict[str, int]

    @classmethod
    def of(cls, base: Rows, head: Rows, meaning: Meaning) -> "_Plan":
        own = {
            side: {
                n: c
                for n, c in shape.columns.items()
                if n not in meaning.ignore and not INDEX.fullmatch(n)
            }
            for side, shape in (("base", base.shape), ("head", head.shape))
        }
        both = [name for name in own["base"] if name in own["head"]]
        together = {n: joined(own["base"][n], own["head"][n]) for n in both}
        return cls(
            read={side: {**columns, **together} for side, columns in own.items()},
            own=own,
            common=tuple(name for name in both if name != meaning.key),
            key=meaning.key,
            rows={"base": base.shape.rows, "head": head.shape.rows},
        )

    def bytes(self) -> int:
        """What the hashes of both sides take: 8 bytes a row, and 4 a cell where rows match."""
        per_row = 8 + (4 * len(self.common) if self.key else 0)
        # Sorting and matching take as much again.
        return 2 * per_row * sum(self.rows.values())


@dataclass(kw_only=True)
class _Hashed:
    keys: np.ndarray
    """Hashes of keys, or of whole rows, shape (n,)."""
    cells: list[np.ndarray]
    """Hashes of cells by column, each of shape (n,); none without a key."""


class _Hashing:
    """Turns cells into numbers that tell them apart; the same for equal cells of either side."""

    def __init__(self, seed: int) -> None:
        self.salt = np.uint64(_mixed(np.array([seed], dtype=np.uint64))[0])
        self.text_key = f"{int(self.salt):016x}"

    def cells(self, column: "pa.Array") -> np.ndarray:
        """Return 64-bit hashes of n cells, shape (n,); all missing ones hash alike."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if pa.types.is_null(column.type):
            return np.full(len(column), self.salt)
        if pa.types.is_string(column.type):
            return self._texts(column)
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        elif pa.types.is_boolean(column.type):
            column = pc.cast(column, pa.int8())
        missing = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else None
        filled = pc.fill_null(column, 0) if column.null_count else column
        plain = filled.to_numpy(zero_copy_only=False)
        if plain.dtype.kind == "f":
            plain = plain + 0.0  # -0.0 equals 0.0
            bits = plain.astype(np.float64).view(np.uint64)
        else:
            bits = plain.astype(np.int64).view(np.uint64)
        made = _mixed(bits ^ self.salt)
        return made if missing is None else np.where(missing, self.salt, made)

    def _texts(self, column: "pa.Array") -> np.ndarray:
        import pandas as pd
        import pyarrow.compute as pc

        coded = pc.dictionary_encode(column)
        words = coded.dictionary.to_numpy(zero_copy_only=False).astype(object)
        hashes = pd.util.hash_array(words, hash_key=self.text_key, categorize=False)
        codes = pc.fill_null(coded.indices, len(words)).to_numpy(zero_copy_only=False)
        return cast("np.ndarray", np.append(hashes, self.salt)[codes])

    def row(self, cells: Sequence[np.ndarray], rows: int) -> np.ndarray:
        """Return one hash for each row of n from those of its cells, in the order of columns."""
        made = np.full(rows, self.salt)
        for one in cells:
            made = _mixed(made * np.uint64(0x9E3779B97F4A7C15) ^ one)
        return made


def _mixed(bits: np.ndarray) -> np.ndarray:
    """Return 64-bit numbers scattered evenly, one to one.

    Source: Steele, Lea and Flood (2014), SplitMix.
    """
    with np.errstate(over="ignore"):
        made = bits + np.uint64(0x9E3779B97F4A7C15)
        made = (made ^ (made >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        made = (made ^ (made >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return cast("np.ndarray", made ^ (made >> np.uint64(31)))


def _gather(
    source: Rows,
    plan: _Plan,
    side: str,
    seen: "dict[str, _Seen]",
    *,
    part: int,
    parts: int,
    hashing: _Hashing,
) -> _Hashed:
    """Read one side, look at its columns where `seen` asks, and keep the hashes of a part."""
    named = [plan.key] if plan.key else list(plan.common)
    wanted = plan.read[side] if seen else {n: plan.read[side][n] for n in (*named, *plan.common)}
    keys: list[np.ndarray] = []
    cells: list[list[np.ndarray]] = [[] for _ in plan.common if plan.key]
    for batch in source.batches(wanted):
        for name, one in seen.items():
            one.look(batch[name], wanted[name])
        made = {name: hashing.cells(batch[name]) for name in {*named, *plan.common}}
        rows = len(next(iter(batch.values()))) if batch else 0
        key = hashing.row([made[name] for name in named], rows)
        mine = key % np.uint64(parts) == part if parts > 1 else slice(None)
        keys.append(key[mine])
        for kept, name in zip(cells, plan.common, strict=False):
            kept.append(made[name][mine].astype(np.uint32))
    return _Hashed(
        keys=np.concatenate(keys) if keys else np.array([], dtype=np.uint64),
        cells=[np.concatenate(one) for one in cells if one],
    )


@dataclass(kw_only=True)
class _Tally:
    """What was counted over all parts."""

    changed_by_column: np.ndarray
    added: int = 0
    removed: int = 0
    changed: int = 0
    repeated: Counter[str] = field(default_factory=Counter)

    def add(self, base: _Hashed, head: _Hashed, *, keyed: bool) -> None:
        """Count the rows of one part."""
        if not keyed:
            self._add_multisets(base.keys, head.keys)
            return
        old, first = np.unique(base.keys, return_index=True)
        new, second = np.unique(head.keys, return_index=True)
        self.repeated["base"] += len(base.keys) - len(old)
        self.repeated["head"] += len(head.keys) - len(new)
        both, in_old, in_new = np.intersect1d(old, new, assume_unique=True, return_indices=True)
        self.added += len(new) - len(both)
        self.removed += len(old) - len(both)
        one, two = first[in_old], second[in_new]
        differs = np.zeros(len(both), dtype=bool)
        for number, (before, after) in enumerate(zip(base.cells, head.cells, strict=True)):
            other = before[one] != after[two]
            self.changed_by_column[number] += int(other.sum())
            differs |= other
        self.changed += int(differs.sum())

    def _add_multisets(self, base: np.ndarray, head: np.ndarray) -> None:
        old, n = np.unique(base, return_counts=True)
        new, m = np.unique(head, return_counts=True)
        _, in_old, in_new = np.intersect1d(old, new, assume_unique=True, return_indices=True)
        shared = int(np.minimum(n[in_old], m[in_new]).sum())
        self.added += len(head) - shared
        self.removed += len(base) - shared


@dataclass(kw_only=True)
class _Seen:
    """What was seen of one column of one side."""

    rows: int = 0
    missing: int = 0
    low: Any = None
    high: Any = None
    sums: tuple[float, float] = (0.0, 0.0)
    """Sum, and sum of squares, of finite numbers, less the first of them; their count follows."""
    first: float | None = None
    finite: int = 0
    values: Counter[Any] | None = field(default_factory=Counter)
    """How often each value stands in it; None where there are too many to count."""

    def look(self, column: "pa.Array", cells: Cells) -> None:
        """Take in one batch."""
        import pyarrow.compute as pc

        self.rows += len(column)
        self.missing += column.null_count
        held = column.drop_null()
        if not len(held):
            return
        if cells in {"int", "float"}:
            self._look_at_numbers(held.to_numpy(zero_copy_only=False).astype(np.float64))
        elif cells == "time":
            ends = pc.min_max(held).as_py()
            self._widen(ends["min"], ends["max"])
        if self.values is not None and cells != "time":
            self._count(held)

    def _look_at_numbers(self, plain: np.ndarray) -> None:
        finite = plain[np.isfinite(plain)]
        if not len(finite):
            return
        self._widen(float(finite.min()), float(finite.max()))
        if self.first is None:
            self.first = float(finite[0])
        less = finite - self.first
        self.sums = (self.sums[0] + float(less.sum()), self.sums[1] + float(np.dot(less, less)))
        self.finite += len(finite)

    def _widen(self, low: Any, high: Any) -> None:
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)

    def _count(self, held: "pa.Array") -> None:
        import pyarrow.compute as pc

        counted = pc.value_counts(held)
        if self.values is None or len(counted) + len(self.values) > 2 * MAX_VALUES:
            self.values = None
            return
        values, times = counted.field(0).to_pylist(), counted.field(1).to_pylist()
        for value, n in zip(values, times, strict=True):
            self.values[value] += n
        if len(self.values) > MAX_VALUES:
            self.values = None

    def mean_and_variance(self) -> tuple[float, float]:
        """Return the mean and the variance of the finite numbers, at least one."""
        mean = self.sums[0] / self.finite
        return mean + (self.first or 0.0), max(0.0, self.sums[1] / self.finite - mean**2)

    def share_missing(self) -> float:
        """Return the share of missing values, 0 to 1."""
        return self.missing / self.rows if self.rows else 0.0


def _change(
    name: str, plan: _Plan, meaning: Meaning, seen: dict[str, dict[str, _Seen]], total: _Tally
) -> Change:
    keyed = meaning.key is not None
    changed = dict(zip(plan.common, total.changed_by_column.tolist(), strict=True))
    names = dict.fromkeys((*plan.own["base"], *plan.own["head"]))
    columns = tuple(
        _column(one, plan, meaning, seen, changed.get(one) if keyed else None) for one in names
    )
    rows = Counts(
        base=plan.rows["base"],
        head=plan.rows["head"],
        added=total.added,
        removed=total.removed,
        changed=total.changed if keyed else None,
        key=meaning.key,
        repeated_base=total.repeated["base"],
        repeated_head=total.repeated["head"],
    )
    schema_same = plan.own["base"] == plan.own["head"]
    same = schema_same and not (total.added or total.removed or total.changed)
    same = same and rows.base == rows.head
    return Change(
        name=name,
        state="unchanged" if same else "changed",
        rows=rows,
        columns=columns,
        label=meaning.label,
        slices=tuple(one for one in meaning.slices if one in names),
        left_out=len(meaning.ignore),
    )


def _column(
    name: str,
    plan: _Plan,
    meaning: Meaning,
    seen: dict[str, dict[str, _Seen]],
    changed: int | None,
) -> Column:
    before, after = seen["base"].get(name), seen["head"].get(name)
    hidden = name in meaning.hidden or name == meaning.key
    kind = plan.read["head"].get(name, "") if before and after else ""
    spans = [_span(one, kind) if one and not hidden else None for one in (before, after)]
    widened = False
    moved: Moved | None = None
    means: Means | None = None
    if before and after and name != meaning.key:
        moved = _moved(before, after, kind, hidden=hidden, is_asked=_is_asked(name, meaning))
        widened = kind in {"int", "float", "time"} and _is_wider(before, after) and not moved
        if name == meaning.label and kind in {"int", "float"} and moved is None:
            means = _means(before, after, hidden=hidden)
    return Column(
        name=name,
        cells_base=plan.own["base"].get(name, ""),
        cells_head=plan.own["head"].get(name, ""),
        hidden=hidden,
        changed=changed,
        missing_base=before.share_missing() if before else 0.0,
        missing_head=after.share_missing() if after else 0.0,
        span_base=spans[0],
        span_head=spans[1],
        widened=widened,
        moved=moved,
        means=means,
    )


def _is_asked(name: str, meaning: Meaning) -> int:
    """Return how many distinct numbers still count as categories in a column."""
    if name in meaning.categorical or name in meaning.slices:
        return MAX_CATEGORIES
    return MAX_LABELS if name == meaning.label else 0


def _span(seen: _Seen, kind: str) -> Span | None:
    if seen.low is None:
        return None
    if kind == "int":
        return Span(low=f"{seen.low:.0f}", high=f"{seen.high:.0f}")
    if kind == "float":
        return Span(low=f"{seen.low:.6g}", high=f"{seen.high:.6g}")
    return Span(low=seen.low.isoformat(), high=seen.high.isoformat()) if kind == "time" else None


def _is_wider(before: _Seen, after: _Seen) -> bool:
    if before.low is None or after.low is None:
        return False
    return bool(after.low < before.low or after.high > before.high)


def _moved(before: _Seen, after: _Seen, kind: str, *, hidden: bool, is_asked: int) -> Moved | None:
    """Return how the shares of values moved, for categories; None for anything else."""
    one, two = before.values, after.values
    most_values = is_asked if kind in {"int", "float"} else MAX_CATEGORIES
    if not one or not two or len({*one, *two}) > most_values:
        return None
    n, m = sum(one.values()), sum(two.values())
    most = max({*one, *two}, key=lambda v: (abs(one[v] / n - two[v] / m), str(v)))
    return Moved(
        distance=shift.total_variation(one, two),
        chance=shift.total_variation_critical(len({*one, *two}), n, m, ALPHA),
        groups_base=len(one),
        groups_head=len(two),
        new=len(two.keys() - one.keys()),
        gone=len(one.keys() - two.keys()),
        most="" if hidden else str(most),
        share_base=one[most] / n,
        share_head=two[most] / m,
    )


def _means(before: _Seen, after: _Seen, *, hidden: bool) -> Means | None:
    if not before.finite or not after.finite:
        return None
    (mean, variance), (now, _) = before.mean_and_variance(), after.mean_and_variance()
    spread = math.sqrt(variance)
    if not spread:
        return None
    return Means(
        base=0.0 if hidden else mean,
        head=0.0 if hidden else now,
        deviations=(now - mean) / spread,
        chance=SIGMAS * math.sqrt(1 / before.finite + 1 / after.finite),
    )
