"""Slices of the test rows: which there are, where the model got worse, where it is useless."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ci_mlops.dataset.settings import DataSettings
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Check, Interval, Limit, Outcome, Table
from ci_mlops.stages.model import ModelStage
from ci_mlops.stages.model.answers import Absent, Pair
from ci_mlops.stats.scoring import Answers, row_quality
from ci_mlops.stats.slices import SliceMean, slice_means

MAX_COLUMNS = 40
MAX_VALUES = 8
MAX_SLICES = 200
FEW_DISTINCT = 10
SHOWN = 10
WORSE_THAN_TRIVIAL = 0.05
"""How far below the slice's own most common answer a slice must surely be to fail."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Slices:
    """Slices large enough to be judged, and how many were not."""

    masks: Mapping[str, Mask]
    small: int
    left_out: int = 0


def slices_of(settings: ModelStage, data: DataSettings, frame: pd.DataFrame) -> Slices:
    """The slices that are asked for, then the automatic ones, by name. Raises CannotLook."""
    found: dict[str, Mask] = {}
    for item in settings.slices:
        for column, edges in item.items() if isinstance(item, Mapping) else ((item, None),):
            if column not in frame.columns:
                raise CannotLook(
                    f"there is no column {column!r} to slice by", place="stages.model.slices"
                )
            found |= _ranges(frame[column], edges) if edges else _by_values(frame[column])
    if settings.automatic_slices:
        for column in _columns(data, frame)[:MAX_COLUMNS]:
            values = frame[column]
            few = column in data.sensitive or _is_categorical(column, values, data)
            made = _by_values(values) if few else _quarters(values)
            found |= {name: mask for name, mask in made.items() if name not in found}
    names = [name for name, mask in found.items() if not mask.all() and mask.any()]
    large = [name for name in names if found[name].sum() >= settings.min_slice_rows]
    return Slices(
        masks={name: found[name] for name in large[:MAX_SLICES]},
        small=len(names) - len(large),
        left_out=max(0, len(large) - MAX_SLICES),
    )


def change_check(
    settings: ModelStage, pair: Pair, slices: Slices
) -> tuple[Check, tuple[Table, ...]]:
    """The slice that got surely worse against base, most of all; and a table of the worst."""
    name = "worst-slice-against-base"
    if isinstance(pair.base, Absent):
        message = f"Slices were not compared: {pair.base.reason}."
        return Check(name=name, outcome=pair.base.outcome, message=message[:2000]), ()
    if pair.identical():
        return Check(name=name, outcome="passed", message="Predictions are identical."), ()
    if not slices.masks:
        return _none(name, settings, slices), ()
    changes = row_quality(pair.shared) - row_quality(pair.base)
    unit, scale = _unit(pair.base)
    found = slice_means(changes / scale, slices.masks)
    beyond = [one for one in found if not (one.mean >= -settings.max_slice_drop)]
    sure = [one for one in beyond if one.sure_high < 0]
    likely = [one for one in beyond if one.high < 0]
    worst = (sure or likely or found)[0]
    outcome: Outcome = "failed" if sure else "warned" if likely else "passed"
    meaning = {
        "failed": f"more than chance explains among {len(found)} slices",
        "warned": f"but among {len(found)} slices chance alone could show one like it",
    }.get(outcome, f"nothing beyond tolerance and chance in {len(found)} slices")
    return Check(
        name=name,
        slice=worst.name,
        outcome=outcome,
        message=f"{unit} changed by {worst.mean:+.3f} (95 % interval over all slices"
        f" {worst.sure_low:+.3f} to {worst.sure_high:+.3f}) where {worst.name}, on {worst.rows}"
        f" rows: {meaning}{_counted(slices)}."[:2000],
        observed=worst.mean,
        limit=Limit(at_least=-settings.max_slice_drop),
        interval=Interval(low=worst.sure_low, high=worst.sure_high),
        rows=worst.rows,
        remedy="" if outcome == "passed" else "Look at what this change does to these rows.",
    ), (_table(f"Worst slices against base: change of {unit.lower()}", found),)


