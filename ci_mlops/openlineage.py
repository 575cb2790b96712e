"""A run as OpenLineage events, to a file or a server, while its stages start and end.

https://openlineage.io/docs/spec: one run of one job for each stage, below one for the whole.
"""

import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ci_mlops import REPOSITORY, __version__
from ci_mlops.cache import used_subjects
from ci_mlops.errors import ConfigError
from ci_mlops.evidence import Record, text_sha256
from ci_mlops.stage import Side, Stage, Workspace

if TYPE_CHECKING:
    from openlineage.client.event_v2 import InputDataset, OutputDataset, RunEvent

    from ci_mlops.run import Observer

PRODUCER = f"https://github.com/{REPOSITORY}/tree/v{__version__}"
TIMEOUT_S = 5.0
USER_INFO = re.compile(r"(?<=://)[^/@]*@")


class Sink(Protocol):
    """Where events go."""

    def send(self, event: "RunEvent") -> None:
        """Send one event; raises any exception when it cannot."""


@dataclass(frozen=True, kw_only=True)
class File:
    """A file to which each event is added as a line of JSON."""

    path: Path

    def send(self, event: "RunEvent") -> None:
        """Add a line. Raises OSError."""
        from openlineage.client.serde import Serde

        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{Serde.to_json(event)}\n")


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server that takes events at `/api/v1/lineage`, such as Marquez."""

    url: str
    key: str = field(default="", repr=False)

    def send(self, event: "RunEvent") -> None:
        """Send it once. Raises what the client raises, for an answer that refuses too."""
        from openlineage.client.transport.http import (
            ApiKeyTokenProvider,
            HttpConfig,
            HttpTransport,
            TokenProvider,
        )

        given = ApiKeyTokenProvider({"apiKey": self.key}) if self.key else TokenProvider({})
        transport = HttpTransport(
            HttpConfig(url=self.url, timeout=TIMEOUT_S, auth=given, retry={"total": 0})
        )
        try:
            transport.emit(event)
        finally:
            transport.close(TIMEOUT_S)


def sink(target: str, environ: Mapping[str, str]) -> Sink:
    """Return the server or the file that `target` names.

    A server's key is OPENLINEAGE_API_KEY. Raises ConfigError where the library is not installed.
    """
    from importlib.util import find_spec

    if find_spec("openlineage") is None:
        raise ConfigError(
            "openlineage-python is not installed",
            place="--openlineage",
            remedy="Install it with `pip install 'ci-mlops[openlineage]'`",
        )
    if target.startswith(("http://", "https://")):
        return Server(url=target, key=environ.get("OPENLINEAGE_API_KEY", ""))
    return File(path=Path(target))


@dataclass(kw_only=True)
class Emitter:
    """An observer of a run that sends an event for each stage that starts or ends.

    What it tells goes to `then` first. A sink that fails is given up with one warning: lineage
    never changes a verdict.
    """

    sink: Sink
    workspace: Workspace
    stages: Mapping[str, Stage]
    repository: str
    """Address of the git repository, for the events."""
    then: "Observer"
    warn: Callable[[str], None]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    new_id: Callable[[], str] = lambda: str(uuid.uuid4())
    _runs: dict[str, str] = field(default_factory=dict)
    _given_up: bool = False

    def started(self, stage: str) -> None:
        """Tell that a stage began."""
        self.then.started(stage)
        self._send(stage, None)

    def ended(self, stage: str, record: Record) -> None:
        """Tell how a stage ended."""
        self.then.ended(stage, record)
        self._send(stage, record)

    def _send(self, stage: str, record: Record | None) -> None:
        if self._given_up:
            return
        try:
            self.sink.send(self._event(stage, record))
        except Exception as fault:  # noqa: BLE001 - no sink may end a run
            self._given_up = True
            reason = next(iter(str(fault).splitlines()), "") or type(fault).__name__
            self.warn(f"OpenLineage events could not be sent and are left out: {reason[:300]}")

    def _event(self, stage: str, record: Record | None) -> "RunEvent":
        from openlineage.client.event_v2 import Job, Run, RunEvent, RunState

        whole = self._runs.setdefault("", self.new_id())
        mine = self._runs.setdefault(stage, self.new_id())
        settings = self.stages[stage]
        project = self.workspace.project
        state = RunState.START
        if record is not None:
            state = RunState.FAIL if record.outcome == "error" else RunState.COMPLETE
        return RunEvent(
            eventType=state,
            eventTime=self.now().isoformat(),
            producer=PRODUCER,
            run=Run(runId=mine, facets=_run_facets(project, whole, record)),
            job=Job(
                namespace=project,
                name=f"{project}.{stage}",
                facets=_job_facets(settings, self.repository, self.workspace.head.commit),
            ),
            inputs=list(_inputs(settings, self.workspace, record)),
            outputs=[_output(project, stage, record)] if record else [],
        )


def without_user(url: str) -> str:
    """Return an address without the name and password that it may hold."""
    return USER_INFO.sub("", url)


def _run_facets(project: str, whole: str, record: Record | None) -> dict[str, Any]:
    from openlineage.client.facet_v2 import error_message_run, parent_run, processing_engine_run

    facets: dict[str, Any] = {
        "parent": parent_run.ParentRunFacet(
            run=parent_run.Run(runId=whole), job=parent_run.Job(namespace=project, name=project)
        ),
        "processing_engine": processing_engine_run.ProcessingEngineRunFacet(
            version=__version__, name="ci-mlops"
        ),
    }
    if record is not None and record.outcome == "error":
        said = next(check.message for check in record.checks if check.outcome == "error")
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
            message=said, programmingLanguage="python"
        )
    return facets


def _job_facets(stage: Stage, repository: str, commit: str) -> dict[str, Any]:
    from openlineage.client.facet_v2 import documentation_job, source_code_location_job

    url = without_user(repository)
    return {
        "documentation": documentation_job.DocumentationJobFacet(description=stage.question),
        "sourceCodeLocation": source_code_location_job.SourceCodeLocationJobFacet(
            type="git", url=url, repoUrl=url, version=commit
        ),
    }


def _inputs(stage: Stage, workspace: Workspace, record: Record | None) -> "Iterator[InputDataset]":
    """Yield what the stage looks at, by digest; the base's versions end with `@base`."""
    from openlineage.client.event_v2 import InputDataset
    from openlineage.client.facet_v2 import documentation_dataset

    sides: dict[str, Side] = {side.name: side for side in workspace.sides()}
    for subject in used_subjects(stage, workspace):
        side, _, name = subject.name.partition(".")
        where = _location(sides[side], name)
        yield InputDataset(
            namespace=workspace.project,
            name=where if side == "head" else f"{where}@base",
            facets={
                "version": _version(subject.sha256),
                "documentation": documentation_dataset.DocumentationDatasetFacet(
                    description=f"{name} of the {side}"
                ),
            },
            inputFacets=_quality(side, name, record),
        )


