"""GitHub's own description of its API: is this request, is this answer as GitHub documents it?"""

import functools
import gzip
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from jsonschema import Draft202012Validator

FILE = Path(__file__).parent / "openapi.json.gz"
EXAMPLES = {
    "date-time": "2026-11-01T10:00:00Z",
    "uri": "https://github.example/x",
    "email": "a@b.example",
}


class Unknown(Exception):
    """The request fits no operation that the trimmed description holds."""


class Operation:
    """One operation of the description, with the values of its path's parameters."""

    def __init__(self, name: str, spec: Mapping[str, Any], values: Mapping[str, str]) -> None:
        self.name = name
        """Such as `POST /repos/{owner}/{repo}/check-runs`."""
        self.spec = spec
        self.values = values

    def request_fault(self, query: Mapping[str, str], body: Any) -> str:
        """Return what is wrong with a request; empty when nothing is."""
        known = {p["name"]: p for p in map(resolved, self.spec["parameters"])}
        for name, text in {**self.values, **query}.items():
            if name not in known:
                return f"parameter {name} is not documented"
            fault = schema_fault(known[name].get("schema", {}), _typed(known[name], text))
            if fault:
                return f"parameter {name}: {fault}"
        content = self.spec.get("requestBody", {}).get("content", {})
        if not content:
            return "a body is not documented" if body is not None else ""
        schema = content["application/json"]["schema"]
        unknown = set(body or {}) - properties(schema)
        return f"body: {sorted(unknown)} not documented" if unknown else schema_fault(schema, body)

    def answer_fault(self, status: int, body: Any) -> str:
        """Return what is wrong with an answer of a documented status; empty when nothing is."""
        responses = self.spec["responses"]
        if str(status) not in responses:
            return f"status {status} is not documented"
        content = resolved(responses[str(status)]).get("content", {})
        if "application/json" not in content:
            return ""
        return schema_fault(content["application/json"].get("schema", {}), body)

    def example(self, status: int, changes: Any) -> Any:
        """Return the smallest documented answer, with the parts that the caller knows put in."""
        content = resolved(self.spec["responses"][str(status)])["content"]
        return filled(content["application/json"]["schema"], changes)


@functools.cache
def document() -> dict[str, Any]:
    """Return the trimmed description."""
    found: dict[str, Any] = json.loads(gzip.decompress(FILE.read_bytes()))
    return found


def operation(method: str, path: str) -> Operation:
    """Return the operation that a request asks for. Raises Unknown."""
    for pattern, template, methods in _patterns():
        found = pattern.fullmatch(path)
        if found and method.lower() in methods:
            values = {k.replace("__", "-"): unquote(v) for k, v in found.groupdict().items()}
            return Operation(f"{method} {template}", methods[method.lower()], values)
    raise Unknown(f"{method} {path}")


@functools.cache
def _patterns() -> list[tuple[re.Pattern[str], str, dict[str, Any]]]:
    made = []
    for template, methods in document()["paths"].items():
        # The path of a file may hold slashes; every other parameter is one segment.
        text = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template).replace(
            "(?P<path>[^/]+)", "(?P<path>.+)"
        )
        made.append((re.compile(text), template, methods))
    return made


def resolved(node: Any) -> Any:
    """Follow a reference."""
    while isinstance(node, dict) and "$ref" in node:
        kind, name = node["$ref"].removeprefix("#/components/").split("/", 1)
        node = document()["components"][kind][name]
    return node


def properties(schema: Any) -> set[str]:
    """Return the members that a schema documents, in all its branches."""
    schema = resolved(schema)
    names = set(schema.get("properties", {}))
    for branch in (*schema.get("allOf", ()), *schema.get("anyOf", ()), *schema.get("oneOf", ())):
        names |= properties(branch)
    return names


def schema_fault(schema: Any, value: Any) -> str:
    """Return the first way in which a value breaks a schema; empty when it fits."""
    errors = sorted(_validator(json.dumps(schema, sort_keys=True)).iter_errors(value), key=str)
    if not errors:
        return ""
    return f"{'.'.join(map(str, errors[0].absolute_path))}: {errors[0].message[:300]}"


@functools.cache
def _validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator({**json.loads(schema), "components": document()["components"]})


def filled(schema: Any, changes: Any) -> Any:
    """Return the smallest value that fits a schema, with `changes` laid over it."""
    schema = resolved(schema)
    if changes is not None and not isinstance(changes, dict | list):
        return changes
    if "allOf" in schema:
        merged: dict[str, Any] = dict(changes or {})
        for branch in schema["allOf"]:
            known = properties(branch)
            merged |= filled(branch, {k: v for k, v in merged.items() if k in known})
        return merged
    for branches in ("anyOf", "oneOf"):
        if branches in schema:
            options = [resolved(one) for one in schema[branches]]
            if changes is None and any(one.get("type") == "null" for one in options):
                return None
            wanted = "array" if isinstance(changes, list) else "object"
            fitting = [one for one in options if one.get("type", "object") == wanted]
            return filled((fitting or options)[0], changes)
    if isinstance(changes, list):
        return [filled(schema.get("items", {}), one) for one in changes]
    if schema.get("type") == "object" or "properties" in schema:
        return _filled_object(schema, changes or {})
    return _smallest(schema)


def _filled_object(schema: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    known = schema.get("properties", {})
    made = {name: filled(known.get(name, {}), None) for name in schema.get("required", ())}
    return made | {
        name: filled(known[name], value) if name in known and value is not None else value
        for name, value in changes.items()
    }


def _smallest(schema: Mapping[str, Any]) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "string")
    if kind == "string":
        return EXAMPLES.get(schema.get("format", ""), "x" * max(1, schema.get("minLength", 1)))
    return {"integer": 1, "number": 1, "boolean": False, "array": [], "null": None}[kind]


def _typed(parameter: Mapping[str, Any], text: str) -> Any:
    kind = resolved(parameter.get("schema", {})).get("type")
    if kind == "integer" and re.fullmatch(r"-?\d+", text):
        return int(text)
    return {"true": True, "false": False}.get(text, text) if kind == "boolean" else text
