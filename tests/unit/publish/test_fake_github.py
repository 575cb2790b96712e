"""The fake itself: as a process of its own, and as strict as GitHub's description."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.conftest import clean_environ
from tests.fake_github import World
from tests.fake_github.description import document, operation
from tests.fake_github.server import HANDLERS
from tests.fake_github.trim import USED, plain
from tests.unit.publish.situations import BASE, HEAD

TOP = Path(__file__).parents[3]


def test_every_operation_of_the_description_is_served() -> None:
    described = {
        f"{method.upper()} {path}"
        for path, methods in document()["paths"].items()
        for method in methods
    }
    assert described == set(HANDLERS)
    assert {path: set(methods) for path, methods in USED.items()} == {
        path: set(methods) for path, methods in document()["paths"].items()
    }


def test_it_runs_as_a_process_and_leaves_its_state(tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    folder.mkdir()
    (folder / "run.json").write_text("{}")
    pull = {"number": 7, "head_sha": HEAD, "base_sha": BASE}
    artifact = {"id": 1, "run_id": 100, "name": "ci-mlops-evidence", "path": str(folder)}
    world = {"pulls": [pull], "artifacts": [artifact], "runs": [{"id": 100, "head_sha": HEAD}]}
    (tmp_path / "world.json").write_text(json.dumps(world))
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.fake_github",
            f"--world={tmp_path / 'world.json'}",
            f"--state={tmp_path / 'state.json'}",
        ],
        cwd=TOP,
        env=clean_environ(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        headers = {"Authorization": f"Bearer {World().token}"}
        made = requests.post(
            f"{url}/repos/acme/loans/issues/7/comments",
            json={"body": "hello"},
            headers=headers,
            timeout=10,
        )
        assert made.status_code == 201
        assert requests.get(f"{url}/_state", timeout=10).json()["comments"][0]["body"] == "hello"
        zipped = requests.get(
            f"{url}/repos/acme/loans/actions/artifacts/1/zip", headers=headers, timeout=10
        )
        assert zipped.content.startswith(b"PK")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        process.stdout.close()
    state = json.loads((tmp_path / "state.json").read_text(encoding="utf-8"))
    assert [one["body"] for one in state["comments"]] == ["hello"]


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "words"),
    [
        ("POST", "/issues/7/comments", {}, {}, "'body' is a required property"),
        ("POST", "/issues/7/comments", {}, {"body": "x", "bdy": 1}, "not documented"),
        ("POST", "/check-runs", {}, {"name": "x"}, "head_sha"),
        ("GET", "/pulls", {"state": "opened"}, None, "'opened' is not one of"),
        ("GET", "/pulls", {"branch": "x"}, None, "branch is not documented"),
        ("GET", "/pulls/x", {}, None, "is not of type 'integer'"),
        ("GET", "/pulls/7", {}, {"x": 1}, "a body is not documented"),
    ],
)
def test_it_refuses_what_github_does_not_document(
    method: str, path: str, query: dict[str, str], body: object, words: str
) -> None:
    asked = operation(method, f"/repos/acme/loans{path}")
    assert words in asked.request_fault(query, body)


def test_answers_are_held_against_the_description_too() -> None:
    asked = operation("GET", "/repos/acme/loans/pulls/7")
    whole = asked.example(200, {"number": 7})
    assert asked.answer_fault(200, whole) == ""
    del whole["head"]
    assert "'head' is a required property" in asked.answer_fault(200, whole)
    assert asked.answer_fault(299, {}) == "status 299 is not documented"


def test_trimming_keeps_names_that_look_like_prose() -> None:
    schema = {
        "description": "prose",
        "nullable": True,
        "type": "object",
        "properties": {"description": {"type": "string", "example": "x"}, "title": {"x-y": 1}},
    }
    assert plain(schema) == {
        "anyOf": [
            {"type": "object", "properties": {"description": {"type": "string"}, "title": {}}},
            {"type": "null"},
        ]
    }
