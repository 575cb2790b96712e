"""Predictions by row key, computed once for each model and data, or read from files."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ci_mlops import __version__
from ci_mlops.command import Commands
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import text_sha256, write_atomically
from ci_mlops.model.predictions import Predictions
from ci_mlops.model.process import Answer, ModelProcess, interpreter
from ci_mlops.model.settings import ModelSettings

if TYPE_CHECKING:
    import pandas as pd

BATCH_ROWS = 100_000
SUM_TOLERANCE = 1e-3


def predict(
    settings: ModelSettings,
    *,
    root: Path,
    part: Literal["train", "test"],
    frame: "pd.DataFrame",
    label: str,
    positive: object,
    identity: Sequence[str],
    commands: Commands,
    cache: Path,
) -> Predictions:
    """Return what the model answers for the rows of `frame`, n of them, by their index.

    `identity` are digests that stand for the model, its code and the rows. The label is not shown
    to the model. Raises CannotLook when there is no right answer for every row.
    """
    if settings.predictions is not None:
        from ci_mlops.model.prediction_files import from_files

        raw = from_files(settings, root=root, part=part, keys=frame.index)
        return finished(raw, frame.index, frame[label], settings, positive)
    path = cache / "predictions" / f"{_key(settings, root, identity)}.npz"
    raw = _kept(path, len(frame)) or _asked(
        settings, root=root, frame=frame.drop(columns=[label]), commands=commands
    )
    if not path.exists():
        _keep(path, raw)
    return finished(raw, frame.index, frame[label], settings, positive)


Raw = dict[str, Any]
"""`scores` (n, k) float64 or None, `predicted` (n,) or None, and what is known about both."""


def _asked(
    settings: ModelSettings, *, root: Path, frame: "pd.DataFrame", commands: Commands
) -> Raw:
    with ModelProcess(settings, root=root, commands=commands) as process:
        handshake = process.load()
        inputs = handshake.inputs or tuple(str(column) for column in frame.columns)
        present = [column for column in inputs if column in frame.columns]
        answers = [
            process.predict(frame[present].iloc[start : start + BATCH_ROWS])
            for start in range(0, len(frame), BATCH_ROWS)
        ]
    place = settings.path or "model"
    decoded = [_decoded(answer, place) for answer in answers]
    first = answers[0].header
    return {
        "scores": _joined([part["scores"] for part in decoded], place),
        "predicted": _joined([part["predicted"] for part in decoded], place),
        "classes": first.get("classes") or handshake.classes,
        "inputs": list(inputs),
        "versions": dict(first.get("versions") or handshake.versions),
        "seconds": sum(answer.seconds for answer in answers),
    }


def as_it_came(answer: Answer) -> Raw:
    """Return the `scores` (n, k) or what is `predicted` (n,) of an answer, not finite ones too."""
    kind = answer.header["kind"]
    if kind == "labels":
        values = json.loads(answer.body)
        return {"scores": None, "predicted": np.array(values, dtype=object)}
    numbers = np.frombuffer(answer.body, dtype="<f8")
    if kind == "matrix":
        return {"scores": numbers.reshape(-1, answer.header["width"]), "predicted": None}
    return {"scores": None, "predicted": numbers}


def _decoded(answer: Answer, place: str) -> Raw:
    raw = as_it_came(answer)
    numbers = raw["predicted"] if raw["scores"] is None else raw["scores"]
    if numbers.dtype != object and not np.isfinite(numbers).all():
        raise CannotLook(
            f"answered {int((~np.isfinite(numbers)).sum())} times NaN or infinity",
            place=place,
            remedy="Find the rows it cannot handle; missing values are the usual cause",
        )
    return raw


def _joined(parts: list[Any], place: str) -> Any:
    if any(part is None for part in parts):
        return None
    if len({part.shape[1:] for part in parts}) > 1:
        raise CannotLook("answered different shapes for different rows", place=place)
    return np.concatenate(parts)


def finished(
    raw: Raw, keys: "pd.Index", labels: "pd.Series[Any]", settings: ModelSettings, positive: object
) -> Predictions:
    """Turn raw answers into classes by the threshold, or into values. Raises CannotLook."""
    common: dict[str, Any] = {
        "keys": keys,
        "inputs": tuple(raw["inputs"]),
        "versions": dict(raw["versions"]),
        "seconds": float(raw["seconds"]),
    }
    place = settings.path or "model.predictions"
    scores, predicted = raw["scores"], raw["predicted"]
    if settings.task == "regression":
        values = predicted if predicted is not None else scores
        values = np.asarray(values, dtype=object)
        if values.ndim == 2 and values.shape[1] == 1:
            values = values[:, 0]
        return Predictions(predicted=_numbers(values, place), scores=None, **common)
    classes = _classes(raw["classes"], labels, settings, positive)
    if scores is None and predicted is not None and _is_probability(predicted, classes, settings):
        scores = predicted.astype(float).reshape(-1, 1)
    if scores is None:
        return Predictions(
            predicted=_known_labels(predicted, classes, place),
            scores=None,
            classes=classes,
            **common,
        )
    scores, classes = _sorted_scores(scores, classes, raw["classes"], place)
    chosen = np.array(classes, dtype=object)
    if settings.task == "binary":
        column = classes.index(positive_class(classes, positive))
        reached = scores[:, column] >= settings.threshold
        picks = np.where(reached, chosen[column], chosen[1 - column])
    else:
        picks = chosen[scores.argmax(axis=1)]
    return Predictions(predicted=picks, scores=scores, classes=classes, **common)


def _classes(
    told: Sequence[object] | None,
    labels: "pd.Series[Any]",
    settings: ModelSettings,
    positive: object,
) -> tuple[Any, ...]:
    """Return the sorted classes: the model's own, or those of the labels where it does not say."""
    own = {_plain(one) for one in labels.dropna().unique()}
    found = {_like(one, own) for one in told} if told else own
    if settings.task == "binary" and len(found) == 1 and positive is not None:
        found.add(positive)
    return tuple(sorted(found, key=lambda one: (str(type(one)), one)))


