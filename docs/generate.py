"""Tables of the documentation, made from the code at every build so that they cannot go stale.

A page asks for one with a line of its own: `<!-- settings:NAME -->`, `<!-- fields:record -->`,
`<!-- exit-codes -->`, `<!-- help -->`, `<!-- conditions -->`.
"""

import re
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from ci_mlops import config, errors, evidence
from ci_mlops.cli import parser
from ci_mlops.dataset.settings import Contract, DataSettings
from ci_mlops.model.human import Human
from ci_mlops.model.settings import ModelSettings, PredictionFiles
from ci_mlops.monitors.accuracy import AccuracyMonitor
from ci_mlops.monitors.drift import DriftMonitor
from ci_mlops.monitors.fairness import FairnessMonitor
from ci_mlops.monitors.latency import LatencyMonitor
from ci_mlops.monitors.resources import ResourcesMonitor
from ci_mlops.monitors.settings import MonitorsSettings, PredictionLogSettings, RetrainSettings
from ci_mlops.monitors.sources.prediction_log import LabelSettings
from ci_mlops.monitors.sources.prometheus import PrometheusSettings
from ci_mlops.publish.settings import PublishSettings
from ci_mlops.release.entry import EXIT_CODES
from ci_mlops.release.settings import (
    CommandTargetSettings,
    DockerTargetSettings,
    KubernetesTargetSettings,
    Mirrors,
    ProcessTargetSettings,
)
from ci_mlops.stages import STAGES
from ci_mlops.verdict import Gate

MARK = re.compile(r"^<!-- ([a-z-]+)(?::([a-z-]+))? -->$", re.MULTILINE)
SECTIONS: dict[str, type[BaseModel]] = {
    "config": config.Config,
    "data-section": DataSettings,
    "contract": Contract,
    "model-section": ModelSettings,
    "predictions": PredictionFiles,
    "gate": Gate,
    "monitors": MonitorsSettings,
    "monitor-drift": DriftMonitor,
    "monitor-accuracy": AccuracyMonitor,
    "monitor-fairness": FairnessMonitor,
    "monitor-latency": LatencyMonitor,
    "monitor-resources": ResourcesMonitor,
    "prediction-log": PredictionLogSettings,
    "labels": LabelSettings,
    "prometheus": PrometheusSettings,
    "retrain": RetrainSettings,
    "human": Human,
    "publish": PublishSettings,
    "mirrors": Mirrors,
    "release-docker": DockerTargetSettings,
    "release-kubernetes": KubernetesTargetSettings,
    "release-process": ProcessTargetSettings,
    "release-command": CommandTargetSettings,
    **{stage.name: stage for stage in STAGES},
}
DOCUMENTS: dict[str, type[BaseModel]] = {
    "record": evidence.Record,
    "check": evidence.Check,
    "run": evidence.Run,
}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the tables in place; called by MkDocs for every page."""
    return MARK.sub(lambda found: _made(found[1], found[2] or "", found[0]), markdown)


def _made(kind: str, name: str, unchanged: str) -> str:
    makers: dict[str, Callable[[str], str]] = {
        "settings": lambda name: fields(SECTIONS[name]),
        "fields": lambda name: fields(DOCUMENTS[name]),
        "exit-codes": lambda _: exit_codes(),
        "help": lambda _: command_line(),
        "conditions": lambda _: conditions(),
    }
    return makers[kind](name) if kind in makers else unchanged


def fields(model: type[BaseModel]) -> str:
    """Return a table of a model's fields: name, type, default, meaning; models in it follow."""
    schema = model.model_json_schema()
    tables = [_table(schema)]
    definitions = schema.get("$defs", {})
    if model is config.Config:
        return tables[0]
    for name in _mentioned(schema, definitions):
        if definitions[name].get("properties"):
            about = definitions[name].get("description", "").split("\n\n")[0]
            tables.append(f"**{name}**: {_one_line(about)}\n\n{_table(definitions[name])}")
    return "\n\n".join(tables)


