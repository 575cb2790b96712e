"""A side's bundle: model and code as they stand, and rows with the answers that were judged."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from ci_mlops.changes import DOCUMENTATION
from ci_mlops.dataset.columns import MAX_CATEGORIES
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import text_sha256
from ci_mlops.model import wire
from ci_mlops.model.predict import positive_class
from ci_mlops.model.predictions import Predictions
from ci_mlops.serving import bundle
from ci_mlops.serving.bundle import Recorded, Serve
from ci_mlops.serving.rows import PREDICTIONS, PROBABILITIES
from ci_mlops.serving.signature import Class, Column, Signature, column_of
from ci_mlops.stage import Side, Workspace

MAX_KNOWN = 1000
"""Of a column that is named as categorical and holds more values than these, any may come."""
KEPT = 10
"""Bundles in the cache; a released one is kept by its target."""


def make(workspace: Workspace, side: Side) -> tuple[Path, str]:
    """Return the folder and the digest of a side's bundle, made unless it is there already.

    Raises CannotLook when there is no model file, or it does not answer.
    """
    return workspace.once(("bundle", side.name), lambda: _made(workspace, side))


def _made(workspace: Workspace, side: Side) -> tuple[Path, str]:
    model = side.model
    if model is None or model.path is None:
        raise CannotLook(
            f"{side.name} has no model file, so there is nothing to serve",
            place="model.path",
            remedy="Give `model.path`, or leave this stage out",
        )
    predictions = workspace.predictions(model=side, data=side, part="test")
    frame = workspace.table(side, "test").frame[list(predictions.inputs)]
    signature = _signature(workspace, side, predictions, frame)
    askable = np.flatnonzero(~np.isinf(frame.select_dtypes("float")).any(axis=1))  # JSON has no inf
    picks = np.random.default_rng(workspace.seed).permutation(askable)
    picks = np.sort(picks[: model.recorded_rows])
    serve = Serve(signature=signature, model=f"model/{Path(model.path).name}", loader=model.loader)
    bundles = workspace.cache / "bundles"
    bundles.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=bundles) as name:
        made = Path(name) / "bundle"
        digest = bundle.write(
            made,
            serve,
            _recorded(signature, frame.iloc[picks], predictions, picks),
            model=side.root / model.path,
            root=side.root,
            code=_code(workspace, side),
        )
        final = bundles / digest.removeprefix("sha256:")
        if final.exists() and bundle.digest(final) != digest:
            shutil.rmtree(final)
        if not final.exists():
            made.rename(final)
    final.touch()
    _prune(bundles)
    return final, digest


def _prune(bundles: Path) -> None:
    """Remove the bundles that were made or used longest ago: each holds a whole model."""
    newest_first = sorted(bundles.glob("[0-9a-f]*"), key=lambda one: -one.stat().st_mtime)
    for old in newest_first[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def _signature(
    workspace: Workspace, side: Side, predictions: Predictions, frame: pd.DataFrame
) -> Signature:
    assert side.model is not None
    classes = tuple(_plain(one) for one in predictions.classes)
    positive = None
    if side.model.task == "binary" and len(classes) == 2:
        positive = classes.index(_plain(positive_class(predictions.classes, side.data.positive)))
    return Signature(
        name=workspace.project,
        task=side.model.task,
        columns=_columns(workspace, side, frame),
        classes=classes,
        positive=positive,
        threshold=side.model.threshold,
        scores=predictions.scores is not None,
        out_of_contract=side.model.out_of_contract,
    )


def inputs(*sides: Side) -> Mapping[str, str]:
    """Return digests of what sides' bundles depend on beside the subjects of a stage."""
    return {
        f"contract of {side.name}": text_sha256(
            side.contract.model_dump_json(include={"range", "categories"})
        )
        for side in sides
    }