def floor_check(
    settings: ModelStage, head: Answers, slices: Slices
) -> tuple[Check, tuple[Table, ...]]:
    """The slice in which the model is surely worse than always giving one answer there."""
    name = "slice-better-than-trivial"
    if not slices.masks:
        return _none(name, settings, slices), ()
    quality = row_quality(head)
    gains, means = np.zeros(len(quality)), {}
    found: list[SliceMean] = []
    level = 1 - 0.05 / len(slices.masks)
    for title, mask in slices.masks.items():
        trivial = _trivial(head, mask)
        gains[mask] = (quality[mask] - trivial) / _trivial_scale(head, trivial)
        means[title] = float(quality[mask].mean())
        found += slice_means(gains, {title: mask}, level=level)
    found.sort(key=lambda one: (one.mean, one.name))
    sure = [one for one in found if one.high < 0]
    worst = (sure or found)[0]
    outcome: Outcome = "passed"
    if sure:
        outcome = "failed" if worst.high < -WORSE_THAN_TRIVIAL else "warned"
    answer = "the median" if head.task == "regression" else "the most common label"
    shown = (
        f"mean absolute error {-means[worst.name]:.4g}"
        if head.task == "regression"
        else f"accuracy {means[worst.name]:.3f}"
    )
    meaning = (
        f"worse than always answering {answer} of these rows"
        if sure
        else f"no slice is surely worse than always answering {answer} there"
    )
    return Check(
        name=name,
        slice=worst.name,
        outcome=outcome,
        message=f"Where {worst.name}, the model has {shown} on {worst.rows} rows: {meaning};"
        f" {len(found)} slices judged{_counted(slices)}."[:2000],
        observed=worst.mean,
        limit=Limit(at_least=0),
        interval=Interval(low=worst.low, high=worst.high),
        rows=worst.rows,
        remedy="Look whether labels or predictions are inverted or shifted for these rows."
        if sure
        else "",
    ), (_table("Worst slices: gain over one fixed answer", found),)


def _unit(base: Answers) -> tuple[str, float]:
    if base.task != "regression":
        return "Accuracy", 1.0
    scale = float(-row_quality(base).mean())
    return "Minus mean absolute error, as a share of base's,", scale if scale > 0 else 1.0


def _trivial(head: Answers, mask: Mask) -> NDArray[np.float64]:
    truth = head.truth[mask].astype(np.float64)
    if head.task == "regression":
        return np.asarray(-np.abs(truth - np.median(truth)), dtype=np.float64)
    values, counts = np.unique(truth, return_counts=True)
    return np.asarray(truth == values[counts.argmax()], dtype=np.float64)


def _trivial_scale(head: Answers, trivial: NDArray[np.float64]) -> float:
    scale = float(-trivial.mean()) if head.task == "regression" else 1.0
    return scale if scale > 0 else 1.0


def _none(name: str, settings: ModelStage, slices: Slices) -> Check:
    return Check(
        name=name,
        outcome="skipped",
        message=f"No slice has {settings.min_slice_rows} test rows; {slices.small} have fewer.",
    )


def _counted(slices: Slices) -> str:
    said = f"; {slices.small} smaller slices not judged" if slices.small else ""
    return f"{said}; {slices.left_out} more left out" if slices.left_out else said


def _table(title: str, found: tuple[SliceMean, ...] | list[SliceMean]) -> Table:
    rows = [(one.name[:200], one.rows, one.mean, one.low, one.high) for one in found[:SHOWN]]
    return Table(
        title=title,
        columns=("slice", "rows", "mean", "low", "high"),
        rows=tuple(rows),
        left_out=max(0, len(found) - SHOWN),
    )


def _columns(data: DataSettings, frame: pd.DataFrame) -> list[str]:
    never = {data.label, data.key, data.time, *data.ignore, *data.hidden}
    shown = [column for column in data.sensitive if column not in data.hidden]
    first = [column for column in shown if column in frame.columns]
    rest = [str(column) for column in frame.columns if column not in never and column not in first]
    return first + rest


def _is_categorical(column: str, values: "pd.Series", data: DataSettings) -> bool:
    if data.categorical is not None and column in data.categorical:
        return True
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    return not numeric or values.nunique() <= FEW_DISTINCT


def categorical_columns(data: DataSettings, frame: pd.DataFrame) -> tuple[str, ...]:
    """Features with categories: as configured, or by type and number of distinct values."""
    if data.categorical is not None:
        return tuple(column for column in data.categorical if column in frame.columns)
    return tuple(c for c in _columns(data, frame) if _is_categorical(c, frame[c], data))


def _by_values(values: "pd.Series") -> dict[str, Mask]:
    counts = values.value_counts(dropna=True)
    found = {f"{values.name} = {one}": _mask(values == one) for one in counts.index[:MAX_VALUES]}
    missing = _mask(values.isna())
    return {**found, f"{values.name} missing": missing} if missing.any() else found


def _ranges(values: "pd.Series", edges: tuple[float, ...]) -> dict[str, Mask]:
    found = {}
    for low, high in pairwise(edges):
        inside = (values >= low) & (values < high)
        upper = "" if high == np.inf else f" < {high:g}"
        lower = "" if low == -np.inf else f"{low:g} ≤ "
        found[f"{lower}{values.name}{upper}"] = _mask(inside)
    return found


def _quarters(values: "pd.Series") -> dict[str, Mask]:
    cuts = np.unique(values.quantile([0.25, 0.5, 0.75]).dropna().to_numpy(dtype=float))
    if not len(cuts):
        return {f"{values.name} missing": _mask(values.isna())}
    found = _ranges(values, (-np.inf, *map(float, cuts), np.inf))
    missing = _mask(values.isna())
    return {**found, f"{values.name} missing": missing} if missing.any() else found


def _mask(values: "pd.Series") -> Mask:
    return values.fillna(False).to_numpy(dtype=bool)
