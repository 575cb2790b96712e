"""An example as a small table, without a value of a sensitive column that was not configured."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from ci_mlops.dataset.domain import Cell, Domain, plain
from ci_mlops.evidence import Table
from ci_mlops.stages.behaviour.builtin import UNSEEN

if TYPE_CHECKING:
    from ci_mlops.dataset.settings import DataSettings

HIDDEN = "(sensitive)"
MAX_COLUMNS = 30
MAX_ROWS = 4
MAX_CELL = 80


class Shown:
    """How cells are shown; what is sensitive stays hidden, unless its category was configured."""

    def __init__(
        self,
        data: "DataSettings",
        domain: Domain,
        categories: Mapping[str, tuple[Cell, ...]],
    ) -> None:
        """`categories` are the values that `domain.categories` of mlops.yml names, by column."""
        self.domain = domain
        self.categories = categories
        self.sensitive = frozenset(data.sensitive)
        self.named = frozenset(data.categorical or ())

    def cell(self, column: str, value: Cell) -> str:
        """Return a value as text."""
        if column in self.sensitive and not self._is_configured(column, value):
            return HIDDEN
        if value is None:
            return "(missing)"
        return str(value)[:MAX_CELL]

    def text(self, said: str, rows: pd.DataFrame) -> str:
        """Return what a model said about rows, without the sensitive values in them."""
        hidden = {c: plain(rows[c].drop_duplicates()) for c in rows if str(c) in self.sensitive}
        hidden = {c: [v for v in cells if self._hides(str(c), v)] for c, cells in hidden.items()}
        if any(not isinstance(one, str) for cells in hidden.values() for one in cells):
            # A number can be written in too many ways to be found.
            return said.partition(":")[0]
        values = {one for cells in hidden.values() for one in cells}
        for one in sorted(values, key=len, reverse=True):
            said = re.sub(rf"(?<!\w){re.escape(one)}(?!\w)", HIDDEN, said)
        return said

    def table(self, title: str, rows: pd.DataFrame, answers: list[str]) -> Table:
        """Return columns as lines: those that are not typical first, the others counted."""
        typical = self.domain.typical()
        count = min(len(rows), MAX_ROWS)
        names = ["value"] if len(rows) == 1 else [f"row {n + 1}" for n in range(count)]
        lines: list[tuple[Any, ...]] = []
        same = 0
        for name, cells in self.domain.cells(rows.iloc[:count]).items():
            if all(one == typical[name] for one in cells):
                same += 1
                continue
            lines.append((name, *(self.cell(name, one) for one in cells)))
        left_out = max(0, len(lines) - MAX_COLUMNS)
        lines = lines[:MAX_COLUMNS]
        if same:
            others = f"{same} other column{'' if same == 1 else 's'}"
            lines.append((others, *["as in the typical row"] * count))
        if answers:
            lines.append(("answer", *(answers[:count] + [""] * (count - len(answers)))))
        return Table(
            title=title[:200], columns=("column", *names), rows=tuple(lines), left_out=left_out
        )

    def words(self, rows: pd.DataFrame) -> str:
        """Return what is not typical about one row, where that fits into a sentence."""
        typical = self.domain.typical()
        cells = {name: one[0] for name, one in self.domain.cells(rows.iloc[:1]).items()}
        odd = [f"{n} = {self.cell(n, v)}" for n, v in cells.items() if v != typical[n]]
        if len(rows) > 1 or len(odd) > 3:
            return ""
        return f" ({', '.join(odd)})" if odd else " (the typical row)"

    def typical(self) -> Table:
        """Return the typical row, which examples are shown against."""
        cells = self.domain.typical().items()
        lines = [(name, self.cell(name, one)) for name, one in cells]
        return Table(
            title="The typical row: medians and most frequent values",
            columns=("column", "value"),
            rows=tuple(lines[:200]),
            left_out=max(0, len(lines) - 200),
        )

    def _hides(self, column: str, value: Cell) -> bool:
        return value is not None and self.cell(column, value) == HIDDEN

    def _is_configured(self, column: str, value: Cell) -> bool:
        if value == UNSEEN:
            return True
        return column in self.named or value in self.categories.get(column, ())
