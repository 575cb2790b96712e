"""Columns that alone tell the label too well."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ci_mlops.dataset.columns import codes, kind
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.stages.data import DataLimits
from ci_mlops.stages.data.faults import (
    FEWEST_ROWS,
    Fault,
    Look,
    too_few,
)
from ci_mlops.stages.data.rows import features
from ci_mlops.stats import power


def leaks(
    frame: pd.DataFrame, settings: DataSettings, limits: DataLimits
) -> Iterable[Fault | Look]:
    """Yield the columns, the key included, that alone tell the label too well."""
    labelled = int(frame[settings.label].notna().sum())
    if labelled < FEWEST_ROWS:
        yield Look(check="leak", outcome="inconclusive", why=too_few(labelled, "labelled rows"))
        return
    yield Look(check="leak")
    for name, value in powers(frame, settings).items():
        if not value <= limits.leak_power:
            yield Fault(
                check="leak",
                slice=name,
                observed=value,
                limit=limits.leak_power,
                message=f"Column {name} alone tells the label with a power of {value:.2f} "
                "(0 is chance, 1 is certainty).",
                remedy="Check whether it is known before the decision; if not, drop it",
            )


def powers(frame: pd.DataFrame, settings: DataSettings) -> dict[str, float]:
    """Return how well each column alone tells the label."""
    rows = frame[frame[settings.label].notna()]
    rows = rows.sample(min(len(rows), 50_000), random_state=0)
    rows = rows[~np.isinf(codes(rows[settings.label]))]
    label = codes(rows[settings.label])
    numeric = kind(rows[settings.label]) == "number" and len(np.unique(label)) > 20
    names = [*features(rows, settings)]
    names += [settings.key] if settings.key and settings.key in rows.columns else []
    return {
        name: power.power_of_one(codes(rows[name]), label, numeric_label=numeric)
        for name in dict.fromkeys(names)
    }
