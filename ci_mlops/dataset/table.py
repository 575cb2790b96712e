"""A table of rows named by key, read from files."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ci_mlops.dataset.settings import DataSettings

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows and columns of one part (train or test) of one side."""

    frame: "pd.DataFrame"
    """All columns of the file; the index is the row key, unique and without nulls."""
    settings: DataSettings
    place: str
    """Where it was read from, for messages."""
