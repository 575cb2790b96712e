"""A side's bundle: model and code as they stand, and rows with the answers that were judged."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ci_mlops.changes import DOCUMENTATION
from ci_mlops.dataset.columns import kinds, numbers
from ci_mlops.dataset.settings import Contract
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import text_sha256
from ci_mlops.model import wire
from ci_mlops.model.predict import positive_class
from ci_mlops.model.predictions import Predictions
from ci_mlops.serving import bundle
from ci_mlops.serving.bundle import Recorded, Serve
from ci_mlops.serving.rows import PREDICTIONS, PROBABILITIES
from ci_mlops.serving.signature import Column, Signature, column_of
from ci_mlops.stage import Side, Workspace

MAX_KNOWN = 1000
"""More values than these that a column may have are not written into its signature."""
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


def inputs(workspace: Workspace) -> Mapping[str, str]:
    """Return digests of what a bundle depends on beside the subjects of a stage that makes one."""
    return {
        f"contract of {side.name}": text_sha256(side.contract.model_dump_json())
        for side in workspace.sides()
    }


def _columns(workspace: Workspace, side: Side, frame: pd.DataFrame) -> tuple[Column, ...]:
    header, _ = wire.encode(frame)
    seen = frame
    if side.data.train is not None:
        train = workspace.table(side, "train").frame
        seen = pd.concat([frame, train[[name for name in frame if name in train]]])
    of = kinds(seen, side.data)
    return tuple(
        column_of(
            one,
            nulls=bool(seen[one["name"]].isna().any()),
            texts=all(isinstance(value, str) for value in frame[one["name"]].dropna()),
            sensitive=one["name"] in side.data.sensitive,
            **_allowed(one, of.get(one["name"]), seen[one["name"]], side.contract),
        )
        for one in header["columns"]
    )


def _allowed(
    described: Mapping[str, Any], kind: str | None, seen: "pd.Series[Any]", given: Contract
) -> dict[str, Any]:
    """Return the range or the values that a column may have: those given, or those seen."""
    name, form = described["name"], described["kind"]
    is_number = form in {"array", "masked"} and not described["dtype"].endswith("b1")
    if name in given.categories and form != "datetime":
        texts = {str(one) for one in given.categories[name]}
        alike = (one for one in _distinct(seen) if str(one) in texts)
        return {"known": tuple(dict.fromkeys((*given.categories[name], *alike)))}
    if name in given.range and is_number:
        return {"range": given.range[name]}
    if kind == "number" and is_number:
        values = numbers(seen)
        return {"range": (float(values.min()), float(values.max()))} if len(values) else {}
    # Of what has categories of its own, the server takes no others anyway.
    if kind == "category" and form in {"array", "masked", "json"}:
        known = _distinct(seen)
        return {"known": known} if len(known) <= MAX_KNOWN else {}
    return {}


def _distinct(values: "pd.Series[Any]") -> tuple[Any, ...]:
    return tuple(sorted((_plain(one) for one in values.dropna().unique()), key=repr))


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
