"""YAML read strictly, with the line of every value: no duplicate keys, no aliases, no surprises."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ci_mlops.errors import ConfigError

MAX_CHARACTERS = 1_000_000
MAX_DEPTH = 32


@dataclass(frozen=True, kw_only=True)
class Document:
    """A YAML value and where its parts stand."""

    value: Any
    lines: Mapping[str, int] = field(default_factory=dict)
    """Line (from 1) of each dotted path, such as `stages.latency` or `data.sensitive.0`."""

    def line(self, path: str) -> int:
        """Line of a path, or of its nearest parent that stands in the file."""
        while path and path not in self.lines:
            path = path.rpartition(".")[0]
        return self.lines.get(path, 1)


def read(text: str, place: str) -> Document:
    """Read one YAML document; ConfigError names `place` with the line, the fault and the remedy."""
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"is longer than {MAX_CHARACTERS} characters", place=place)
    lines: dict[str, int] = {}
    try:
        _refuse_aliases(text, place)
        loader = _Loader(text)
        node = loader.get_single_node()
        value = None if node is None else _value(loader, node, "", lines, place)
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        where = f"{place}:{mark.line + 1}" if mark else place
        raise ConfigError(f"is not valid YAML: {fault.problem}", place=where) from fault
    except (yaml.YAMLError, ValueError, RecursionError) as fault:
        reason = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        raise ConfigError(f"is not valid YAML: {reason}", place=place) from fault
    return Document(value=value, lines=lines)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `, did you mean "x"?` for the nearest known word, or the known words if few."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f', did you mean "{near[0]}"?'
    return f" (known: {', '.join(names)})" if 0 < len(names) <= 30 else ""


class _Loader(yaml.SafeLoader):
    """Reads `on`, `off`, `yes` and `no` as words, as YAML 1.2 does; only true and false are bool.

    Dates stay words too: no setting is a date object, and a key such as 2026-01-01 stays a name.
    """


OWN_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float", "timestamp")}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in OWN_TAGS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
# The core schema of YAML 1.2 (section 10.3.2), without octal: 010 and 1:30 stay words.
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|(?:0|[1-9]\d*)(?:\.\d*)?)(?:[eE][-+]?\d+)?|[-+]?\.inf|\.nan",
        "-+.0123456789",
    ),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first)
    )


def _refuse_aliases(text: str, place: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            raise ConfigError(
                "uses a YAML alias (*name)",
                place=f"{place}:{line}",
                remedy="Write the value out",
            )
        if isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            depth += 1
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise ConfigError(
                f"is nested deeper than {MAX_DEPTH} levels",
                place=f"{place}:{line}",
            )


def _value(loader: _Loader, node: Node, path: str, lines: dict[str, int], place: str) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, MappingNode):
        return _mapping(loader, node, path, lines, place)
    if isinstance(node, SequenceNode):
        return [
            _value(loader, item, _join(path, str(number)), lines, place)
            for number, item in enumerate(node.value)
        ]
    try:
        return loader.construct_object(node)
    except ConstructorError as fault:
        raise ConfigError(
            f"has a value that cannot be read: {fault.problem}",
            place=f"{place}:{node.start_mark.line + 1}",
        ) from fault


def _mapping(
    loader: _Loader, node: MappingNode, path: str, lines: dict[str, int], place: str
) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key_node, value_node in node.value:
        where = f"{place}:{key_node.start_mark.line + 1}"
        if not isinstance(key_node, ScalarNode):
            raise ConfigError("has a key that is not a word", place=where)
        key = str(key_node.value)
        if key in members:
            raise ConfigError(f"has the key {key!r} twice", place=where, remedy="Keep one")
        below = _join(path, key)
        lines[below] = key_node.start_mark.line + 1
        members[key] = _value(loader, value_node, below, lines, place)
    return members


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