def _columns(workspace: Workspace, side: Side, frame: pd.DataFrame) -> tuple[Column, ...]:
    header, _ = wire.encode(frame)
    parts = [frame]
    if side.data.train is not None:
        parts.append(workspace.table(side, "train").frame)
    found = []
    for one in header["columns"]:
        name = one["name"]
        held = [part[name] for part in parts if name in part]
        column = column_of(
            one,
            nulls=any(part.isna().any() for part in held),
            texts=all(isinstance(value, str) for value in frame[name].dropna()),
            sensitive=name in side.data.sensitive,
            hidden=name in {*side.data.sensitive, *side.data.hidden},
            **_allowed(one, held, side),
        )
        found.append(column)
    return tuple(found)


def _allowed(
    described: Mapping[str, Any], held: "list[pd.Series[Any]]", side: Side
) -> dict[str, Any]:
    """Return the range or the values that a column may have: those given, or else those seen.

    `held` are the column's values in test and train.
    """
    name, form, given = described["name"], described["kind"], side.contract
    if form == "datetime":
        return {}
    if name in given.range or name in given.categories:
        known = given.categories.get(name)
        return {
            "range": given.range.get(name),
            "known": None if known is None else tuple(str(one) for one in known),
        }
    is_named = name in (side.data.categorical or ())
    is_category = is_named or described.get("dtype", "").endswith("b1")
    if form in {"array", "masked"} and not is_category:
        return _range(held)
    # Of what has categories of its own, the server takes no others anyway.
    return {} if form == "category" else _known(held, MAX_KNOWN if is_named else MAX_CATEGORIES)


def _range(held: "list[pd.Series[Any]]") -> dict[str, Any]:
    ends = []
    for values in held:
        if pd.api.types.is_numeric_dtype(values.dtype):
            finite = values.dropna()
            finite = finite[np.isfinite(finite.to_numpy(dtype=float))]
            ends += [_plain(end) for end in (finite.min(), finite.max()) if len(finite)]
    return {"range": (min(ends), max(ends))} if ends else {}


def _known(held: "list[pd.Series[Any]]", most: int) -> dict[str, Any]:
    """Return the values as texts, unless there are more than so many, or some are no plain ones."""
    known = set[str]()
    for values in held:
        for one in map(_plain, values.dropna()):
            if not isinstance(one, get_args(Class)):
                return {}
            known.add(str(one))
            if len(known) > most:
                return {}
    return {"known": tuple(sorted(known))} if known else {}


def _recorded(
    signature: Signature, frame: pd.DataFrame, predictions: Predictions, picks: np.ndarray
) -> Recorded:
    outputs: dict[str, tuple[Any, ...]] = {}
    if predictions.scores is not None:
        outputs[PROBABILITIES] = tuple(
            float(one) for row in predictions.scores[picks] for one in row
        )
    outputs[PREDICTIONS] = tuple(_plain(one) for one in predictions.predicted[picks])
    return Recorded(
        inputs=tuple(
            {
                "name": column.name,
                "shape": [len(frame)],
                "datatype": column.datatype,
                "data": [as_json(one) for one in frame[column.name].tolist()],
            }
            for column in signature.columns
        ),
        outputs=outputs,
    )


def _code(workspace: Workspace, side: Side) -> list[str]:
    """Return the files that the model's code may need: all that git tracks or would add."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = workspace.commands.run(listed, cwd=side.root, timeout_s=60)
    if done.code:
        raise CannotLook(f"`git ls-files` failed: {done.last_line()}")
    model = side.model.path if side.model else None
    left_out = [one for one in (side.data.test, side.data.train, model) if one]
    return [
        name
        for name in sorted({one for one in done.output.split("\0") if one})
        if _is_code(name, left_out) and (side.root / name).is_file()
    ]


def _is_code(name: str, left_out: Sequence[str]) -> bool:
    if name.endswith((*DOCUMENTATION, "mlops.yml")):
        return False
    return not any(name == out or name.startswith(f"{out}/") for out in left_out)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def as_json(value: Any) -> Any:
    """Return a cell as JSON has it; what is missing is null."""
    if pd.isna(value):
        return None
    return value.isoformat() if hasattr(value, "isoformat") else _plain(value)
