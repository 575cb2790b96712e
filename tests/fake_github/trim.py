"""Cut GitHub's OpenAPI description down to the operations that we use, as JSON Schema.

    npm pack @octokit/openapi@23.0.2 && tar xzf octokit-openapi-23.0.2.tgz
    python -m tests.fake_github.trim package/generated/api.github.com.json

writes openapi.json.gz beside this script: paths with their parameters, bodies and answers, and every
schema that they refer to. Descriptions and examples go, `nullable` becomes a type of its own.
"""

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

OUTPUT = Path(__file__).parent / "openapi.json.gz"
SOURCE = "npm @octokit/openapi 23.0.2 (MIT, see LICENSE.octokit-openapi)"
REPO = "/repos/{owner}/{repo}"
USED = {
    "/user": ("get",),
    REPO: ("get",),
    f"{REPO}/actions/artifacts/{{artifact_id}}/{{archive_format}}": ("get",),
    f"{REPO}/actions/runs": ("get",),
    f"{REPO}/actions/runs/{{run_id}}": ("get",),
    f"{REPO}/actions/runs/{{run_id}}/artifacts": ("get",),
    f"{REPO}/actions/runs/{{run_id}}/rerun": ("post",),
    f"{REPO}/actions/workflows/{{workflow_id}}/dispatches": ("post",),
    f"{REPO}/actions/workflows/{{workflow_id}}/runs": ("get",),
    f"{REPO}/check-runs": ("post",),
    f"{REPO}/check-runs/{{check_run_id}}": ("patch",),
    f"{REPO}/collaborators/{{username}}/permission": ("get",),
    f"{REPO}/commits/{{ref}}": ("get",),
    f"{REPO}/commits/{{ref}}/check-runs": ("get",),
    f"{REPO}/commits/{{commit_sha}}/pulls": ("get",),
    f"{REPO}/contents/{{path}}": ("get",),
    f"{REPO}/deployments": ("get", "post"),
    f"{REPO}/deployments/{{deployment_id}}/statuses": ("get", "post"),
    f"{REPO}/git/trees/{{tree_sha}}": ("get",),
    f"{REPO}/issues": ("get", "post"),
    f"{REPO}/issues/comments/{{comment_id}}": ("patch", "delete"),
    f"{REPO}/issues/{{issue_number}}": ("get", "patch"),
    f"{REPO}/issues/{{issue_number}}/comments": ("get", "post"),
    f"{REPO}/pulls": ("get", "post"),
    f"{REPO}/pulls/{{pull_number}}": ("get", "patch"),
}
NOISE = {"description", "example", "examples", "title", "externalDocs", "deprecated", "xml"}
NAMED = {"properties", "patternProperties", "schemas", "parameters", "responses", "headers"}


def plain(node: Any, *, names: bool = False) -> Any:
    """Return a part of the description as JSON Schema 2020-12, without its prose."""
    if isinstance(node, list):
        return [plain(one) for one in node]
    if not isinstance(node, dict):
        return node
    kept = {
        key: plain(value, names=key in NAMED and not names)
        for key, value in node.items()
        if names or (key not in NOISE and not key.startswith("x-"))
    }
    if not names and kept.pop("nullable", False) is True:
        return {"anyOf": [kept, {"type": "null"}]}
    return kept


def references(node: Any) -> set[str]:
    """Return every `#/components/...` that a part refers to."""
    if isinstance(node, list):
        return {found for one in node for found in references(one)}
    if not isinstance(node, dict):
        return set()
    own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
    return own | {found for one in node.values() for found in references(one)}


def trim(whole: dict[str, Any]) -> dict[str, Any]:
    """Return the operations in use with everything that they refer to, and nothing else."""
    paths: dict[str, Any] = {}
    for path, methods in USED.items():
        shared = whole["paths"][path].get("parameters", [])
        paths[path] = {
            method: plain(
                {
                    "parameters": [*shared, *whole["paths"][path][method].get("parameters", [])],
                    "requestBody": whole["paths"][path][method].get("requestBody", {}),
                    "responses": whole["paths"][path][method]["responses"],
                }
            )
            for method in methods
        }
    components: dict[str, dict[str, Any]] = {}
    todo = references(paths)
    while todo:
        kind, _, name = todo.pop().removeprefix("#/components/").partition("/")
        if name in components.setdefault(kind, {}):
            continue
        components[kind][name] = plain(whole["components"][kind][name])
        todo |= references(components[kind][name])
    return {"source": SOURCE, "paths": paths, "components": components}


def main() -> None:
    """Trim the description that is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("description", type=Path)
    whole = json.loads(parser.parse_args().description.read_text(encoding="utf-8"))
    text = json.dumps(trim(whole), separators=(",", ":"), sort_keys=True)
    OUTPUT.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
