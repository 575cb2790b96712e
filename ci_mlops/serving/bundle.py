"""A bundle: everything that is released together, in one folder, named by one digest.

`serve.json` says what the model takes and how it is loaded, `recorded.json` holds rows with the
answers that were judged, `model/` the model, `code/` the project's code. The digest covers the name
and the bytes of each file, so two bundles of one digest answer alike in the same environment.
"""

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from ci_mlops.errors import CannotLook
from ci_mlops.evidence import file_sha256, text_sha256
from ci_mlops.model.settings import ModelSettings
from ci_mlops.serving.signature import Signature
from ci_mlops.values import Many, Value

SERVE, RECORDED = "serve.json", "recorded.json"
Kind = TypeVar("Kind", bound=Value)


class Serve(Value):
    """What a bundle's server needs to know."""

    schema_version: Literal[1] = 1
    signature: Signature
    model: Annotated[str, Field(min_length=1)]
    """Path of the model below the bundle."""
    loader: str | None = None


class Recorded(Value):
    """Rows with the answers that were judged."""

    schema_version: Literal[1] = 1
    inputs: Many[Mapping[str, Any]]
    """As in a request of the Open Inference Protocol, a tensor for each column."""
    outputs: Mapping[str, Many[str | int | float | bool]]
    """What is predicted, flat, by the name of the output; empty where nothing was judged."""

    @property
    def rows(self) -> int:
        """The number of rows, n."""
        return int(self.inputs[0]["shape"][0])

    def row(self, n: int) -> list[dict[str, Any]]:
        """Return the inputs of one row."""
        found = []
        for one in self.inputs:
            width = len(one["data"]) // self.rows
            data = one["data"][n * width : (n + 1) * width]
            found.append({**one, "shape": [1, *one["shape"][1:]], "data": data})
        return found

    def only(self, n: int) -> "Recorded":
        """Return one row with its answers."""
        kept = {}
        for name, values in self.outputs.items():
            width = len(values) // self.rows
            kept[name] = values[n * width : (n + 1) * width]
        return Recorded(inputs=tuple(self.row(n)), outputs=kept)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for name, sizes in _sizes(self.inputs, self.outputs):
            if not self.rows or any(size % self.rows or not size for size in sizes):
                raise ValueError(f"{name} does not have a value for each of {self.rows} rows")
        return self


def _sizes(
    inputs: Sequence[Mapping[str, Any]], outputs: Mapping[str, Sequence[Any]]
) -> Iterator[tuple[str, list[int]]]:
    """Yield how many values each tensor has. Raises ValueError where one is none."""
    for one in inputs:
        shape, data = one.get("shape"), one.get("data")
        if not (isinstance(shape, list) and shape and all(type(size) is int for size in shape)):
            raise ValueError('each input needs a "shape" of whole numbers')
        if not isinstance(data, list) or not {"name", "datatype"} <= set(one):
            raise ValueError('each input needs "name", "datatype" and a list "data"')
        yield str(one["name"]), [len(data), math.prod(shape)]
    for name, values in outputs.items():
        yield name, [len(values)]


def write(
    folder: Path,
    serve: Serve,
    recorded: Recorded,
    *,
    model: Path,
    root: Path,
    code: Sequence[str],
) -> str:
    """Fill a new folder and return its digest; `code` are files below `root`.

    Raises CannotLook when something cannot be copied.
    """
    folder.mkdir(parents=True)
    try:
        target = folder / serve.model
        target.parent.mkdir(parents=True)
        if model.is_dir():
            shutil.copytree(model, target)
        else:
            shutil.copyfile(model, target)
        for name in code:
            (folder / "code" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, folder / "code" / name)
        (folder / "code").mkdir(exist_ok=True)
    except OSError as fault:
        raise CannotLook(
            f"cannot be put into a bundle: {fault.strerror}", place=str(model)
        ) from fault
    for name, value in ((SERVE, serve), (RECORDED, recorded)):
        (folder / name).write_text(value.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return digest(folder)


def digest(folder: Path) -> str:
    """Return `sha256:…` over the names and contents of all files in a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    listed = [(path.relative_to(folder).as_posix(), file_sha256(path)) for path in files]
    return f"sha256:{text_sha256(json.dumps(listed))}"


def read_serve(folder: Path) -> Serve:
    """Read what a bundle's server needs to know. Raises CannotLook."""
    return _read(folder / SERVE, Serve)


def read_recorded(folder: Path) -> Recorded:
    """Read the rows and answers of a bundle. Raises CannotLook."""
    return read_recorded_at(folder / RECORDED)


def read_recorded_at(path: Path) -> Recorded:
    """Read a file of rows with the answers that were judged. Raises CannotLook."""
    return _read(path, Recorded)


def settings(
    serve: Serve, python: str | None, *, timeout_s: float, memory_mb: int
) -> ModelSettings:
    """Return how a bundle's model is loaded, below the bundle's `code` folder."""
    return ModelSettings(
        task=serve.signature.task,
        path=f"../{serve.model}",
        loader=serve.loader,
        python=python,
        threshold=serve.signature.threshold,
        timeout_s=timeout_s,
        memory_mb=memory_mb,
    )


def _read(path: Path, kind: type[Kind]) -> Kind:
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as fault:
        raise CannotLook(f"cannot be read: {fault.strerror}", place=str(path)) from fault
    except ValidationError as fault:
        first = fault.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        said = f"{where}: {first['msg']}" if where else first["msg"]
        raise CannotLook(said, place=str(path)) from fault
