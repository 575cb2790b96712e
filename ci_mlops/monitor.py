"""Watch an environment: open it with what was judged for it, run its monitors, and leave evidence.

What is live comes from the ledger. The reference is the commit that it was judged at, checked out
beside the working tree; where the ledger knows nothing, the working tree itself.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ci_mlops import evidence, pull_request, report, verdict
from ci_mlops import run as stages
from ci_mlops.command import Commands
from ci_mlops.config import Config, Loaded
from ci_mlops.errors import CannotLook, ConfigError
from ci_mlops.evidence import Record, Run, file_sha256
from ci_mlops.github import Workflow, issue
from ci_mlops.github.issue import MAX_BODY
from ci_mlops.github.repository import Issue, Repository
from ci_mlops.monitors.production import Limits, Live, Watched
from ci_mlops.monitors.settings import Answer, MonitorsSettings
from ci_mlops.monitors.sources.prometheus import Prometheus
from ci_mlops.plan import Plan, plan
from ci_mlops.release.entry import time_of
from ci_mlops.release.ledger import Ledger
from ci_mlops.release.settings import DockerTargetSettings, KubernetesTargetSettings
from ci_mlops.report import markdown
from ci_mlops.stages.policy import PolicyStage
from ci_mlops.verdict import Gate, Verdict

LABEL = "ci-mlops-monitor"
ANSWERS: Mapping[Answer, str] = {
    "rollback": "a rollback to the version before",
    "retrain": "a pull request with a model trained anew",
}
NAMED = 5
"""Checks of a monitor that a reason names."""
MARGIN = 500
"""Characters that an issue needs besides the report."""


@dataclass(frozen=True, kw_only=True)
class Watch:
    """An environment that can be looked at."""

    config: Config
    settings: MonitorsSettings
    watched: Watched
    plan: Plan
    blocked: CannotLook | None
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What the monitors left."""

    run: Run
    records: dict[str, Record]
    verdict: Verdict
    reports: tuple[Path, ...]
    bugs: tuple[Exception, ...]

    def failed(self) -> tuple[str, ...]:
        """Return the monitors that failed, in order."""
        return tuple(name for name in self.run.stages if self.records[name].outcome == "failed")

    def reason(self) -> str:
        """Return in one line what failed: `drift failed: shift income, freshness`."""
        parts = []
        for name in self.failed():
            checks = [one for one in self.records[name].checks if one.outcome == "failed"]
            named = [f"{one.name} {one.slice}".strip() for one in checks]
            more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
            parts.append(f"{name} failed: {', '.join(named[:NAMED])}{more}")
        return "; ".join(parts)

    def healthy(self) -> bool:
        """Whether every monitor looked and none found a fault; a partial look says nothing."""
        fine = {"passed", "warned"}
        return not self.run.left_out and all(one.outcome in fine for one in self.records.values())


def opened(
    loaded: Loaded,
    path: Path,
    *,
    ledger: Ledger,
    commands: Commands,
    now: datetime,
    environ: Mapping[str, str],
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    cores: int,
) -> Watch:
    """Make an environment ready to be looked at; `path` is the configuration file.

    `environ` holds the token that Prometheus asks for; the door `commands` need not.

    Raises ConfigError without monitors, OutsideError when the ledger cannot be read.
    """
    settings = loaded.config.monitors
    if settings is None:
        raise ConfigError(
            "has no `monitors` section",
            place=str(path),
            remedy="See docs/how-to/monitor.md",
        )
    live, notes = _live(ledger, settings.environment)
    sides = pull_request.sides(loaded, path, commit=live.commit if live else "", commands=commands)
    chosen = settings.chosen()
    folder = sides.head.root / ".mlops" / "monitors" / settings.environment
    configured = loaded.config.stages.chosen()
    policy = configured.get("policy")
    log = settings.predictions
    watched = Watched(
        head=sides.head,
        base=None,
        base_missing="production has no other side",
        judge=sides.head,
        commands=commands,
        folder=folder,
        cache=sides.head.root / ".mlops" / "cache",
        cores=cores,
        project=loaded.config.project,
        stages=tuple(configured),
        environment=settings.environment,
        live=live,
        reference=sides.base or sides.head,
        now=now,
        log=log.path if log else None,
        max_rows=log.max_rows if log else 0,
        policy=policy if isinstance(policy, PolicyStage) else PolicyStage(packs=("four-fifths",)),
        limits=_limits(loaded.config, settings.environment),
        labels=settings.labels,
        prometheus=(
            Prometheus(settings=settings.prometheus, environ=environ)
            if settings.prometheus
            else None
        ),
    )
    return Watch(
        config=loaded.config,
        settings=settings,
        watched=watched,
        plan=plan(chosen, only=only, skip=skip),
        blocked=sides.blocked,
        notes=(*notes, *sides.notes),
    )


