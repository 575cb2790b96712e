"""The first mlops.yml of a project: guessed from its files and one look at its data."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from ci_mlops.command import Commands
from ci_mlops.errors import CannotLook, ConfigError
from ci_mlops.evidence import write_atomically
from ci_mlops.strict_yaml import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

DATA_SUFFIXES = (".parquet", ".csv", ".csv.gz", ".csv.bz2", ".jsonl", ".ndjson")
MODEL_SUFFIXES = (".joblib", ".skops", ".onnx", ".ubj", ".pkl", ".pickle")
TEST_WORDS = ("test", "holdout", "valid", "eval")
LABEL_NAMES = ("label", "target", "y", "class", "outcome", "churn", "default", "price", "survived")
LABEL_STEMS = ("approv", "accept", "grant", "fraud", "response")
SENSITIVE = re.compile(
    r"(^|_)(race|ethnicity|sex|gender|male|female|religion|nationality|disab\w*|marital\w*)($|_)",
    re.IGNORECASE,
)
KEY = re.compile(r"(^|_)(id|key|uuid|guid|number|nr)$", re.IGNORECASE)
MAX_CLASSES = 20
TWO_WORKFLOWS = {
    "gate.yml": "workflows/mlops.yml",
    "publish.yml": "workflows/mlops-publish.yml",
}
"""Starters by the names that they get below `.github`: one that judges, and one that may write."""
SINGLE_WORKFLOW = {"single.yml": "workflows/mlops.yml"}
MORE: Mapping[str, Mapping[str, str]] = {
    "release": {"release.yml": "workflows/mlops-release.yml"},
    "monitor": {"monitor.yml": "workflows/mlops-monitor.yml"},
    "retrain": {"retrain.yml": "workflows/mlops-retrain.yml"},
    "dashboard": {"dashboard.yml": "workflows/mlops-dashboard.yml"},
    "feedback": {
        "feedback.yml": "workflows/mlops-feedback.yml",
        "forms/model-feedback.yml": "ISSUE_TEMPLATE/model-feedback.yml",
    },
}
"""What may be added later, in the same way."""


@dataclass(frozen=True, kw_only=True)
class Guess:
    """What a look at the repository found."""

    project: str
    test: str
    train: str | None
    label: str
    key: str | None
    sensitive: tuple[str, ...]
    task: str
    model: str | None
    python: str | None
    prepare: tuple[str, ...]
    benchmarks: bool


@dataclass(frozen=True, kw_only=True)
class Written:
    """The files that were written and what to do next."""

    files: tuple[Path, ...]
    guess: Guess

    def text(self) -> str:
        """Return the lines for the terminal."""
        lines = [f"wrote {os.path.relpath(file)}" for file in self.files]
        guess = self.guess
        lines.append(f"guessed: label {guess.label!r}, task {guess.task}, test data {guess.test}")
        if guess.model is None:
            lines.append("found no model file: fill in `model.path` (marked in mlops.yml)")
        lines.append("next: read mlops.yml, commit it, and run `ci-mlops run`")
        return "\n".join(lines)


def init(
    config: Path,
    *,
    commands: Commands,
    data: str | None = None,
    label: str | None = None,
    model: str | None = None,
    single_workflow: bool = False,
    force: bool = False,
) -> Written:
    """Write mlops.yml and the starter workflows.

    Raises ConfigError when a file is there already, or when no data can be found or read.
    """
    root = config.resolve().parent
    github = _top(root, commands) / ".github"
    if config.exists() and not force:
        raise ConfigError("is there already", place=str(config), remedy="Overwrite with --force")
    guess = look(root, data=data, label=label, model=model)
    write_atomically(config, mlops_yml(guess).encode())
    starters = SINGLE_WORKFLOW if single_workflow else TWO_WORKFLOWS
    return Written(files=(config, *_install(github, starters, force=force)), guess=guess)


def add(
    config: Path, names: Sequence[str], *, commands: Commands, force: bool = False
) -> tuple[Path, ...]:
    """Write more starters beside those that are there, and return what was written.

    Raises ConfigError for a name that is none of `MORE`, before anything is written.
    """
    for name in names:
        if name not in MORE:
            hint = did_you_mean(name, MORE)
            raise ConfigError(
                f"there is no starter {name!r}{hint}",
                place="--add",
                remedy=f"Name {', '.join(MORE)}",
            )
    github = _top(config.resolve().parent, commands) / ".github"
    starters = {starter: file for name in names for starter, file in MORE[name].items()}
    return _install(github, starters, force=force)


def _install(github: Path, starters: Mapping[str, str], *, force: bool) -> tuple[Path, ...]:
    """Write starters below `.github` by the names they get there; no file that is there."""
    wanted = {github / name: starter for starter, name in starters.items()}
    missing = {file: starter for file, starter in wanted.items() if force or not file.exists()}
    for file, starter in missing.items():
        write_atomically(file, _starter(starter).encode())
    return tuple(missing)


def look(root: Path, *, data: str | None, label: str | None, model: str | None) -> Guess:
    """Guess the settings of a project. Raises ConfigError when there is no data to look at."""
    found = sorted(_walk(root), key=lambda path: (path.count("/"), path))
    tables = [path for path in found if path.endswith(DATA_SUFFIXES)]
    test = data or _first(tables, TEST_WORDS) or (tables[0] if tables else None)
    if test is None:
        raise ConfigError(
            "found no data file",
            place=str(root),
            remedy=f"Name one with --data ({', '.join(DATA_SUFFIXES)})",
        )
    frame = _read(root, test)
    column = label or _label(frame)
    if column not in frame.columns:
        raise ConfigError(
            f"has no column {column!r} (columns: {', '.join(map(str, frame.columns))})",
            place=test,
            remedy="Name the label with --label",
        )
    train = _first([path for path in tables if path != test], ("train",))
    models = [path for path in found if path.endswith(MODEL_SUFFIXES)]
    interpreters = (".venv/bin/python", "venv/bin/python", ".venv/Scripts/python.exe")
    return Guess(
        project=re.sub(r"[^A-Za-z0-9._-]+", "-", root.name).strip("-._") or "project",
        test=test,
        train=train,
        label=column,
        key=_key(frame, column),
        sensitive=tuple(str(c) for c in frame.columns if SENSITIVE.search(str(c)) and c != column),
        task=_task(frame, column),
        model=model or (models[0] if models else None),
        python=next((p for p in interpreters if (root / p).exists()), None),
        prepare=tuple(_prepare(root)),
        benchmarks=any(root.glob("benchmarks/test_*.py")),
    )


def mlops_yml(guess: Guess) -> str:
    """Return the text of a configuration with a comment on every setting."""
    rows = [
        "# What is judged on every pull request, and how. Every setting: `ci-mlops schema`.",
        "version: 1",
        f"project: {guess.project}",
        "",
    ]
    if guess.prepare:
        rows += ["prepare: # run on both sides before anything is judged"]
        rows += [f"  - {_quoted(line)}" for line in guess.prepare] + [""]
    rows += ["data:"]
    rows += [f"  train: {_quoted(guess.train)}"] if guess.train else []
    rows += [f"  test: {_quoted(guess.test)} # held out: the model has not seen it"]
    if guess.key:
        rows += [f"  key: {_quoted(guess.key)} # names a row; predictions are joined by it"]
    rows += [f"  label: {_quoted(guess.label)} # what the model predicts"]
    if guess.sensitive:
        listed = ", ".join(_quoted(column) for column in guess.sensitive)
        rows += [f"  sensitive: [{listed}] # fairness is judged by these"]
    else:
        rows += ["  # sensitive: [sex, race] # name columns here to judge fairness by them"]
    rows += ["", "model:"]
    path = _quoted(guess.model) if guess.model else "model/model.joblib"
    rows += [f"  path: {path}{'' if guess.model else ' # not found yet: name your model file'}"]
    rows += [f"  task: {guess.task} # binary, multiclass or regression"]
    if guess.python:
        rows += [f"  python: {guess.python} # the interpreter that can load the model"]
    else:
        rows += ["  # python: .venv/bin/python # the interpreter that can load the model"]
    rows += [
        "",
        "stages: # an empty value means the documented defaults",
        "  data: # contract, shift, leakage, Deepchecks",
        "  model: # metrics base against head, worst slices, Deepchecks",
    ]
    packs = "four-fifths, no-regression" if guess.sensitive else "documentation"
    packs = "no-regression" if guess.sensitive and guess.task == "regression" else packs
    rows += [f"  policy: {{packs: [{packs}]}} # ethics rules with reasons and sources"]
    benchmarks = "{benchmarks: benchmarks/} " if guess.benchmarks else ""
    rows += [f"  latency: {benchmarks}# prediction time, base against head", ""]
    return "\n".join(rows)


def _starter(name: str) -> str:
    shipped = files("ci_mlops").joinpath("workflows", name)
    source = shipped if shipped.is_file() else Path(__file__).parents[1] / "workflows" / name
    return source.read_text(encoding="utf-8")


def _quoted(text: str | None) -> str:
    """Return a YAML scalar that reads back as the same text."""
    import yaml

    written: str = yaml.safe_dump(text, allow_unicode=True, width=10_000)
    return written.removesuffix("\n...\n").rstrip("\n")


def _top(root: Path, commands: Commands) -> Path:
    found = commands.run(["git", "rev-parse", "--show-toplevel"], cwd=root, timeout_s=60)
    return Path(found.output.rstrip("\n")) if found.code == 0 else root


def _walk(root: Path, depth: int = 0) -> Iterable[str]:
    for path in sorted(root.iterdir()):
        if path.name.startswith(".") or path.name in {"node_modules", "venv", "site", "build"}:
            continue
        if path.is_dir() and not path.is_symlink() and depth < 4:
            yield from (f"{path.name}/{below}" for below in _walk(path, depth + 1))
        elif path.is_file():
            yield path.name


def _first(paths: Sequence[str], words: Sequence[str]) -> str | None:
    return next((p for word in words for p in paths if word in Path(p).name.lower()), None)


def _read(root: Path, location: str) -> "pd.DataFrame":
    from ci_mlops.dataset.reading import read_frame

    try:
        return read_frame(root, location)
    except CannotLook as fault:
        raise ConfigError(fault.fault, place=fault.place, remedy=fault.remedy) from fault


def _label(frame: "pd.DataFrame") -> str:
    names = {str(column).lower(): str(column) for column in frame.columns}
    for name in LABEL_NAMES:
        if name in names:
            return names[name]
    for stem in LABEL_STEMS:
        near = [column for name, column in names.items() if name.startswith(stem)]
        if near:
            return near[0]
    return str(frame.columns[-1])


def _key(frame: "pd.DataFrame", label: str) -> str | None:
    for column in frame.columns:
        named = KEY.search(str(column)) and column != label
        if named and frame[column].is_unique and not frame[column].isna().any():
            return str(column)
    return None


def _task(frame: "pd.DataFrame", label: str) -> str:
    from pandas.api.types import is_float_dtype

    values = frame[label].dropna()
    distinct = values.nunique()
    if distinct <= 2:
        return "binary"
    fractional = is_float_dtype(values) and bool((values % 1 != 0).any())
    return "regression" if fractional or distinct > MAX_CLASSES else "multiclass"


def _prepare(root: Path) -> Iterable[str]:
    attributes = root / ".gitattributes"
    if attributes.is_file() and "filter=lfs" in attributes.read_text(encoding="utf-8"):
        yield "git lfs pull"
    if (root / ".dvc").is_dir():
        yield "dvc pull"
