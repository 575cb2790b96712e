"""The catalogue of metrics: which exist for which task, and which way is better."""

from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure of merit of a model on labelled rows."""

    name: str
    better: Better = "higher"
    needs_scores: bool = False
    """Whether it is a function of class probabilities, not of decisions alone."""

    def worsening(self, change: float) -> float:
        """How much worse a change is, in the metric's unit; negative when it is better."""
        return -change if self.better == "higher" else change


def _lower(name: str, *, needs_scores: bool = False) -> Metric:
    return Metric(name=name, better="lower", needs_scores=needs_scores)


METRICS: dict[str, tuple[Metric, ...]] = {
    "binary": (
        Metric(name="roc_auc", needs_scores=True),
        Metric(name="average_precision", needs_scores=True),
        _lower("log_loss", needs_scores=True),
        _lower("brier", needs_scores=True),
        Metric(name="accuracy"),
        Metric(name="balanced_accuracy"),
        Metric(name="precision"),
        Metric(name="recall"),
        Metric(name="f1"),
    ),
    "multiclass": (
        Metric(name="accuracy"),
        Metric(name="balanced_accuracy"),
        Metric(name="f1_macro"),
        _lower("log_loss", needs_scores=True),
        Metric(name="roc_auc_ovr", needs_scores=True),
    ),
    "regression": (
        _lower("mae"),
        _lower("rmse"),
        Metric(name="r2"),
        _lower("median_absolute_error"),
    ),
}
"""Every metric of every task, in the order in which a report shows them."""


def known_names() -> tuple[str, ...]:
    """Every metric's name, of any task."""
    return tuple(dict.fromkeys(metric.name for of in METRICS.values() for metric in of))


def find(name: str, task: str | None = None) -> Metric | None:
    """Find a metric by name, among one task's or all; None where there is none."""
    tasks = (METRICS[task],) if task else tuple(METRICS.values())
    return next((metric for of in tasks for metric in of if metric.name == name), None)