def _plain(value: Any) -> Any:
    plain = value.item() if hasattr(value, "item") else value
    return int(plain) if isinstance(plain, float) and plain.is_integer() else plain


def _like(value: Any, own: set[Any]) -> Any:
    """Return a class as the labels write it: 1 for 1.0, True or "1"."""
    plain = _plain(value)
    for one in own:
        if plain == one or str(plain) == str(one):
            return one
    return plain


def positive_class(classes: tuple[Any, ...], positive: object) -> Any:
    """Return the positive one of the sorted classes; the last by default. Raises CannotLook."""
    if positive is None:
        return classes[-1]
    for one in classes:
        if one == positive or str(one) == str(positive):
            return one
    raise CannotLook(
        f"{positive!r} is not among the classes {list(classes)}", place="data.positive"
    )


def _is_probability(predicted: Any, classes: tuple[Any, ...], settings: ModelSettings) -> bool:
    if settings.task != "binary" or predicted.dtype.kind != "f" or len(classes) != 2:
        return False
    inside = bool(((predicted >= 0) & (predicted <= 1)).all())
    # Labels 0.0 and 1.0 alone are decisions, not probabilities.
    return inside and not bool(np.isin(predicted, (0.0, 1.0)).all())


def _sorted_scores(
    scores: Any, classes: tuple[Any, ...], told: Sequence[object] | None, place: str
) -> tuple[Any, tuple[Any, ...]]:
    if scores.shape[1] == 1 and len(classes) == 2:
        scores = np.hstack([1 - scores, scores])
        told = None
    if scores.shape[1] != len(classes):
        raise CannotLook(
            f"answered {scores.shape[1]} scores a row for {len(classes)} classes", place=place
        )
    if told:
        own = set(classes)
        order = [[_like(one, own) for one in told].index(one) for one in classes]
        scores = scores[:, order]
    outside = bool(((scores < -SUM_TOLERANCE) | (scores > 1 + SUM_TOLERANCE)).any())
    sums = scores.sum(axis=1)
    if outside or not bool((np.abs(sums - 1) <= SUM_TOLERANCE).all()):
        raise CannotLook(
            f"answered scores that are not probabilities (a row sums to {sums.min():.3g})",
            place=place,
            remedy="Return probabilities between 0 and 1 that sum to 1 in each row",
        )
    return np.ascontiguousarray(scores, dtype=float), classes


def _known_labels(predicted: Any, classes: tuple[Any, ...], place: str) -> Any:
    own = set(classes)
    picks = np.array([_like(one, own) for one in predicted], dtype=object)
    unknown = [one for one in set(picks.tolist()) if one not in own]
    if unknown:
        raise CannotLook(
            f"answered the class {unknown[0]!r}, which the labels do not have", place=place
        )
    return picks


def _numbers(values: Any, place: str) -> Any:
    try:
        found = np.asarray(values, dtype=float)
    except (TypeError, ValueError) as fault:
        raise CannotLook("answered something that is not a number", place=place) from fault
    if found.ndim != 1 or not np.isfinite(found).all():
        raise CannotLook("answered something else than one finite number a row", place=place)
    return found


# --- the cache ----------------------------------------------------------------------------------


def _key(settings: ModelSettings, root: Path, identity: Sequence[str]) -> str:
    python = interpreter(settings, root)
    facts = {
        "identity": list(identity),
        "task": settings.task,
        "path": settings.path,
        "loader": settings.loader,
        "environment": environment(python),
        "version": __version__,
    }
    return text_sha256(json.dumps(facts, sort_keys=True))


def environment(python: Path) -> list[str]:
    """Return what tells one interpreter with its packages from another, without starting it."""
    home = python.parent.parent
    found = [str(python), str(python.resolve())]
    settings = home / "pyvenv.cfg"
    if settings.exists():
        found.append(settings.read_text(encoding="utf-8", errors="replace"))
    return found + sorted(info.name for info in home.glob("lib/python*/site-packages/*.dist-info"))


def _keep(path: Path, raw: Raw) -> None:
    known = {k: v for k, v in raw.items() if k not in {"scores", "predicted"}}
    predicted = raw["predicted"]
    labels = predicted is not None and predicted.dtype == object
    known["labels"] = predicted.tolist() if labels else None
    arrays: dict[str, Any] = {"known": np.frombuffer(json.dumps(known).encode(), dtype=np.uint8)}
    if raw["scores"] is not None:
        arrays["scores"] = raw["scores"]
    if predicted is not None and not labels:
        arrays["predicted"] = predicted
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


def _kept(path: Path, rows: int) -> Raw | None:
    """Return kept answers; a file that is damaged or of other rows is made again, not trusted."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            known: Mapping[str, Any] = json.loads(arrays["known"].tobytes())
            scores = arrays.get("scores")
            predicted = arrays.get("predicted")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        path.unlink(missing_ok=True)
        return None
    labels = known.get("labels")
    if labels is not None:
        predicted = np.array(labels, dtype=object)
    answers = scores if scores is not None else predicted
    if answers is None or len(answers) != rows:
        path.unlink(missing_ok=True)
        return None
    return {**known, "scores": scores, "predicted": predicted}
