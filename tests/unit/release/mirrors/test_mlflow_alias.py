"""Which version stands for what is live, whom MLflow is asked as, and what it may answer.

What MLflow itself does with it is in tests/integration/test_mirrors.py.
"""

import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest

from ci_mlops.errors import OutsideError
from ci_mlops.release.mirrors.mirror import Said
from ci_mlops.release.mirrors.mlflow_alias import MlflowAlias, Version, chosen, tags
from ci_mlops.release.settings import MlflowMirror
from tests.unit.release.mirrors.told import BLOCKED, ONE, PROMOTED, TWO, told

LIVE = PROMOTED[0]


@pytest.mark.parametrize(
    ("versions", "number"),
    [
        ([], None),
        ([{}], None),
        ([{"ci_mlops.model": "2" * 64}], None),
        ([{"ci_mlops.model": "1" * 64}, {}], "1"),
        ([{"ci_mlops.model": f"sha256:{'1' * 64}"}], "1"),
        ([{"ci_mlops.model": "1" * 64}] * 11, "11"),
        ([{"ci_mlops.digest": ONE}, {"ci_mlops.model": "1" * 64}], "1"),
        ([{"ci_mlops.digest": TWO}, {"ci_mlops.model": "1" * 64}], "2"),
    ],
)
def test_a_version_is_known_by_its_tags(versions: list[dict[str, str]], number: str | None) -> None:
    listed = [Version(number=str(n), tags=one) for n, one in enumerate(versions, start=1)]
    found = chosen(listed, LIVE)
    assert (found.number if found else None) == number


def test_an_entry_without_a_model_is_known_by_its_digest_alone() -> None:
    entry = LIVE.model_copy(update={"subjects": {}})
    assert tags(entry) == {"ci_mlops.digest": ONE}
    other = Version(number="1", tags={"ci_mlops.model": ""})
    assert chosen([other], entry) is None


class Answers:
    """A server that gives what it is told to, and remembers whom it saw."""

    def __init__(self) -> None:
        self.saw: list[tuple[str, str | None]] = []
        self.pages: list[dict[str, Any]] = []
        self.answer: tuple[int, bytes] | None = None
        answers = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                answers.saw.append((self.path, self.headers.get("Authorization")))
                status, data = answers.answer or (200, json.dumps(answers.of(self.path)).encode())
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def of(self, path: str) -> dict[str, Any]:
        if "model-versions/search" in path:
            number = int(path.partition("page_token=")[2] or 0)
            return self.pages[number]
        return {"registered_model": {"name": "loans"}}


@pytest.fixture
def answers() -> Iterator[Answers]:
    made = Answers()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()


def sync(
    answers: Answers, environ: Mapping[str, str] = MappingProxyType({}), *, live: bool = True
) -> list[Said]:
    settings = MlflowMirror(model="loans", tracking_uri=f"{answers.url}/")
    mirror = MlflowAlias(settings=settings, alias="production", repository="", environ=environ)
    return list(mirror.sync(told(PROMOTED if live else BLOCKED), dry_run=False))


def test_every_page_is_read(answers: Answers) -> None:
    other = {"version": "1", "tags": [{"key": "ci_mlops.model", "value": "9" * 64}]}
    mine = {"version": "2", "tags": [{"key": "ci_mlops.model", "value": "1" * 64}]}
    answers.pages = [
        {"model_versions": [other], "next_page_token": "1"},
        {"next_page_token": "2"},
        {"model_versions": [mine]},
    ]
    (line,) = sync(answers)
    assert line.text == "loans@production is version 2"
    assert answers.saw[-1][0].endswith("registered-models/alias")


@pytest.mark.parametrize(
    ("environ", "header"),
    [
        ({}, None),
        ({"MLFLOW_TRACKING_TOKEN": "t"}, "Bearer t"),
        ({"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "p"}, "Basic YW5uOnA="),
        ({"MLFLOW_TRACKING_TOKEN": "t", "MLFLOW_TRACKING_USERNAME": "ann"}, "Bearer t"),
    ],
)
def test_it_logs_in_as_mlflows_own_client_does(
    answers: Answers, environ: dict[str, str], header: str | None
) -> None:
    answers.pages = [{}]
    with pytest.raises(OutsideError, match="no version of 'loans' in MLflow carries the tag"):
        sync(answers, environ)
    assert {one for _, one in answers.saw} == {header}


def test_where_nothing_is_live_nothing_is_asked(answers: Answers) -> None:
    assert sync(answers, live=False) == []
    assert answers.saw == []


@pytest.mark.parametrize(
    ("status", "data", "words"),
    [
        (401, b"", "answered 401 and no JSON"),
        (403, b'{"error_code": "PERMISSION_DENIED"}', "with 403: PERMISSION_DENIED"),
        (200, b"[]", "refused registered-models/get with 200"),
        (500, b'{"error_code": "INTERNAL", "message": "a\\nb"}', "with 500: INTERNAL a b"),
    ],
)
def test_a_refusal_is_one_line_without_the_token(
    answers: Answers, status: int, data: bytes, words: str
) -> None:
    answers.answer = (status, data)
    with pytest.raises(OutsideError) as caught:
        sync(answers, {"MLFLOW_TRACKING_TOKEN": "secret"})
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)
    assert ("MLFLOW_TRACKING_TOKEN" in caught.value.remedy) == (status in {401, 403})


def test_a_server_that_is_not_there_is_said(answers: Answers) -> None:
    answers.server.shutdown()
    answers.server.server_close()
    with pytest.raises(OutsideError, match="MLflow does not answer: ConnectionError"):
        sync(answers)
