"""One side's model, asked within a time; answers are always a matrix, whatever the task."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ci_mlops.errors import CannotLook
from ci_mlops.model.predict import as_it_came, finished, positive_class
from ci_mlops.model.process import ModelProcess, Refused

if TYPE_CHECKING:
    import pandas as pd

    from ci_mlops.command import Commands
    from ci_mlops.stage import Side

Floats = NDArray[np.float64]


class Spent(Exception):  # noqa: N818 - a budget that is spent is nobody's error
    """The stage's time is over."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A model's answers for n rows."""

    values: Floats
    """Class probabilities, or decisions as 0 and 1, shape (n, classes); values, shape (n, 1)."""
    classes: tuple[Any, ...]
    """The columns of `values`; empty for regression."""


class Door:
    """One side's model in its process; a context manager."""

    def __init__(
        self,
        side: "Side",
        commands: "Commands",
        labels: "pd.Series[Any]",
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare, but start nothing; `labels` are all that the model may answer.

        Raises CannotLook when the side has no model to ask.
        """
        if side.model is None or side.model.path is None:
            what = "no `model` section" if side.model is None else "predictions in place of a model"
            raise CannotLook(
                f"{side.name} has {what}, so there is nothing to ask",
                place="stages.explain",
                remedy="Give `model.path`",
            )
        self.side = side
        self.settings = side.model
        self.labels = labels
        self.now = now
        self.deadline = float("inf")
        """In seconds of `now`."""
        self.rows = 0
        self.versions: dict[str, str] = {}
        self.inputs: tuple[str, ...] = ()
        self._process = ModelProcess(side.model, root=side.root, commands=commands)

    def __enter__(self) -> Self:
        """Load the model. Raises CannotLook when it cannot be."""
        self._process.__enter__()
        try:
            handshake = self._process.load()
        except BaseException:
            self._process.__exit__()
            raise
        self.inputs = handshake.inputs or ()
        self.versions = dict(handshake.versions)
        return self

    def __exit__(self, *_: object) -> None:
        """End the model's process."""
        self._process.__exit__()

    def ask(self, frame: "pd.DataFrame") -> Reply:
        """Ask about n rows. Raises Spent when time is over, Refused where the model's code raised.

        Raises CannotLook where it cannot be asked on.
        """
        left = self.deadline - self.now()
        if left <= 0:
            raise Spent
        self._process.settings = self.settings.model_copy(
            update={"timeout_s": min(self.settings.timeout_s, left)}
        )
        self.rows += len(frame)
        try:
            answer = self._process.predict(frame)
        except Refused:
            raise
        except CannotLook as fault:
            if self.now() >= self.deadline:
                raise Spent from fault
            raise
        raw = as_it_came(answer)
        told: dict[str, Any] = {
            "classes": answer.header.get("classes"),
            "inputs": (),
            "versions": {},
            "seconds": 0,
        }
        return _matrix(self, frame, raw | told)

    def shap(self, frame: "pd.DataFrame") -> tuple[Mapping[str, float], str]:
        """Return each column's mean absolute SHAP value and the package's version.

        Raises Refused where the project's environment has no exact way. Raises Spent.
        """
        left = self.deadline - self.now()
        if left <= 0:
            raise Spent
        self._process.settings = self.settings.model_copy(
            update={"timeout_s": min(self.settings.timeout_s, left)}
        )
        return self._process.shap(frame)

    def focus(self, reply: Reply) -> int:
        """The column of an answer that stands for it where one number is wanted.

        The favourable class of a binary task; the most frequent one of more; else the value.
        """
        if not reply.classes or reply.values.shape[1] == 1:
            return 0
        if self.settings.task == "binary":
            return reply.classes.index(positive_class(reply.classes, self.side.data.positive))
        return int(reply.values.sum(axis=0).argmax())


def _matrix(door: Door, frame: "pd.DataFrame", raw: dict[str, Any]) -> Reply:
    numbers = raw["predicted"] if raw["scores"] is None else raw["scores"]
    if numbers.dtype != object and not np.isfinite(numbers).all():
        raise Refused("it answered NaN or infinity")
    try:
        made = finished(raw, frame.index, door.labels, door.settings, door.side.data.positive)
    except CannotLook as fault:
        raise Refused(fault.fault) from fault
    if not made.classes:
        return Reply(values=made.predicted.astype(float).reshape(-1, 1), classes=())
    if made.scores is not None:
        return Reply(values=made.scores, classes=made.classes)
    chosen = made.predicted[:, None] == np.array(made.classes, dtype=object)[None, :]
    return Reply(values=chosen.astype(float), classes=made.classes)
