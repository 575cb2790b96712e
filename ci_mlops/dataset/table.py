"""A table of rows named by key, read from files."""

from dataclasses import dataclass

import pandas as pd

from ci_mlops.dataset.settings import DataSettings


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows and columns of one part (train or test) of one side."""

    frame: pd.DataFrame
    """All columns of the file; the index is the row key, unique and without nulls."""
    settings: DataSettings
    place: str
    """Where it was read from, for messages."""
