"""The door to a registry: whom it logs in as, what it reads, what it says of a refusal."""

import base64
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ci_mlops import registry
from ci_mlops.errors import OutsideError
from ci_mlops.registry import Manifest, Registry

KIND = "application/vnd.oci.image.manifest.v1+json"
SHOWN = Manifest(kind=KIND, data=b'{"config": {"digest": "sha256:1"}}')


class Guarded:
    """A registry that asks for a token, which it gives to ann alone, for what she asked to do."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {"v1": SHOWN.data}
        self.asked: list[tuple[str, str]] = []
        self.realm = ""
        self.answer: tuple[int, bytes] | None = None
        guarded = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                guarded.serve(self)

            do_PUT = do_POST = do_GET

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_port}"

    def serve(self, request: Any) -> None:
        url = urlsplit(request.path)
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        given = request.headers.get("Authorization", "")
        self.asked.append((f"{request.command} {url.path}", given))
        if url.path == "/token":
            self.token(request, parse_qs(body.decode() or url.query), given)
            return
        action = "pull" if request.command == "GET" else "pull,push"
        if given != f"Bearer repository:team/loans:{action}":
            realm = self.realm or f"http://{self.host}/token"
            scope = f"repository:team/loans:{action}"
            challenge = f'Bearer realm="{realm}",service="here",scope="{scope}"'
            self.send(request, 401, b"{}", {"WWW-Authenticate": challenge})
            return
        if self.answer:
            self.send(request, *self.answer, {})
            return
        tag = url.path.rpartition("/")[2]
        if request.command == "PUT":
            self.held[tag] = body
            self.send(request, 201, b"", {})
        else:
            found = tag in self.held
            self.send(
                request, 200 if found else 404, self.held.get(tag, b"{}"), {"Content-Type": KIND}
            )

    def token(self, request: Any, asked: dict[str, list[str]], given: str) -> None:
        basic = f"Basic {base64.b64encode(b'ann:secret').decode()}"
        if given == basic or asked.get("refresh_token") == ["refreshed"]:
            assert asked["service"] == ["here"]
            self.send(request, 200, json.dumps({"token": asked["scope"][0]}).encode(), {})
        else:
            denied = {"errors": [{"code": "DENIED", "message": "who are you"}]}
            self.send(request, 401, json.dumps(denied).encode(), {})

    def send(self, request: Any, status: int, data: bytes, headers: dict[str, str]) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)


@pytest.fixture
def guarded() -> Iterator[Guarded]:
    made = Guarded()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()


def login(folder: Path, host: str, **account: str) -> dict[str, str]:
    """Write what `docker login` keeps, and return the environment that names it."""
    given = account or {"auth": base64.b64encode(b"ann:secret").decode()}
    text = json.dumps({"auths": {host: given}})
    (folder / "config.json").write_text(text, encoding="utf-8")
    return {"DOCKER_CONFIG": str(folder)}


def test_a_tag_is_read_and_written_by_whom_docker_knows(guarded: Guarded, tmp_path: Path) -> None:
    door = Registry.of(f"{guarded.host}/team/loans", login(tmp_path, guarded.host))
    found = door.manifest("v1")
    assert found == SHOWN
    assert found
    assert found.config() == "sha256:1"
    assert door.manifest("v2") is None
    door.tag(found, "v2")
    assert door.manifest("v2") == SHOWN
    tokens = [what for what, _ in guarded.asked if what == "GET /token"]
    assert len(tokens) == 3, "to read, to write, and to read again, which here is another right"


def test_a_helper_that_keeps_a_refresh_token_logs_in_too(guarded: Guarded, tmp_path: Path) -> None:
    environ = login(tmp_path, guarded.host, identitytoken="refreshed", auth="YW5uOg==")
    assert Registry.of(f"{guarded.host}/team/loans", environ).manifest("v1") == SHOWN
    assert ("POST /token", "") in guarded.asked


def test_who_has_not_logged_in_is_told_to(guarded: Guarded, tmp_path: Path) -> None:
    door = Registry.of(f"{guarded.host}/team/loans", {"DOCKER_CONFIG": str(tmp_path)})
    with pytest.raises(OutsideError, match="no token is given: 401 DENIED who are you") as caught:
        door.manifest("v1")
    assert caught.value.remedy == "Log in with `docker login`"


def test_a_password_goes_nowhere_in_the_open(guarded: Guarded, tmp_path: Path) -> None:
    guarded.realm = "ftp://elsewhere.example/token"
    door = Registry.of(f"{guarded.host}/team/loans", login(tmp_path, guarded.host))
    with pytest.raises(OutsideError, match="asks to log in over ftp"):
        door.manifest("v1")


@pytest.mark.parametrize(
    ("status", "data", "words"),
    [
        (500, b"oh", "cannot be read: 500"),
        (403, b'{"errors": [{"code": "DENIED"}]}', "cannot be read: 403 DENIED"),
        (200, b" " * (registry.MAX_BYTES + 1), "it is too large"),
    ],
)
def test_a_refusal_is_one_line(
    guarded: Guarded, tmp_path: Path, status: int, data: bytes, words: str
) -> None:
    guarded.answer = (status, data)
    door = Registry.of(f"{guarded.host}/team/loans", login(tmp_path, guarded.host))
    with pytest.raises(OutsideError, match=words):
        door.manifest("v1")


def test_a_registry_that_is_not_there_is_said(tmp_path: Path) -> None:
    door = Registry.of("127.0.0.1:1/team/loans", {"DOCKER_CONFIG": str(tmp_path)})
    with pytest.raises(OutsideError, match=r"127\.0\.0\.1:1 does not answer: ConnectionError"):
        door.manifest("v1")


def test_a_configuration_of_docker_that_is_broken_is_said(guarded: Guarded, tmp_path: Path) -> None:
    environ = login(tmp_path, guarded.host, auth="%%%")
    with pytest.raises(OutsideError, match=r"config\.json of Docker cannot be used"):
        Registry.of(f"{guarded.host}/team/loans", environ).manifest("v1")


@pytest.mark.parametrize(
    ("written", "host", "path"),
    [
        ("loans", "registry-1.docker.io", "library/loans"),
        ("team/loans", "registry-1.docker.io", "team/loans"),
        ("ghcr.io/team/loans", "ghcr.io", "team/loans"),
        ("localhost:5000/loans", "localhost:5000", "loans"),
    ],
)
def test_a_repository_is_read_as_docker_reads_it(written: str, host: str, path: str) -> None:
    door = Registry.of(written, {})
    assert (door.host, door.path) == (host, path)
    assert door._scheme() == ("http" if host.startswith("localhost") else "https")


def test_what_is_no_repository_is_refused() -> None:
    with pytest.raises(OutsideError, match="is no repository"):
        Registry.of("-x.example.org/loans", {})


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"config": 1}', b"[" * 100_000])
def test_what_is_no_manifest_names_no_configuration(data: bytes) -> None:
    assert Manifest(kind=KIND, data=data).config() == ""
