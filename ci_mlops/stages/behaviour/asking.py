"""A side's model, asked about rows within a time: answers as they come, or what it refused with."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd

from ci_mlops.command import Commands
from ci_mlops.errors import CannotLook
from ci_mlops.model.predict import as_it_came, finished
from ci_mlops.model.predictions import Predictions
from ci_mlops.model.process import ModelProcess, Refused
from ci_mlops.model.settings import ModelSettings
from ci_mlops.stage import Side

MAX_STARTS = 30
"""A model that ends its process more often than this is not asked on."""
NO_TIME = "There was no time left for it in `max_seconds`"


ANSWERS = ("scores", "predicted")


class Spent(Exception):  # noqa: N818 - a budget that is spent is nobody's error
    """The stage's time is over, or the model ended its process too often."""


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """That a model raised, ended its process, or answered in a wrong form."""

    said: str
    shape: bool = False


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A model's answers for n rows."""

    values: np.ndarray
    """Scores (n, k) or values (n, 1) as float64, or labels (n,) as objects."""
    raw: dict[str, Any]
    changed: tuple[str, ...] | None = None
    """The columns of its input that it changed; None where nobody looked or can tell."""

    @property
    def labels(self) -> bool:
        """Whether it answered labels."""
        return self.values.dtype == object

    def at(self, rows: np.ndarray) -> "Reply":
        """The answers at some positions."""
        kept = {k: None if self.raw[k] is None else self.raw[k][rows] for k in ANSWERS}
        return Reply(values=self.values[rows], raw={**self.raw, **kept}, changed=self.changed)

    def differs(self, other: "Reply", tolerance: float) -> np.ndarray:
        """Which of n answers differ, shape (n,), NaN equal to NaN."""
        if self.values.shape != other.values.shape or self.labels != other.labels:
            return np.ones(len(self.values), dtype=bool)
        if self.labels:
            unequal: np.ndarray = self.values != other.values
            return unequal
        one, two = self.values, other.values
        with np.errstate(invalid="ignore"):
            near = np.abs(one - two) <= tolerance * np.maximum(1, np.abs(one))
        same = near | (one == two) | (np.isnan(one) & np.isnan(two))
        apart: np.ndarray = ~same.all(axis=1)
        return apart


class Door:
    """One side's model, started when first asked and again after it ended; a context manager."""

    def __init__(
        self,
        side: Side,
        commands: Commands,
        *,
        deadline: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare, but start nothing; `deadline` is in the seconds of `now`.

        Raises CannotLook when the side has no model to ask.
        """
        if side.model is None or side.model.path is None:
            what = "no `model` section" if side.model is None else "predictions in place of a model"
            raise CannotLook(
                f"{side.name} has {what}, so there is nothing to ask",
                place="stages.behaviour",
                remedy="Give `model.path`, or leave this stage out",
            )
        self.side = side
        self.settings: ModelSettings = side.model
        self.commands = commands
        self.deadline = deadline
        self.now = now
        self.hide: Callable[[str, pd.DataFrame], str] = lambda said, _: said.partition(":")[0]
        """Takes sensitive values out of what the model said about rows."""
        self.rows = 0
        self.requests = 0
        self.inputs: tuple[str, ...] | None = None
        self.versions: dict[str, str] = {}
        self._process: ModelProcess | None = None
        self.starts = 0

    def __enter__(self) -> Self:
        """Load the model. Raises CannotLook when it cannot be."""
        try:
            self._started()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End the model's process."""
        if self._process is not None:
            self._process.__exit__()
            self._process = None

    def ask(self, frame: pd.DataFrame, *, watch: bool = False) -> Reply | Refusal:
        """Ask about n rows. Raises Spent when the deadline passes, or it ended too often."""
        left = self.deadline - self.now()
        if left <= 0:
            raise Spent(NO_TIME)
        process = self._started()
        timeout = self.settings.timeout_s
        process.settings = self.settings.model_copy(update={"timeout_s": min(timeout, left)})
        self.rows += len(frame)
        self.requests += 1
        try:
            answer = process.predict(frame, watch=watch)
        except Refused as fault:
            return Refusal(said=self.hide(fault.said, frame), shape=fault.shape)
        except CannotLook as fault:
            self.__exit__()
            if self.now() >= self.deadline:
                raise Spent(NO_TIME) from fault
            return Refusal(said=self.hide(fault.fault, frame))
        raw = as_it_came(answer)
        raw |= {"classes": answer.header.get("classes"), "inputs": (), "seconds": 0.0}
        raw["versions"] = self.versions
        values = raw["predicted"] if raw["scores"] is None else raw["scores"]
        changed = answer.header.get("changed")
        return Reply(
            values=values if values.ndim == 2 or values.dtype == object else values.reshape(-1, 1),
            raw=raw,
            changed=None if changed is None else tuple(str(one) for one in changed),
        )

    def decided(self, frame: pd.DataFrame, reply: Reply, labels: "pd.Series[Any]") -> Predictions:
        """Decisions and scores of finite answers. Raises CannotLook where they make no sense."""
        positive = self.side.data.positive
        return finished(reply.raw, frame.index, labels, self.settings, positive)

    def _started(self) -> ModelProcess:
        if self._process is None:
            if self.starts >= MAX_STARTS:
                raise Spent(
                    f"The model ended its process {MAX_STARTS} times, and was asked no more"
                )
            self.starts += 1
            process = ModelProcess(self.settings, root=self.side.root, commands=self.commands)
            self._process = process.__enter__()
            handshake = process.load()
            self.inputs = handshake.inputs
            self.versions = dict(handshake.versions)
        return self._process
