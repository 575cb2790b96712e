"""Requests to GitHub's API: sent again when that helps, bounded, and silent about the token."""

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import requests

from ci_mlops import __version__
from ci_mlops.errors import OutsideError
from ci_mlops.github import retry
from ci_mlops.github.retry import Failure

API_VERSION = "2022-11-28"
MAX_ANSWER_BYTES = 32 * 1024 * 1024
MAX_PAGES = 200
NOT_ACCESSIBLE = "not accessible by"
"""GitHub's words when the token lacks a permission: by integration, by personal access token."""
NEXT = re.compile(r'<([^>]+)>;\s*rel="next"')
Query = Mapping[str, str | int]


class RefusedError(OutsideError):
    """GitHub answered, and the answer is no."""

    def __init__(self, fault: str, *, status: int, remedy: str = "") -> None:
        super().__init__(fault, remedy=remedy)
        self.status = status


class LostError(OutsideError):
    """The answer was lost: what was asked for may have happened. Look before asking again."""


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Time, so that a test need not wait."""

    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A success, read to its end."""

    headers: Mapping[str, str]
    data: bytes


@dataclass(kw_only=True)
class Api:
    """GitHub's REST API with one token; waits at most `max_wait_s` in all."""

    url: str
    token: str = field(repr=False)
    clock: Clock = field(default_factory=Clock)
    max_wait_s: float = 900
    timeout_s: float = 30
    waited_s: float = 0
    session: requests.Session = field(default_factory=requests.Session, repr=False)

    def __post_init__(self) -> None:
        self.url = self.url.rstrip("/")
        # No ~/.netrc and no proxy's credentials: the token that was given is the one that is used.
        self.session.trust_env = False

    def get(self, path: str, *, needs: str, query: Query | None = None) -> Any:
        """Return the JSON of a GET. Raises RefusedError, or OutsideError when nothing comes."""
        return self._json(self._send("GET", self.url + path, needs=needs, query=query))

    def send(self, method: str, path: str, body: Any, *, needs: str) -> Any:
        """Return the JSON of a request that changes something; None when there is none.

        A POST whose answer is lost is not sent again: LostError tells the caller to look first.
        """
        answer = self._send(method, self.url + path, needs=needs, body=body)
        return self._json(answer) if answer.data else None

    def pages(
        self, path: str, *, needs: str, query: Query | None = None, key: str = ""
    ) -> Iterator[Any]:
        """Yield every item of a list over all its pages; `key` names the list in an object."""
        url, params = self.url + path, {"per_page": 100, **(query or {})}
        for _ in range(MAX_PAGES):
            answer = self._send("GET", url, needs=needs, query=params)
            document = self._json(answer)
            yield from document[key] if key else document
            following = NEXT.search(answer.headers.get("link", ""))
            if following is None:
                return
            url, params = following[1], {}
            if not url.startswith(f"{self.url}/"):
                # The token would go with the request.
                raise OutsideError(f"GitHub's next page of {path} leads elsewhere")
        raise OutsideError(f"GitHub has over {MAX_PAGES} pages of {path}")

    def download(self, path: str, *, needs: str, max_bytes: int) -> bytes:
        """Return a file; a redirect is followed without the token. Raises OutsideError."""
        return self._send("GET", self.url + path, needs=needs, max_bytes=max_bytes).data

    def _send(
        self,
        method: str,
        url: str,
        *,
        needs: str,
        query: Mapping[str, str | int] | None = None,
        body: Any = None,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> Answer:
        attempt = 0
        while True:
            attempt += 1
            answer = self._once(method, url, query=query, body=body, max_bytes=max_bytes)
            if isinstance(answer, Answer):
                return answer
            what = f"{method} {url.removeprefix(self.url)}"
            if method == "POST" and answer.may_have_happened:
                raise LostError(self._clean(f"the answer to {what} was lost: {answer.message}"))
            wait = retry.wait_s(answer, attempt, self.clock.now())
            if wait is None:
                raise self._refused(what, answer, needs, attempt)
            self.wait(wait, what)

    def wait(self, seconds: float, what: str) -> None:
        """Wait before `what`. Raises OutsideError when that is longer than is left to wait."""
        if self.waited_s + seconds > self.max_wait_s:
            left = self.max_wait_s - self.waited_s
            raise OutsideError(
                f"GitHub asks to wait {seconds:.0f} s before {what}, and {left:.0f} s are left",
                remedy="Run the job again later",
            )
        self.waited_s += seconds
        self.clock.sleep(seconds)

    def _once(
        self,
        method: str,
        url: str,
        *,
        query: Mapping[str, str | int] | None,
        body: Any,
        max_bytes: int,
    ) -> Answer | Failure:
        headers = {
            "Accept": "application/vnd.github+json",
            "Authorization": f"Bearer {self.token}",
            "User-Agent": f"ci-mlops/{__version__}",
            "X-GitHub-Api-Version": API_VERSION,
        }
        try:
            with self.session.request(
                method,
                url,
                params=query,
                json=body,
                headers=headers,
                timeout=self.timeout_s,
                stream=True,
            ) as response:
                data = _read(response, max_bytes)
        except requests.RequestException as fault:
            return Failure(status=0, message=type(fault).__name__)
        named = {name.lower(): value for name, value in response.headers.items()}
        if response.ok:
            return Answer(headers=named, data=data)
        return Failure(status=response.status_code, message=_message(data), headers=named)

    def _refused(self, what: str, failure: Failure, needs: str, attempts: int) -> OutsideError:
        times = f" {attempts} times" if attempts > 1 else ""
        if failure.status == 0:
            return OutsideError(
                self._clean(f"GitHub did not answer {what}{times}: {failure.message}"),
                remedy="Run the job again later",
            )
        remedy = ""
        if failure.status == 403 and NOT_ACCESSIBLE in failure.message:
            remedy = f"Add `{needs}` to the job's `permissions:`"
        elif failure.status == 401:
            remedy = "Give the step `GITHUB_TOKEN: ${{ github.token }}` in its `env:`"
        fault = f"GitHub refused {what}{times} with {failure.status}: {failure.message}"
        return RefusedError(self._clean(fault), status=failure.status, remedy=remedy)

    def _json(self, answer: Answer) -> Any:
        try:
            return json.loads(answer.data)
        except (ValueError, RecursionError) as fault:
            raise OutsideError("GitHub answered with something else than JSON") from fault

    def _clean(self, text: str) -> str:
        return text.replace(self.token, "***") if self.token else text


def segment(text: str) -> str:
    """Return a text as one segment of a path; a slash in it stays part of the segment."""
    return quote(text, safe="")


def _read(response: requests.Response, max_bytes: int) -> bytes:
    data = bytearray()
    for piece in response.iter_content(1 << 16):
        data += piece
        if len(data) > max_bytes:
            raise OutsideError(f"GitHub sent more than {max_bytes} bytes")
    return bytes(data)


def _message(data: bytes) -> str:
    """Return what GitHub says about a refusal, on one short line."""
    try:
        document = json.loads(data)
        text = str(document["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        text = "no reason given"
    return " ".join(text.split())[:300]
