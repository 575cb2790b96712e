"""Verbs that read what was released and judged, and keep it: history, record, status, live, why."""

import json
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path

from ci_mlops.cli import places
from ci_mlops.cli.places import Environ


def history(arguments: Namespace, environ: Environ) -> int:
    """Print what was released, or draw the dashboard."""
    from ci_mlops.release import history

    since = (
        history.moment_of(arguments.since, flag="--since", begins=True) if arguments.since else None
    )
    if arguments.html:
        return _dashboard(arguments, environ, since)
    with places.ledger(arguments, environ) as ledger:
        entries = history.history(
            ledger, arguments.environment or None, arguments.limit, since=since
        )
    if arguments.json:
        print(json.dumps([history.plain(one) for one in entries], indent=1))
    else:
        print("\n".join(history.history_lines(entries)) or "The ledger is empty.")
    return 0


def record(arguments: Namespace, environ: Environ) -> int:
    """Keep a summary of a run on its branch."""
    from ci_mlops import evidence, verdict
    from ci_mlops.dashboard.records import records_at, require_recordable
    from ci_mlops.dashboard.summary import summary
    from ci_mlops.github import Workflow

    folder = places.evidence_folder(arguments)
    found = evidence.read_folder(folder)
    require_recordable(found.run, Workflow.from_environ(environ), place=str(folder))
    # Of monitors each is required; what judged a run of main is its gate.
    gate = (
        verdict.Gate(require=found.run.stages)
        if found.run.environment
        else places.gate_of_run(arguments, found.run, environ)
    )
    partial = bool(found.run.left_out)
    kept = summary(
        found.run, found.records, verdict.decide(gate, found.run, found.records, partial=partial)
    )
    with records_at(*places.remote(arguments, environ)) as records:
        added = records.add(kept, run_sha256=evidence.file_sha256(folder / "run.json"))
    where = kept.environment or "main"
    print(f"{where}: {kept.verdict}, {'recorded' if added else 'recorded before'}")
    return 0


def status(arguments: Namespace, environ: Environ) -> int:
    """Print what is live, everywhere."""
    from ci_mlops.release import history

    with places.ledger(arguments, environ) as ledger:
        state = ledger.state()
    if arguments.json:
        print(json.dumps(history.plain_state(state), indent=1))
    else:
        print("\n".join(history.status_lines(state)))
    return 0


def live(arguments: Namespace, environ: Environ) -> int:
    """Print what is live, or was."""
    from ci_mlops.release import history

    at = history.moment_of(arguments.at) if arguments.at else None
    with places.ledger(arguments, environ) as ledger:
        found = history.live(ledger, arguments.environment, at)
    print(json.dumps(history.plain(found), indent=1) if arguments.json else found.entry.to)
    return 0


def why(arguments: Namespace, environ: Environ) -> int:
    """Print where a digest or a file comes from."""
    from ci_mlops.checkout import Repository
    from ci_mlops.command import Commands
    from ci_mlops.github import printable
    from ci_mlops.release import lineage

    repository = Repository.around(Path.cwd(), Commands(environ=environ))
    with places.ledger(arguments, environ) as ledger:
        found = lineage.lineage(
            arguments.what,
            ledger,
            evidence=places.evidence_folder(arguments),
            repository=repository,
        )
    if arguments.json:
        print(json.dumps(lineage.plain(found), indent=1))
    else:
        print("\n".join(printable(line) for line in lineage.lines(found)))
    return 0


def _dashboard(arguments: Namespace, environ: Environ, since: datetime | None) -> int:
    from ci_mlops.checkout import Repository
    from ci_mlops.command import Commands
    from ci_mlops.dashboard import content, page
    from ci_mlops.dashboard.records import records_at
    from ci_mlops.errors import ConfigError
    from ci_mlops.evidence import write_atomically
    from ci_mlops.release import history

    if arguments.json or arguments.limit is not None:
        raise ConfigError("goes with neither --json nor --limit", place="--html")
    name = arguments.environment or None
    with places.ledger(arguments, environ) as ledger:
        state, entries = ledger.state(), history.history(ledger, name)
    with records_at(*places.remote(arguments, environ)) as records:
        kept = records.read(environment=name, since=since)
    if name and not entries and not any(one.environment == name for one in kept.summaries):
        raise ConfigError(
            f"neither the ledger nor the records know {name!r}",
            place="history",
            remedy="`ci-mlops status` names the environments",
        )
    repository = Repository.around(Path.cwd(), Commands(environ=environ))
    shown = content.content(
        state,
        entries[::-1],
        kept,
        environment=name,
        since=since,
        now=datetime.now(UTC),
        committed=repository.committed(one.entry.commit for one in entries if one.entry.commit),
    )
    write_atomically(arguments.html, page.render(shown).encode())
    print(arguments.html)
    return 0