def _quality(side: str, name: str, record: Record | None) -> dict[str, Any]:
    """Return the number of rows, where the stage measured it."""
    from openlineage.client.facet_v2 import data_quality_metrics_input_dataset as quality

    for metric in record.metrics if record else ():
        rows = metric.value if side == "head" else metric.base
        if metric.name == "rows" and name == f"data.{metric.slice}" and rows is not None:
            facet = quality.DataQualityMetricsInputDatasetFacet(
                columnMetrics={}, rowCount=round(rows)
            )
            return {"dataQualityMetrics": facet}
    return {}


def _output(project: str, stage: str, record: Record) -> "OutputDataset":
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.facet_v2 import documentation_dataset

    # As it is written: evidence.write.
    digest = text_sha256(record.model_dump_json(indent=1, exclude_defaults=False) + "\n")
    return OutputDataset(
        namespace=project,
        name=f".mlops/evidence/{stage}.json",
        facets={
            "version": _version(digest),
            "documentation": documentation_dataset.DocumentationDatasetFacet(
                description=f"Evidence of stage {stage}: {record.outcome}"
            ),
        },
    )


def _version(sha256: str) -> Any:
    from openlineage.client.facet_v2 import dataset_version_dataset

    return dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=f"sha256:{sha256}")


def _location(side: Side, name: str) -> str:
    """Return the path of a subject, or its name where it has none."""
    model = side.model
    known = {
        "data.train": side.data.train,
        "data.test": side.data.test,
        "model": model.path if model else None,
    }
    return known.get(name) or name