def exit_codes() -> str:
    """Return a table of every way to stop, with its exit code."""
    kinds = [value for value in vars(errors).values() if isinstance(value, type)]
    rows = [
        (
            str(kind.exit_code),
            f"`{kind.__name__}`",
            _one_line((kind.__doc__ or "").split("\n\n")[0]),
        )
        for kind in kinds
        if issubclass(kind, errors.Stop) and kind is not errors.Stop
    ]
    passed = ("0", "", "The verdict is passed, or passed with warnings.")
    failed = ("1", "", "The verdict is failed, or something required could not be judged.")
    bug = ("3", "", "A fault of ci-mlops: traceback, versions and where to report it.")
    ends = [
        (str(code), "", f"`ci-mlops promote` or `rollback` ended in: {kind.replace('_', ' ')}.")
        for kind, code in EXIT_CODES.items()
        if code
    ]
    every = [passed, failed, bug, *rows, *ends]
    return _grid(("code", "raised as", "when"), sorted(every, key=_first))


def command_line() -> str:
    """Return the help of every verb."""
    parts = []
    for name, (text, more) in parser.VERBS.items():
        parts.append(
            f"## `ci-mlops {name}`\n\n{text[0].upper()}{text[1:]}.\n\n```text\n{more}```\n"
        )
        rows = [
            (f"`{flag}`", _one_line(str(options.get("help", ""))) or _choices(options))
            for flag, options in parser.FLAGS[name]
        ]
        parts += [_grid(("flag", "meaning"), rows)] if rows else []
    return "\n".join(parts)


def conditions() -> str:
    """Return a table of Deepchecks' checks that run, with our limits and their reasons."""
    from ci_mlops.deepchecks.conditions import CONDITIONS

    rows = [
        (
            f"[`{one.name}`]({one.page})",
            one.suite,
            ", ".join(f"`{k}: {v:g}`" for k, v in one.limits.items()),
            "fails" if one.grave else "warns",
            one.why,
        )
        for one in CONDITIONS
    ]
    return _grid(("check", "stage", "limits", "breaking it", "reason"), rows)


def _table(schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = [
        (
            f"`{name}`",
            _type(field),
            "**required**" if name in required else _default(field),
            _one_line(field.get("description", "")),
        )
        for name, field in schema.get("properties", {}).items()
    ]
    return _grid(("name", "type", "default", "meaning"), rows)


def _mentioned(schema: dict[str, Any], definitions: dict[str, Any]) -> list[str]:
    found: list[str] = []
    todo = re.findall(r"#/\$defs/(\w+)", str(schema.get("properties", {})))
    while todo:
        name = todo.pop(0)
        if name not in found:
            found.append(name)
            todo += re.findall(r"#/\$defs/(\w+)", str(definitions[name]))
    return found


def _type(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        kinds = [_type(one) for one in field["anyOf"] if one.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if "enum" in field or "const" in field:
        return ", ".join(f"`{one}`" for one in field.get("enum", [field.get("const")]))
    kind = str(field.get("type", "anything"))
    if kind == "array":
        return f"list of {_type(field.get('items', {}))}"
    if kind == "object" and isinstance(field.get("additionalProperties"), dict):
        return f"map to {_type(field['additionalProperties'])}"
    return {"string": "text", "object": "map", "boolean": "true or false"}.get(kind, kind)


def _default(field: dict[str, Any]) -> str:
    value = field.get("default")
    if value is None or value in ({}, [], ""):
        return ""
    if isinstance(value, dict):
        return "see below"
    return f"`{value}`"


def _choices(options: dict[str, Any]) -> str:
    return ", ".join(f"`{one}`" for one in options.get("choices", ()))


def _first(row: tuple[str, ...]) -> int:
    return int(row[0])


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _grid(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
