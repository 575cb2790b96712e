"""mlops.yml as frozen types: load it, name a fault by its line, and give its JSON Schema."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, create_model, field_validator

from ci_mlops.dataset.settings import DataSettings
from ci_mlops.errors import ConfigError
from ci_mlops.evidence import Change, Place, ProjectName, Record, Run
from ci_mlops.model.settings import ModelSettings
from ci_mlops.monitors import MONITORS
from ci_mlops.monitors.settings import MonitorsSettings
from ci_mlops.publish.settings import PublishSettings, Rules
from ci_mlops.release.settings import EnvironmentSettings
from ci_mlops.stage import Stage
from ci_mlops.stages import STAGES
from ci_mlops.strict_yaml import did_you_mean, read
from ci_mlops.values import EnvironmentName, Many, Value
from ci_mlops.verdict import Gate

FILE_NAME = "mlops.yml"
SCHEMA_URL = "https://ci-mlops.github.io/ci-mlops/schema"


class StagesSection(Value):
    """Every stage that is named here runs; an empty value means its defaults."""

    @field_validator("*", mode="before")
    @classmethod
    def _empty_means_defaults(cls, value: object) -> object:
        return {} if value is None else value

    def chosen(self) -> dict[str, Stage]:
        """Return the stages that the file names, with their settings, in the registry's order."""
        named = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: named[name] for name in named if name in self.model_fields_set}


Stages: type[StagesSection] = create_model(
    "Stages",
    __base__=StagesSection,
    __doc__=StagesSection.__doc__,
    **{  # type: ignore[call-overload]  # the fields are the registry: a stage is one line there
        stage.name: (
            stage | None,
            Field(default=None, validate_default=False, description=stage.question),
        )
        for stage in STAGES
    },
)


Monitors: type[MonitorsSettings] = create_model(
    "Monitors",
    __base__=MonitorsSettings,
    __doc__=MonitorsSettings.__doc__,
    **{  # type: ignore[call-overload]  # as above
        monitor.name: (
            monitor | None,
            Field(default=None, validate_default=False, description=monitor.question),
        )
        for monitor in MONITORS
    },
)


class Config(Value):
    """The whole of mlops.yml."""

    version: Literal[1]
    """The version of this format."""
    project: ProjectName
    """The name of the project: it titles the report and marks its comment."""
    data: DataSettings
    model: ModelSettings | None = None
    stages: Stages
    gate: Gate = Gate()
    publish: PublishSettings = PublishSettings()
    release: Mapping[EnvironmentName, EnvironmentSettings] = {}
    """Environments by name, each with the target that a promotion goes to."""
    monitors: Monitors | None = None
    """What is watched in production."""
    prepare: Many[Annotated[str, Field(min_length=1)]] = ()
    """Shell lines that fetch or build the subjects, run in the folder of mlops.yml on both sides,
    such as `dvc pull` or `python train.py`; `python` is the interpreter of `model.python`."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A configuration with the place of each of its settings."""

    config: Config
    file: str
    """Path of the file as the user knows it, for messages."""
    lines: Mapping[str, int]
    values: Any
    """The plain values as they stand in the file, for comparing two versions."""

    def places(self) -> dict[str, Place]:
        """Where each setting stands, by dotted path."""
        return {path: Place(file=self.file, line=n) for path, n in self.lines.items() if path}


def load(path: Path, *, name: str | None = None) -> Loaded:
    """Read a configuration file; every fault is a ConfigError with file, line, path and remedy."""
    shown = name or str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as fault:
        raise ConfigError(
            "not found", place=shown, remedy="Run `ci-mlops init` to write one"
        ) from fault
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(f"cannot be read: {fault}", place=shown) from fault
    return parse(text, shown)


def parse(text: str, name: str) -> Loaded:
    """Check the text of a configuration file; raises ConfigError."""
    document = read(text, name)
    if not isinstance(document.value, dict):
        raise ConfigError(
            "holds no settings", place=name, remedy="Run `ci-mlops init` to write a working file"
        )
    try:
        config = Config.model_validate(document.value)
    except ValidationError as fault:
        errors = fault.errors(include_url=False, include_context=True)
        first = min(errors, key=lambda e: _priority(e["type"]))
        path = _dotted(first["loc"], document.value)
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise ConfigError(
            f"{path}: {_message(first)}{more}",
            place=f"{name}:{document.line(path)}",
        ) from fault
    loaded = Loaded(config=config, file=name, lines=document.lines, values=document.value)
    _check_together(loaded)
    return loaded