def look(watch: Watch, observer: stages.Observer, *, workflow: Workflow) -> Seen:
    """Run the monitors and write their evidence and report below `.mlops/monitors/ENVIRONMENT`."""
    clock = time.monotonic()
    watched = watch.watched
    folder = watched.folder
    ran = stages.run(watch.plan, watched, observer, blocked=watch.blocked, now=lambda: watched.now)
    run = Run(
        project=watched.project,
        environment=watched.environment,
        head=watched.head.commit,
        base="",
        judged_by="head",
        stages=watch.plan.names(),
        left_out=watch.plan.left_out,
        records={
            name: file_sha256(folder / "evidence" / f"{name}.json") for name in watch.plan.names()
        },
        subjects=pull_request.named_subjects((watched.head,)),
        notes=watch.notes,
        workflow=workflow.run_url() if workflow.inside else "",
        event=workflow.event,
        ref=workflow.ref,
        started=stages.timestamp(watched.now),
        seconds=round(time.monotonic() - clock, 3),
        tools=pull_request.tools(),
    )
    evidence.write(folder / "evidence" / "run.json", run)
    gate = Gate(require=watch.plan.names())
    decided = verdict.decide(gate, run, ran.records, partial=bool(watch.plan.left_out))
    written = report.write(folder, run, ran.records, decided)
    return Seen(
        run=run,
        records=dict(ran.records),
        verdict=decided,
        reports=written,
        bugs=ran.bugs,
    )


def report_text(seen: Seen) -> str:
    """Return the report as Markdown, short enough for an issue."""
    return markdown.render(seen.run, seen.records, seen.verdict, limit=MAX_BODY - MARGIN)


def keep_issue(repository: Repository, seen: Seen, answers: Sequence[Answer]) -> Issue | None:
    """Keep the one issue of a project and environment. Raises OutsideError.

    It is opened when a monitor fails and closed when all are well; a look that could not decide
    leaves it as it is. `answers` are what the failed ones call for.
    """
    run = seen.run
    marker = f"<!-- ci-mlops-monitor:{run.project}:{run.environment} -->"
    if failed := seen.failed():
        title = f"{run.project} in {run.environment}: {', '.join(failed)} failed"
        follows = [ANSWERS[one] for one in answers if one in ANSWERS]
        told = f"\nBy `on_failure` there follows {' and '.join(follows)}.\n" if follows else ""
        kept = issue.keep(
            repository,
            marker=marker,
            title=title,
            body=f"{report_text(seen)}{told}",
            labels=(LABEL,),
        )
        return kept.issue
    if seen.healthy():
        return issue.close(repository, marker=marker, words=_healthy_again(run))
    return None


def _healthy_again(run: Run) -> str:
    link = f" ([the run]({run.workflow}))" if run.workflow else ""
    return f"Healthy again: every monitor looked at {run.started} and found no fault{link}."


def _live(ledger: Ledger, environment: str) -> tuple[Live | None, list[str]]:
    state = ledger.state()
    current = state.environment(environment)
    if current.live is None or current.since is None:
        note = (
            f"The ledger knows of nothing live in {environment}: what stands in the working tree "
            "is taken for what was judged, and every version that answers is looked at."
        )
        return None, [note]
    about = [
        one.entry
        for one in ledger.entries()
        if (one.entry.environment, one.entry.to) == (environment, current.live)
    ]
    kinds = [entry.kind for entry in about if entry.kind in {"promoted", "rolled_back"}]
    live = Live(
        digest=current.live,
        since=time_of(current.since),
        commit=next((entry.commit for entry in about if entry.commit), ""),
        promoted=kinds[:1] == ["promoted"],
    )
    note = f"Live in {environment}: {live.version}, since {current.since}."
    return live, [note]


def _limits(config: Config, environment: str) -> Limits:
    settings = config.release.get(environment)
    if isinstance(settings, DockerTargetSettings):
        return Limits(memory_mb=settings.memory_mb, cpus=settings.cpus)
    if isinstance(settings, KubernetesTargetSettings):
        # A pod may hold twice what it requests, see release/manifests.py.
        requested = settings.memory_mb
        return Limits(
            memory_mb=2 * requested if requested else None,
            requested_mb=requested,
            requested_cpus=settings.cpus,
        )
    return Limits()
