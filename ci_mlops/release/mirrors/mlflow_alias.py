"""An alias in MLflow's model registry, moved to the version of what is live.

Over MLflow's REST API, so that neither side needs the other's release of a package. A version is
known by a tag that its author sets (`ci_mlops.model`, the sha256 of the model file) or that we set.
"""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests

from ci_mlops.errors import ConfigError, OutsideError
from ci_mlops.release.entry import Entry
from ci_mlops.release.history import SHOWN
from ci_mlops.release.mirrors.mirror import History, Said
from ci_mlops.release.settings import MlflowMirror

API = "api/2.0/mlflow"
TIMEOUT_S = 30
MAX_BYTES = 32 * 1024 * 1024
MAX_PAGES = 200
LOG_IN = "It takes MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and _PASSWORD"
MODEL, DIGEST = "ci_mlops.model", "ci_mlops.digest"
"""Tags of a version: the sha256 of its model file, and the digest of the bundle or image."""


class MissingError(OutsideError):
    """MLflow knows nothing of that name."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version of a registered model."""

    number: str
    tags: Mapping[str, str]


def tags(entry: Entry) -> dict[str, str]:
    """Return the tags that a version of what an entry made live carries, the most telling first."""
    model = entry.subjects.get("model")
    return {DIGEST: entry.to, **({MODEL: f"sha256:{model}"} if model else {})}


def chosen(versions: Sequence[Version], entry: Entry) -> Version | None:
    """Return the version that is what an entry made live; of several the newest."""
    for name, value in tags(entry).items():
        bare = value.removeprefix("sha256:")
        found = [v for v in versions if v.tags.get(name, "").removeprefix("sha256:") == bare]
        if found:
            return max(found, key=lambda version: int(version.number))
    return None


@dataclass(frozen=True, kw_only=True)
class MlflowAlias:
    """The alias of an environment."""

    settings: MlflowMirror
    alias: str
    repository: str
    """Where images are; empty where bundles are released."""
    environ: Mapping[str, str]
    name: str = "mlflow-alias"

    def sync(self, history: History, *, dry_run: bool) -> Iterator[Said]:
        """Move the alias to what is live, if anything is; see `mirror.Mirror`."""
        if history.live is None:
            return
        entry, model = history.live.intent, self.settings.model
        before = self._aliased()
        version = chosen(list(self._versions()), entry)
        if version is None and not self.settings.create_version:
            raise OutsideError(
                f"no version of {model!r} in MLflow carries the tag {self._missing(entry)}",
                remedy="Set it where the version is registered, or `create_version: true`",
            )
        if version is None:
            number = "a new one" if dry_run else self._created(entry)
            yield Said(text=f"{model}: version {number} stands for {entry.to[:SHOWN]}")
        else:
            number = version.number
        if number != before:
            if not dry_run:
                body = {"name": model, "alias": self.alias, "version": number}
                self._ask("POST", "registered-models/alias", body)
            text = f"{model}@{self.alias} is version {number}{f', was {before}' if before else ''}"
            yield Said(text=text)

    def _missing(self, entry: Entry) -> str:
        *_, (name, value) = tags(entry).items()
        return f"{name} with the value {value}"

    def _aliased(self) -> str:
        """Return the number of the version that the alias names; empty where it names none."""
        query = {"name": self.settings.model}
        try:
            found = self._ask("GET", "registered-models/get", query)["registered_model"]
        except MissingError:
            return ""
        listed = found.get("aliases") or ()
        return next((str(one["version"]) for one in listed if one["alias"] == self.alias), "")

    def _versions(self) -> Iterator[Version]:
        query = {"filter": f"name='{self.settings.model}'", "max_results": "1000"}
        for _ in range(MAX_PAGES):
            answer = self._ask("GET", "model-versions/search", query)
            for one in answer.get("model_versions") or ():
                listed = one.get("tags") or ()
                named = {str(tag["key"]): str(tag.get("value", "")) for tag in listed}
                yield Version(number=str(one["version"]), tags=named)
            if not answer.get("next_page_token"):
                return
            query = {**query, "page_token": answer["next_page_token"]}

    def _created(self, entry: Entry) -> str:
        model = self.settings.model
        try:
            self._ask("GET", "registered-models/get", {"name": model})
        except MissingError:
            self._ask("POST", "registered-models/create", {"name": model})
        hexadecimal = entry.to.removeprefix("sha256:")
        # MLflow wants an address that is no path on its own disk.
        where = f"oci://{self.repository}:" if self.repository else "ci-mlops://bundle/"
        body = {
            "name": model,
            "source": f"{where}{hexadecimal}",
            "run_link": entry.run,
            "description": f"Released by ci-mlops: commit {entry.commit or 'unknown'}.",
            "tags": [{"key": key, "value": value} for key, value in tags(entry).items()],
        }
        return str(self._ask("POST", "model-versions/create", body)["model_version"]["version"])

    def _ask(self, method: str, path: str, values: Mapping[str, Any]) -> Any:
        sent: dict[str, Any] = {"params": values} if method == "GET" else {"json": values}
        try:
            with requests.request(
                method,
                f"{self._server()}/{API}/{path}",
                auth=self._authorized,
                timeout=TIMEOUT_S,
                stream=True,
                **sent,
            ) as response:
                raw = response.raw.read(MAX_BYTES, decode_content=True)
        except (requests.RequestException, OSError) as fault:
            raise self._fault(f"does not answer: {type(fault).__name__}") from fault
        try:
            document = json.loads(raw)
        except (ValueError, RecursionError) as fault:
            log_in = LOG_IN if response.status_code in {401, 403} else ""
            raise self._fault(f"answered {response.status_code} and no JSON", log_in) from fault
        if response.ok and isinstance(document, dict):
            return document
        said = document if isinstance(document, dict) else {}
        words = " ".join(f"{said.get('error_code', '')} {said.get('message', '')}".split())[:300]
        if said.get("error_code") == "RESOURCE_DOES_NOT_EXIST":
            raise MissingError(f"MLflow knows no such thing: {words}", place=self._server())
        log_in = LOG_IN if response.status_code in {401, 403} else ""
        raise self._fault(f"refused {path} with {response.status_code}: {words}", log_in)

    def _server(self) -> str:
        found = self.settings.tracking_uri or self.environ.get("MLFLOW_TRACKING_URI", "")
        if not found.startswith(("https://", "http://")):
            raise ConfigError(
                "is no http(s) address",
                place="MLFLOW_TRACKING_URI",
                remedy="Set it, or `tracking_uri` below `mirrors.mlflow`",
            )
        return found.rstrip("/")

    def _authorized(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Log in as MLflow's own client does; as nobody without its variables."""
        token = self.environ.get("MLFLOW_TRACKING_TOKEN")
        user = self.environ.get("MLFLOW_TRACKING_USERNAME")
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        elif user:
            both = f"{user}:{self.environ.get('MLFLOW_TRACKING_PASSWORD', '')}"
            request.headers["Authorization"] = f"Basic {base64.b64encode(both.encode()).decode()}"
        return request

    def _fault(self, what: str, remedy: str = "") -> OutsideError:
        return OutsideError(f"MLflow {what}", place=self._server(), remedy=remedy)
