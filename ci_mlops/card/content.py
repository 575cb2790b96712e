"""What a card says, out of evidence alone: figures with the record that holds them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ci_mlops.evidence import WAIVED, Check, Metric, Record, Run, Table
from ci_mlops.model.card_file import speaks_of
from ci_mlops.model.human import Human
from ci_mlops.model.settings import ModelSettings
from ci_mlops.verdict import Evidence, Verdict

TASKS = {
    "binary": "tabular-classification",
    "multiclass": "tabular-classification",
    "regression": "tabular-regression",
}
"""Task names of the Hugging Face Hub."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """Everything that a card is made of."""

    project: str
    settings: ModelSettings
    human: Human
    run: Run
    records: Evidence
    verdict: Verdict
    test: str
    """Location of the test data."""

    @property
    def title(self) -> str:
        """The card's title."""
        return self.human.title or self.project

    def record(self, stage: str) -> Record | None:
        """Return what a stage found; None where there is nothing that can be read."""
        found = self.records.get(stage)
        return found if isinstance(found, Record) else None

    def digests(self) -> dict[str, str]:
        """Return the digests of what was judged: `model`, `data.test` and the like."""
        return {
            one.name.removeprefix("head."): one.sha256
            for one in self.run.subjects
            if one.name.startswith("head.")
        }

    def speaks_of(self) -> dict[str, str]:
        """Return what the card is about: digests of model and data, and the threshold."""
        return speaks_of(self.digests(), self.settings.threshold)

    def metrics(self, stage: str) -> tuple[Metric, ...]:
        """Return the metrics of a stage."""
        record = self.record(stage)
        return record.metrics if record else ()

    def tables(self, stage: str, start: str) -> Iterator[Table]:
        """Yield the tables of a stage whose title begins so."""
        record = self.record(stage)
        for table in record.tables if record else ():
            if table.title.startswith(start):
                yield table

    def checks(self, stage: str) -> tuple[Check, ...]:
        """Return the checks of a stage."""
        record = self.record(stage)
        return record.checks if record else ()

    def waivers(self) -> list[tuple[str, Check]]:
        """Return the checks that count as warned because somebody waived them."""
        return [
            (stage, check)
            for stage in self.run.stages
            for check in self.checks(stage)
            if WAIVED in check.message
        ]

    def open_points(self) -> list[tuple[str, Check]]:
        """Return every check that neither passed nor was skipped."""
        return [
            (stage, check)
            for stage in self.run.stages
            for check in self.checks(stage)
            if check.outcome not in {"passed", "skipped"}
        ]


def footprint(card: Card) -> Sequence[tuple[str, float, str]]:
    """Return what the model takes: (what, value, unit)."""
    wanted = (
        ("serving", "bundle-size", "bundle, with model and code"),
        ("image", "image size", "image, uncompressed"),
        ("image", "server memory", "memory of its server"),
        ("image", "time until ready", "start of its server"),
    )
    return [
        (what, metric.value, metric.unit)
        for stage, name, what in wanted
        for metric in card.metrics(stage)
        if metric.name == name
    ]