def rules(text: str, file: str) -> Rules:
    """Return what judges evidence, from the text of a configuration file; raises ConfigError."""
    config = parse(text, file).config
    stages = tuple(config.stages.chosen())
    return Rules(file=file, project=config.project, gate=config.gate, stages=stages)


def differences(base: Any, head: Any, places: Mapping[str, Place], path: str = "") -> list[Change]:
    """List the settings that differ between two versions of a section, by dotted path."""
    if isinstance(base, dict) and isinstance(head, dict):
        found: list[Change] = []
        for key in dict.fromkeys((*base, *head)):
            below = f"{path}.{key}" if path else str(key)
            found += differences(base.get(key, ABSENT), head.get(key, ABSENT), places, below)
        return found
    if base == head:
        return []
    place = _nearest(places, path)
    return [Change(what=path, base=_shown(base), head=_shown(head), place=place)]


def schemas() -> dict[str, dict[str, Any]]:
    """Return the JSON Schemas of what we read and write, by file name."""
    named: dict[str, type[BaseModel]] = {
        "mlops.schema.json": Config,
        "record.schema.json": Record,
        "run.schema.json": Run,
    }
    from ci_mlops.stages.policy import packs

    made = {
        file: {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": f"{SCHEMA_URL}/{file}",
            **kind.model_json_schema(),
        }
        for file, kind in named.items()
    }
    return {**made, "policy.schema.json": packs.schema()}


ABSENT = object()


def _shown(value: Any) -> str:
    if value is ABSENT:
        return "(not set)"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:197]}..."


def _nearest(places: Mapping[str, Place], path: str) -> Place | None:
    while path and path not in places:
        path = path.rpartition(".")[0]
    return places.get(path)


def _check_together(loaded: Loaded) -> None:
    """Refuse what each section alone cannot see to be wrong."""
    config = loaded.config
    stages = config.stages.chosen()
    if not stages:
        raise ConfigError(
            "stages: names no stage, so nothing would be judged",
            place=f"{loaded.file}:{loaded.lines.get('stages', 1)}",
            remedy=f"Add one of {', '.join(stage.name for stage in STAGES)}",
        )
    for number, name in enumerate(config.gate.require or ()):
        if name not in stages:
            raise ConfigError(
                f"gate.require: stage {name!r} is required but not configured"
                f"{did_you_mean(name, stages)}",
                place=f"{loaded.file}:{loaded.lines.get(f'gate.require.{number}', 1)}",
                remedy="Add it below `stages:`, or take it out of `gate.require`",
            )
    needs_model = [n for n, stage in stages.items() if "model" in stage.uses and n != "data"]
    if needs_model and config.model is None:
        raise ConfigError(
            f"model: is missing, but stage {needs_model[0]} judges a model",
            place=f"{loaded.file}:1",
            remedy="Add a `model:` section with `path` and `task`",
        )
    _check_mirrors(loaded)
    _check_monitors(loaded)


def _check_mirrors(loaded: Loaded) -> None:
    """Refuse a tag of no image, and one that two environments would both move."""
    known: dict[object, str] = {}
    for name, environment in loaded.config.release.items():
        tag, mlflow = environment.mirrors.oci_tag, environment.mirrors.mlflow
        repository = getattr(environment, "repository", None)
        claims = {"oci_tag": (repository, tag)} if tag else {}
        if mlflow:
            claims["mlflow"] = (f"{mlflow.tracking_uri} {mlflow.model}", mlflow.alias or name)
        for mirror, claim in claims.items():
            path = f"release.{name}.mirrors.{mirror}"
            fault = "tags images, and no `repository` of them is named" if claim[0] is None else ""
            if claim in known:
                fault = f"{known[claim]} has the same, and it can name what is live in one alone"
            if fault:
                place = f"{loaded.file}:{loaded.lines.get(path, 1)}"
                raise ConfigError(f"{path}: {fault}", place=place)
            known[claim] = name


