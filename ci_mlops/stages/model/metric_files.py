"""Figures and test results that other tools left in files, read strictly.

DVC: https://dvc.org/doc/user-guide/project-structure/dvcyaml-files, "Metrics". MLflow's file store:
a file for each metric, a line `timestamp value step` for each time it was logged. JUnit:
https://github.com/testmoapp/junitxml.
"""

import math
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci_mlops.errors import CannotLook, ConfigError, EvidenceError
from ci_mlops.evidence import parse_json
from ci_mlops.strict_yaml import read as read_yaml

MAX_BYTES = 8 * 1024 * 1024
MAX_FIGURES = 500


@dataclass(frozen=True, kw_only=True)
class Tests:
    """What ran, and what did not pass."""

    ran: int
    failed: tuple[str, ...]
    """Names of the tests that failed or ended in an error, `class.name`."""


def figures(path: Path, root: Path) -> dict[str, float]:
    """Return the numbers of a file or folder by dotted name. Raises CannotLook with the place.

    JSON, YAML and TOML are flattened; of `dvc.yaml` the files are read that its `metrics` name, as
    `file:name`; a folder is one of MLflow's, with the last value of each metric.
    """
    place = _shown(path, root)
    if path.is_dir():
        found = {
            file.relative_to(path).as_posix(): _last_logged(file, root)
            for file in sorted(path.rglob("*"))
            if file.is_file()
        }
    elif path.name == "dvc.yaml":
        found = dict(_of_dvc(path, root))
    else:
        found = dict(_flat(_document(path, root)))
    if not found:
        raise CannotLook("holds no number", place=place, remedy="Name a file of metrics")
    if len(found) > MAX_FIGURES:
        raise CannotLook(f"holds {len(found)} numbers, more than {MAX_FIGURES}", place=place)
    return found


def tests(path: Path, root: Path) -> Tests:
    """Return the results in a JUnit file. Raises CannotLook with the place."""
    place, data = _shown(path, root), _bytes(path, root)
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise CannotLook("declares entities, which no test report needs", place=place)
    try:
        top = ET.fromstring(data)  # noqa: S314 - without entities there is nothing to expand
    except ET.ParseError as fault:
        raise CannotLook(f"is no JUnit file: {fault}", place=place) from fault
    if top.tag not in {"testsuites", "testsuite"}:
        raise CannotLook(f"is no JUnit file: it begins with <{top.tag}>", place=place)
    cases = list(top.iter("testcase"))
    ran = [case for case in cases if case.find("skipped") is None]
    failed = [
        ".".join(filter(None, (case.get("classname"), case.get("name")))) or "unnamed"
        for case in ran
        if case.find("failure") is not None or case.find("error") is not None
    ]
    return Tests(ran=len(ran), failed=tuple(failed))


def _document(path: Path, root: Path) -> Any:
    place, data = _shown(path, root), _bytes(path, root)
    try:
        return READERS.get(path.suffix.lower(), _json)(data, place)
    except (EvidenceError, ConfigError) as fault:
        raise CannotLook(fault.fault, place=fault.place or place) from fault
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise CannotLook(f"cannot be read: {fault}", place=place) from fault


def _json(data: bytes, place: str) -> Any:
    return parse_json(data, place)


def _yaml(data: bytes, place: str) -> Any:
    return read_yaml(data.decode("utf-8"), place).value


def _toml(data: bytes, place: str) -> Any:
    del place
    return tomllib.loads(data.decode("utf-8"))


READERS: Mapping[str, Callable[[bytes, str], Any]] = {
    ".yaml": _yaml,
    ".yml": _yaml,
    ".toml": _toml,
}


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _flat(below, f"{name}.{key}" if name else str(key))
    elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        yield name or "value", float(value)


def _of_dvc(path: Path, root: Path) -> Iterator[tuple[str, float]]:
    document = _document(path, root)
    place = _shown(path, root)
    if not isinstance(document, dict):
        raise CannotLook("is no dvc.yaml", place=place)
    stages = document.get("stages") or {}
    listed = [*(document.get("metrics") or [])]
    for stage in stages.values() if isinstance(stages, dict) else ():
        listed += (stage.get("metrics") or []) if isinstance(stage, dict) else []
    for one in dict.fromkeys(str(next(iter(o))) if isinstance(o, dict) else str(o) for o in listed):
        for name, value in _flat(_document(path.parent / one, root)):
            yield f"{one}:{name}", value


def _last_logged(path: Path, root: Path) -> float:
    lines = _bytes(path, root).decode("utf-8", "replace").split("\n")
    last = [line.split() for line in lines if line.strip()]
    try:
        value = float(last[-1][1])
    except (IndexError, ValueError) as fault:
        raise CannotLook(
            "is no metric of MLflow: a line is `timestamp value step`", place=_shown(path, root)
        ) from fault
    if not math.isfinite(value):
        raise CannotLook(f"{value} is not a finite number", place=_shown(path, root))
    return value


def _bytes(path: Path, root: Path) -> bytes:
    place = _shown(path, root)
    if not path.resolve().is_relative_to(root.resolve()):
        raise CannotLook("lies outside of the project", place=place)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as fault:
        raise CannotLook(
            f"cannot be read: {fault.strerror}", place=place, remedy="Make it in `prepare:`"
        ) from fault
    if len(data) > MAX_BYTES:
        raise CannotLook(f"is larger than {MAX_BYTES} bytes", place=place)
    return data


def _shown(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
