"""The door to an OCI registry: read a manifest, and let a tag name it, byte for byte.

Who we are is what `docker login` has kept. Source: OCI distribution specification 1.1, and "Token
authentication" of the CNCF distribution project.
"""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import requests

from ci_mlops.errors import OutsideError

TIMEOUT_S = 30
MAX_BYTES = 8 * 1024 * 1024
MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
HUB = "docker.io"
LOCAL = re.compile(r"(localhost|127(\.\d+){3})(:\d+)?")
"""Where Docker itself speaks plain HTTP."""
CHALLENGE = re.compile(r'(\w+)="([^"]*)"')

Account = Mapping[str, str]
"""`username` and `password`, or `identitytoken`; empty for nobody."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a registry names: the bytes that say what an image is made of."""

    kind: str
    """Its media type."""
    data: bytes

    @property
    def digest(self) -> str:
        """By which the registry knows it."""
        return f"sha256:{hashlib.sha256(self.data).hexdigest()}"

    def config(self) -> str:
        """Return the digest of the configuration that it names; empty where it names none."""
        try:
            return str(json.loads(self.data)["config"]["digest"])
        except (ValueError, LookupError, TypeError, RecursionError):
            return ""


@dataclass(kw_only=True)
class Registry:
    """A repository of a registry. Every method may raise OutsideError."""

    address: str
    """As people write it, such as `registry.example.org/team/loans`."""
    host: str
    path: str
    account: Callable[[], Account]
    session: requests.Session = field(default_factory=requests.Session, repr=False)
    _bearer: str = field(default="", repr=False)

    @classmethod
    def of(cls, repository: str, environ: Mapping[str, str]) -> Self:
        """Return the registry of a repository. Raises OutsideError for what is no repository."""
        from docker.auth import resolve_repository_name
        from docker.errors import InvalidRepository

        try:
            host, path = resolve_repository_name(repository)
        except InvalidRepository as fault:
            raise OutsideError(f"{repository} is no repository: {fault}") from fault
        where = host
        if host == HUB:
            where, path = "registry-1.docker.io", path if "/" in path else f"library/{path}"
        made = cls(
            address=repository, host=where, path=path, account=lambda: _account(host, environ)
        )
        made.session.auth = _as_it_is
        return made

    def manifest(self, reference: str) -> Manifest | None:
        """Return what a tag or a digest names; None where it names nothing."""
        answer = self._ask("GET", reference, headers={"Accept": ", ".join(MANIFESTS)})
        if answer.status_code == 404:
            return None
        self._require(answer, f"{self.address}:{reference[:19]} cannot be read")
        if len(answer.content) > MAX_BYTES:
            raise OutsideError(f"{self.address}:{reference[:19]} is no manifest: it is too large")
        return Manifest(kind=answer.headers.get("Content-Type", ""), data=answer.content)

    def tag(self, manifest: Manifest, tag: str) -> None:
        """Let a tag name a manifest that the repository holds."""
        headers = {"Content-Type": manifest.kind}
        answer = self._ask("PUT", tag, headers=headers, data=manifest.data)
        self._require(answer, f"{self.address}:{tag} cannot be written")

    def _ask(
        self, method: str, reference: str, *, headers: Mapping[str, str], data: bytes | None = None
    ) -> requests.Response:
        url = f"{self._scheme()}://{self.host}/v2/{self.path}/manifests/{reference}"
        answer = self._send(method, url, headers=headers, data=data)
        if answer.status_code == 401:
            # A token may be too old, or allow to read alone; each challenge says what it needs.
            self._bearer = self._authorization(answer.headers.get("WWW-Authenticate", ""))
            answer = self._send(method, url, headers=headers, data=data)
        return answer

    def _send(
        self, method: str, url: str, *, headers: Mapping[str, str], data: bytes | None = None
    ) -> requests.Response:
        known = {"Authorization": self._bearer} if self._bearer else {}
        return self._request(method, url, headers={**headers, **known}, data=data)

    def _request(self, method: str, url: str, **values: Any) -> requests.Response:
        try:
            return self.session.request(method, url, timeout=TIMEOUT_S, **values)
        except requests.RequestException as fault:
            raise OutsideError(
                f"{self.host} does not answer: {type(fault).__name__}", place=self.address
            ) from fault

    def _authorization(self, challenge: str) -> str:
        """Return what answers a challenge; empty where there is nothing to answer with."""
        scheme, _, rest = challenge.partition(" ")
        account = self.account()
        if scheme.lower() == "basic" and account.get("username"):
            both = f"{account['username']}:{account.get('password', '')}"
            return f"Basic {base64.b64encode(both.encode()).decode()}"
        if scheme.lower() != "bearer":
            return ""
        asked = dict(CHALLENGE.findall(rest))
        url = urljoin(f"{self._scheme()}://{self.host}/", asked.pop("realm", ""))
        if urlsplit(url).scheme not in {"https", self._scheme()}:
            raise OutsideError(f"{self.host} asks to log in over {urlsplit(url).scheme}")
        token = self._token(url, asked, account)
        return f"Bearer {token}" if token else ""

    def _token(self, url: str, asked: Mapping[str, str], account: Account) -> str:
        asked = {name: asked[name] for name in ("service", "scope") if name in asked}
        if account.get("identitytoken"):
            grant = {"grant_type": "refresh_token", "refresh_token": account["identitytoken"]}
            answer = self._request("POST", url, data={**asked, **grant, "client_id": "ci-mlops"})
        else:
            name = account.get("username")
            auth = {"auth": (name, account.get("password", ""))} if name else {}
            answer = self._request("GET", url, params=asked, **auth)
        self._require(answer, f"{self.address}: no token is given")
        try:
            document = answer.json()
            return str(document.get("token") or document.get("access_token") or "")
        except (ValueError, AttributeError) as fault:
            raise OutsideError(f"{self.host} gives something else than a token") from fault

    def _scheme(self) -> str:
        return "http" if LOCAL.fullmatch(self.host) else "https"

    def _require(self, answer: requests.Response, what: str) -> None:
        if answer.ok:
            return
        remedy = "Log in with `docker login`" if answer.status_code in {401, 403} else ""
        raise OutsideError(f"{what}: {answer.status_code} {_words(answer)}".rstrip(), remedy=remedy)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Leave a request as it is: without this a name of ~/.netrc would go with it."""
    return request


def _account(host: str, environ: Mapping[str, str]) -> Account:
    """Return whom `docker login` knows at a registry."""
    from docker.auth import load_config
    from docker.errors import DockerException

    folder = environ.get("DOCKER_CONFIG")
    file = Path(folder) / "config.json" if folder else Path.home() / ".docker" / "config.json"
    try:
        found = load_config(config_path=str(file)).resolve_authconfig(host) if file.exists() else {}
    except (DockerException, ValueError) as fault:
        raise OutsideError(f"{file.name} of Docker cannot be used: {fault}") from fault
    return {key.lower(): value for key, value in (found or {}).items() if isinstance(value, str)}


def _words(answer: requests.Response) -> str:
    """Return what a registry says of a refusal, on one short line."""
    try:
        first = answer.json()["errors"][0]
        return " ".join(f"{first['code']} {first.get('message', '')}".split())[:200]
    except (ValueError, LookupError, TypeError):
        return ""