def _check_monitors(loaded: Loaded) -> None:
    """Refuse monitors that cannot look."""
    if loaded.config.monitors is None:
        return
    for path, fault, remedy in _wrong_monitors(loaded.config, loaded.config.monitors):
        line = loaded.lines.get(path, loaded.lines.get("monitors", 1))
        raise ConfigError(f"{path}: {fault}", place=f"{loaded.file}:{line}", remedy=remedy)


def _wrong_monitors(config: Config, monitors: MonitorsSettings) -> Iterator[tuple[str, str, str]]:
    """Yield path, fault and remedy of each thing that is wrong."""
    chosen, environments = monitors.chosen(), config.release
    if not chosen:
        named = ", ".join(one.name for one in MONITORS)
        yield "monitors", "names no monitor, so nothing would be watched", f"Add one of {named}"
    if config.model is None:
        yield "monitors", "needs a model", "Add a `model:` section"
    if environments and monitors.environment not in environments:
        near = did_you_mean(monitors.environment, environments)
        fault = f"{monitors.environment!r} is not below `release`{near}"
        yield "monitors.environment", fault, "Name one of them"
    if not isinstance(monitors.on_failure, str):
        for name in sorted(set(monitors.on_failure) - set(chosen)):
            fault = f"{name!r} is not a monitor of this file{did_you_mean(name, chosen)}"
            yield "monitors.on_failure", fault, "Name one that is"
    wanted = {monitors.answer(name) for name in chosen}
    if "retrain" in wanted and monitors.retrain is None:
        yield "monitors.on_failure", "`retrain` needs `monitors.retrain`", "Add its `command`"
    if monitors.retrain is not None and not (monitors.predictions and monitors.labels):
        fault = "needs `monitors.predictions` and `monitors.labels`"
        yield "monitors.retrain", fault, "Add them"
    if "rollback" in wanted and monitors.environment not in environments:
        fault = f"`rollback` needs the environment {monitors.environment!r} below `release`"
        yield "monitors.on_failure", fault, "Add it there with its `target`"
    for name, source in monitors.lacking():
        yield f"monitors.{name}", f"needs `monitors.{source}`", "Add it"


def _priority(kind: str) -> int:
    return 0 if kind == "extra_forbidden" else 1


def _message(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        word = str(error["loc"][-1])
        kind = {("stages",): "stage", ("monitors",): "monitor or setting"}.get(
            error["loc"][:-1], "setting"
        )
        return f"unknown {kind}{did_you_mean(word, _known(error['loc'][:-1]))}"
    if error["type"] == "missing":
        return "is missing; add it"
    message = str(error["msg"]).removeprefix("Value error, ")
    shown = _shown(error["input"]) if isinstance(error["input"], str | int | float | bool) else ""
    return f"{message[:1].lower()}{message[1:]}" + (f", not {shown!r}" if shown else "")


def _known(loc: tuple[Any, ...]) -> list[str]:
    """Return the names of the settings that stand at a place, read from the JSON Schema."""
    schema = Config.model_json_schema()
    definitions = schema.get("$defs", {})
    here: list[Mapping[str, Any]] = [schema]
    for part in loc:
        here = [n for s in here for n in _resolved(_below(s, part), definitions)]
    return [name for s in here for name in s.get("properties", {})]


def _below(schema: Mapping[str, Any], part: Any) -> Mapping[str, Any]:
    below: Any = schema.get("properties", {}).get(part)
    if below is None and isinstance(part, int):
        below = schema.get("items")
    if below is None:
        below = schema.get("additionalProperties")
    # A part of the location that names a branch of a union is not a key: stay where we are.
    return below if isinstance(below, Mapping) else schema


def _resolved(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if "$ref" in schema:
        return _resolved(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    branches = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if branches:
        return [found for branch in branches for found in _resolved(branch, definitions)]
    return [schema]


def _dotted(loc: tuple[Any, ...], value: Any) -> str:
    """Join an error's location, without the names that pydantic gives the branches of a union."""
    parts: list[str] = []
    for number, part in enumerate(loc):
        is_key = isinstance(value, dict) and part in value
        is_item = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if is_key or is_item:
            value = value[part]
        elif number != len(loc) - 1 or not isinstance(value, dict):
            continue
        parts.append(str(part))
    return ".".join(parts)
