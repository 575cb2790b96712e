"""Stages in, evidence out: run a plan side by side within the cores, or reuse what was kept."""

import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from ci_mlops import cache, evidence
from ci_mlops.errors import CannotLook, OutsideError, Stop
from ci_mlops.evidence import Check, Record
from ci_mlops.plan import Plan
from ci_mlops.stage import Findings, Stage, Workspace


class Observer(Protocol):
    """Who is told how a run goes; the terminal, or nobody."""

    def started(self, stage: str) -> None:
        """Tell that a stage began."""

    def ended(self, stage: str, record: Record) -> None:
        """Tell that a stage left its record."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a run left: a record per stage, and the faults of our own that it met."""

    records: Mapping[str, Record]
    reused: tuple[str, ...]
    bugs: tuple[Exception, ...]


@dataclass(kw_only=True)
class _Progress:
    """What is going on in a run; touched by the scheduling thread alone."""

    records: dict[str, Record] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    bugs: list[Exception] = field(default_factory=list)
    running: set[str] = field(default_factory=set)


def run(
    plan: Plan,
    workspace: Workspace,
    observer: Observer,
    *,
    blocked: CannotLook | None = None,
    reuse: bool = True,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Ran:
    """Run every stage of a plan and write its record to `.mlops/evidence/`.

    `blocked` is a fault, such as a failed `prepare`, that keeps every stage from looking.
    Stages run in threads (their weight lies in child processes and in numpy), at most one a core;
    a stage that must be alone gets the machine to itself.
    """
    folder = workspace.folder / "evidence"
    for stage in plan.stages:
        # A run that is cut off must not leave the evidence of an earlier one in its place.
        (folder / f"{stage.name}.json").unlink(missing_ok=True)
    progress = _Progress()
    stages = {stage.name: stage for stage in plan.stages}
    waits_for = plan.waits_for()
    sorter = plan.sorter()
    done: queue.Queue[tuple[str, Record, Exception | None]] = queue.Queue()
    ready: list[str] = []

    def work(stage: Stage, key: str) -> None:
        record, bug = _judge(stage, workspace, key, blocked=blocked, reuse=reuse, now=now)
        done.put((stage.name, record, bug))

    while sorter.is_active():
        ready += sorter.get_ready()
        for name in _startable(ready, progress.running, stages, workspace.cores):
            ready.remove(name)
            upstream = {n: progress.fingerprints[n] for n in waits_for[name]}
            key = cache.fingerprint(stages[name], workspace, upstream)
            progress.fingerprints[name] = key
            progress.running.add(name)
            observer.started(name)
            # Daemon threads: Ctrl-C ends the process without waiting for them.
            threading.Thread(target=work, args=(stages[name], key), name=name, daemon=True).start()
        name, record, bug = done.get()
        progress.running.discard(name)
        progress.records[name] = record
        progress.bugs += [bug] if bug else []
        evidence.write(folder / f"{name}.json", record)
        observer.ended(name, record)
        sorter.done(name)
    return Ran(
        records={name: progress.records[name] for name in plan.names()},
        reused=tuple(n for n in plan.names() if progress.records[n].reused_from),
        bugs=tuple(progress.bugs),
    )


def _startable(
    ready: list[str], running: set[str], stages: Mapping[str, Stage], cores: int
) -> list[str]:
    """Choose what may start now; a stage that must be alone waits until nothing else can run."""
    if any(stages[name].alone for name in running):
        return []
    company = [name for name in ready if not stages[name].alone]
    if company:
        return company[: max(0, max(1, cores) - len(running))]
    return ready[:1] if ready and not running else []


def _judge(
    stage: Stage,
    workspace: Workspace,
    key: str,
    *,
    blocked: CannotLook | None,
    reuse: bool,
    now: Callable[[], datetime],
) -> tuple[Record, Exception | None]:
    started, clock = now(), time.monotonic()
    folder = workspace.folder / "evidence"
    reuse = reuse and stage.keeps and not blocked
    kept = cache.find(workspace.cache, key, folder) if reuse else None
    if kept is not None:
        return kept, None
    bug: Exception | None = None
    try:
        if blocked is not None:
            raise blocked
        findings = stage.run(workspace)
    except (CannotLook, OutsideError) as fault:
        findings = _could_not_look(stage, str(fault))
    except Stop as fault:
        # A policy that is wrong, for example: its author must act, so it ends the command too.
        bug = fault
        findings = _could_not_look(stage, str(fault))
    except Exception as fault:  # noqa: BLE001 - kept as evidence, and raised by the command line
        bug = fault
        what = f"{type(fault).__name__}: {fault}"
        findings = _could_not_look(stage, f"ci-mlops failed in stage {stage.name}: {what}"[:2000])
    record = _record(
        stage,
        workspace,
        findings=findings,
        key=key,
        started=started,
        seconds=time.monotonic() - clock,
    )
    if bug is None and stage.keeps:
        cache.keep(workspace.cache, record, folder, workspace.head.commit)
    return record, bug


def _could_not_look(stage: Stage, message: str) -> Findings:
    check = Check(name=f"{stage.name}-could-not-look", outcome="error", message=message[:2000])
    return Findings(checks=(check,))


def _record(
    stage: Stage,
    workspace: Workspace,
    *,
    findings: Findings,
    key: str,
    started: datetime,
    seconds: float,
) -> Record:
    return Record(
        stage=stage.name,
        outcome=evidence.worst_outcome(check.outcome for check in findings.checks),
        subjects=cache.used_subjects(stage, workspace),
        checks=findings.checks,
        metrics=findings.metrics,
        tables=findings.tables,
        charts=findings.charts,
        artifacts=findings.artifacts,
        notes=findings.notes,
        fingerprint=key,
        started=timestamp(started),
        seconds=round(seconds, 3),
        tools=dict(findings.tools),
    )


def timestamp(moment: datetime) -> str:
    """Write a moment as evidence does: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
