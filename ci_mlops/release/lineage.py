"""Where something comes from: what the evidence here and the ledger say of a model or a release."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ci_mlops.checkout import Repository
from ci_mlops.errors import EvidenceError
from ci_mlops.evidence import Folder, Record, file_sha256, read_folder
from ci_mlops.release import history
from ci_mlops.release.candidate import CHECKS, TRUSTED_EVENTS, digest_of
from ci_mlops.release.entry import Written
from ci_mlops.release.ledger import Ledger

UNKNOWN = "unknown"
MAX_PEOPLE = 10


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the evidence of one run says, in words by what it is about."""

    what: str
    data: tuple[str, ...]
    code: tuple[str, ...]
    model: tuple[str, ...]
    policy: tuple[str, ...]
    run: tuple[str, ...]
    people: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """What is known of something."""

    wanted: str
    judged: Judged | None
    """None where no evidence here is about it."""
    releases: tuple[Written, ...]
    people: tuple[str, ...]
    """Who wrote the commits that were released, as far as git here knows them."""


def lineage(wanted: str, ledger: Ledger, *, evidence: Path, repository: Repository) -> Lineage:
    """Return what is known of `wanted`: a report, a folder of evidence, or what history knows.

    Raises EvidenceError when nothing is, ConfigError when it names nothing.
    """
    folder = _folder_of(Path(wanted))
    if folder is not None:
        found = read_folder(folder)
        run_sha = file_sha256(folder / "run.json")
        entries = history.entries_about(ledger, run_sha)
        judged: Judged | None = _judged(found, str(folder), entries, repository)
    else:
        start = history.digest_of(ledger, wanted)
        entries = history.entries_about(ledger, start)
        judged = _judged_here(evidence, start, entries, repository)
        if judged is None and not entries:
            raise EvidenceError(
                "is in no entry of the ledger, and in no evidence here",
                place=wanted,
                remedy="See `ci-mlops history`, or name the evidence with --evidence",
            )
    commits = dict.fromkeys(one.entry.commit for one in entries if one.entry.commit)
    return Lineage(
        wanted=wanted,
        judged=judged,
        releases=tuple(entries),
        people=tuple(_authors(repository, list(commits)[:MAX_PEOPLE])),
    )


def lines(found: Lineage) -> Iterator[str]:
    """Say a lineage as a tree, what is unknown included."""
    judged = found.judged
    if judged is not None:
        yield f"{found.wanted}: judged as {judged.what}"
        for name in ("data", "model", "code", "policy", "run", "people"):
            told: Sequence[str] = getattr(judged, name) or (UNKNOWN,)
            for number, text in enumerate(told):
                yield f"{'├─' if number == 0 else '│ '} {name if number == 0 else '':<7} {text}"
        yield f"└─ releases {len(found.releases) or 'none in the ledger'}"
    yield from history.why_lines(found.releases)
    if found.releases:
        yield f"   {'commits by':<22} {', '.join(found.people) or UNKNOWN}"
    if judged is None:
        yield f"   {'policy, stages':<22} {UNKNOWN}: its evidence is not here"


def plain(found: Lineage) -> dict[str, Any]:
    """Return a lineage for programs; null and empty lists are what is unknown."""
    judged = found.judged
    return {
        "wanted": found.wanted,
        "judged": None
        if judged is None
        else {name: getattr(judged, name) for name in judged.__dataclass_fields__},
        "releases": [history.plain(one) for one in found.releases],
        "people": list(found.people),
    }


def _folder_of(path: Path) -> Path | None:
    """Return the evidence that a report or a folder belongs to; None where it is neither."""
    start = path if path.is_dir() else path.parent
    named = path.is_dir() or path.name.startswith("report.") or path.name == "run.json"
    folders = (start, start / "evidence", start / ".mlops" / "evidence")
    return next((one for one in folders if named and (one / "run.json").is_file()), None)


def _judged_here(
    folder: Path, start: str, entries: Sequence[Written], repository: Repository
) -> Judged | None:
    if not (folder / "run.json").is_file():
        return None
    found = read_folder(folder)
    named = {subject.name: subject.sha256 for subject in found.run.subjects}
    named |= {f"evidence of {stage}": sha for stage, sha in found.run.records.items()}
    named["run.json"] = file_sha256(folder / "run.json")
    named |= {name: sha.removeprefix("sha256:") for name, sha in _made(found).items()}
    what = next((name for name, sha in named.items() if sha.startswith(start)), None)
    if what is None:
        return None
    mine = [one for one in entries if one.entry.evidence.get("run") == named["run.json"]]
    return _judged(found, what, mine, repository)


def _made(found: Folder) -> dict[str, str]:
    """Return the digests of the bundle and of the image that a run made, where it made any."""
    made = {what: digest_of(found, stage) for stage, what in CHECKS.items()}
    return {what: digest for what, digest in made.items() if digest}


def _judged(found: Folder, what: str, entries: Sequence[Written], repository: Repository) -> Judged:
    run = found.run
    digests = {
        one.name.removeprefix("head."): f"sha256:{one.sha256}"
        for one in run.subjects
        if one.name.startswith("head.")
    }
    models = {name: sha for name, sha in digests.items() if name.startswith(("model", "predict"))}
    models |= _made(found)
    changed = " (with changes that are in no commit)" if run.head.endswith("+changes") else ""
    commit = run.head.removesuffix("+changes")
    return Judged(
        what=what,
        data=tuple(f"{name} {sha}" for name, sha in digests.items() if name.startswith("data")),
        model=tuple(f"{name} {sha}" for name, sha in models.items()),
        code=(
            f"commit {commit}{changed}",
            f"tree {run.tree or UNKNOWN}",
            f"base {run.base or UNKNOWN}",
            f"files {digests.get('code', UNKNOWN)}",
        ),
        policy=tuple(_policy(found)),
        run=(
            f"{run.workflow or 'in no workflow'}, {run.started}, {run.seconds:.0f} s",
            _trust(run.event, run.ref, entries),
        ),
        people=tuple(_authors(repository, [f"{run.base}..{commit}" if run.base else commit])),
    )


def _policy(found: Folder) -> Iterator[str]:
    run = found.run
    yield f"judged by the {run.judged_by}'s rules"
    for stage, sha in run.records.items():
        record = found.records.get(stage)
        outcome = record.outcome if isinstance(record, Record) else "unreadable"
        yield f"{stage} {outcome}, evidence sha256:{sha}"


def _trust(event: str, ref: str, entries: Sequence[Written]) -> str:
    if entries:
        return f"trusted: entry {entries[0].sequence} of the ledger was written from it"
    if not event:
        return f"trust {UNKNOWN}: it ran outside of a workflow"
    word = "a trusted event" if event in TRUSTED_EVENTS else "not trusted"
    return f"{word}: {event} on {ref or UNKNOWN}, by its own word"


def _authors(repository: Repository, revisions: Sequence[str]) -> list[str]:
    """Return who wrote commits, each once; nobody where git here does not know them."""
    found: dict[str, None] = {}
    for revision in revisions:
        limit = ["-1"] if ".." not in revision else []
        arguments = ["git", "log", *limit, "--format=%an <%ae>", "--end-of-options", revision, "--"]
        done = repository.commands.run(arguments, cwd=repository.top, timeout_s=60)
        found |= dict.fromkeys(done.output.splitlines() if done.code == 0 else ())
    names = list(found)
    more = len(names) - MAX_PEOPLE
    return [*names[:MAX_PEOPLE], f"and {more} more"] if more > 0 else names
