"""Train anew on what production has shown, and propose the outcome as one pull request.

The project's own command does it, in a fresh checkout of the default branch, so that nobody's tree
changes; the gate judges what it proposes like any other pull request.
"""

import functools
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci_mlops import proposal, pull_request
from ci_mlops.checkout import Repository, run_lines
from ci_mlops.config import Loaded
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Subject
from ci_mlops.github import Workflow
from ci_mlops.github.repository import Repository as GitHub
from ci_mlops.monitors.production import Watched
from ci_mlops.monitors.settings import RetrainSettings
from ci_mlops.proposal import Remote
from ci_mlops.release.branch import remote_of
from ci_mlops.report.escape import code
from ci_mlops.report.escape import markdown as escaped
from ci_mlops.stage import Side

if TYPE_CHECKING:
    import pandas as pd

BRANCH = "ci-mlops/retrain-{}"
DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class Window:
    """Labelled predictions, as a file that the project's command reads."""

    path: Path
    since: datetime
    until: datetime
    rows: int


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What the command changed: the files, and what a pull request says of them."""

    top: Path
    """The checkout."""
    title: str
    body: str


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """What came of it."""

    branch: str
    url: str
    """Of the pull request; empty without one."""
    said: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return {"branch": self.branch, "url": self.url, "said": list(self.said)}


def propose(
    loaded: Loaded,
    path: Path,
    settings: RetrainSettings,
    *,
    watched: Watched,
    why: Sequence[str],
    workflow: Workflow,
    github: GitHub | None,
) -> Proposed:
    """Retrain and propose the outcome, unless that was done within `every_hours`.

    `path` is the configuration file of the working tree, `why` what called for it, line by line.
    Raises CannotLook where nothing can be trained, OutsideError where git or GitHub refuses.
    """
    repository = Repository.around(path.resolve().parent, watched.commands)
    address, door = remote_of(repository, None, workflow)
    remote = Remote(address=address, folder=repository.top, commands=door)
    branch = BRANCH.format(watched.environment)
    onto, commit = remote.default()
    tip = remote.tip(branch)
    remote.require_ours(branch, tip)
    if tip and (age := _age_hours(remote, tip, watched.now)) < settings.every_hours:
        told = f"{branch} is {age:.1f} hours old; another comes after {settings.every_hours:g}"
        title, body = remote.about(tip, "%s"), remote.about(tip, "%b")
        url, more = _kept(github, branch, onto, title, body, anew=False)
        return Proposed(branch=branch, url=url, said=(told, *more))
    given = window(watched, settings)
    made = trained(loaded, path, given, settings, watched=watched, commit=commit, why=why)
    with made as found:
        if found is None:
            return Proposed(branch="", url="", said=("the command has changed no file",))
        checkout = Remote(address=address, folder=found.top, commands=door)
        checkout.git("add", "--all")
        message = f"{found.title}\n\n{found.body}"
        checkout.git("commit", "--quiet", "--no-verify", "--no-gpg-sign", f"--message={message}")
        checkout.push("HEAD", branch, tip)
    url, more = _kept(github, branch, onto, found.title, found.body, anew=True)
    said = f"pushed {branch}, trained on {given.rows} labelled predictions"
    return Proposed(branch=branch, url=url, said=(said, *more))


def _age_hours(remote: Remote, tip: str, now: datetime) -> float:
    made = datetime.fromtimestamp(int(remote.about(tip, "%ct")), UTC)
    return (now - made).total_seconds() / 3600


def _kept(
    github: GitHub | None, branch: str, onto: str, title: str, body: str, *, anew: bool
) -> tuple[str, tuple[str, ...]]:
    """Keep the pull request; one that a person has closed stays so until it is trained anew."""
    if github is None:
        return "", ("GITHUB_TOKEN is not set: open a pull request of it yourself",)
    if not anew and (former := github.pull_requests(_owner(github), branch, state="all")):
        return former[0].html_url, (f"{former[0].html_url} is left as it is",)
    kept = proposal.keep(github, branch=branch, onto=onto, title=title, body=body)
    return kept.request.html_url, (f"{kept.done} {kept.request.html_url}",)


def _owner(github: GitHub) -> str:
    return github.name.partition("/")[0]


def window(watched: Watched, settings: RetrainSettings) -> Window:
    """Write the labelled predictions of the window. Raises CannotLook where they are too few."""
    from ci_mlops.monitors.reading import as_reference

    span = timedelta(days=settings.window_days)
    log, labels = watched.predictions_of(span), watched.arrived_labels()
    label = watched.head.data.label
    if labels is None:
        raise CannotLook("no labels are named", place="monitors.labels", remedy="Add their `path`")
    reference = watched.table(watched.reference, "test").frame
    known = [name for name in log.inputs.columns if name in reference.columns and name != label]
    more = [name for name in labels.columns if name not in known]
    judged = [name for name in more if name in reference.columns and name != label]
    labels = labels[more].assign(**as_reference(labels[judged], reference))
    frame = as_reference(log.inputs[known], reference).join(labels, how="inner")
    if len(frame) < settings.min_rows:
        raise CannotLook(
            f"{len(frame)} labelled predictions in {settings.window_days:g} days are fewer than "
            f"the {settings.min_rows} that `min_rows` asks for",
            place="monitors.retrain",
            remedy="Wait for labels, widen `window_days`, or lower `min_rows`",
        )
    frame[label] = _as_judged(frame[label], reference[label])
    asked = log.answers.loc[frame.index]
    frame = frame.assign(id=asked["id"], time=asked["time"]).sort_values("time", kind="stable")
    path = watched.folder / "window.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path, index=False)
    return Window(path=path, since=watched.now - span, until=watched.now, rows=len(frame))


@contextmanager
def trained(
    loaded: Loaded,
    path: Path,
    given: Window,
    settings: RetrainSettings,
    *,
    watched: Watched,
    commit: str,
    why: Sequence[str],
) -> Iterator[Trained | None]:
    """Run the command in a checkout of `commit`, and yield what it changed; None for nothing.

    `path` is the configuration file of the working tree, `why` what called for it, line by line.
    The checkout goes when the block ends. Raises CannotLook where `prepare` or the command fails.
    """
    repository = Repository.around(path.resolve().parent, watched.commands)
    folder = watched.folder / "retrain"
    _remove(repository, folder)
    try:
        prepared = functools.partial(
            pull_request.beside,
            loaded,
            path,
            commit=commit,
            folder=folder,
            head=watched.head,
            repository=repository,
        )
        before, _ = prepared()
        python = pull_request.interpreter_of(before.model, before.root)
        door = pull_request.with_python(watched.commands, python)
        run_lines(
            settings.command,
            door.adding(
                {
                    "CI_MLOPS_WINDOW": str(given.path.resolve()),
                    "CI_MLOPS_WINDOW_FROM": given.since.isoformat(),
                    "CI_MLOPS_WINDOW_UNTIL": given.until.isoformat(),
                }
            ),
            root=before.root,
            log=watched.folder / "retrain.log",
            place="monitors.retrain.command",
            timeout_s=60 * settings.timeout_minutes,
        )
        top = Repository.around(before.root, watched.commands)
        if not top.changed_files():
            yield None
            return
        after, _ = prepared()
        yield Trained(
            top=top.top,
            title=f"Retrain {watched.project} on what {watched.environment} has shown",
            body=_body(watched, given, settings, (before, after), why),
        )
    finally:
        _remove(repository, folder)


def _remove(repository: Repository, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    repository.git("worktree", "prune")


def _as_judged(labels: "pd.Series[Any]", like: "pd.Series[Any]") -> "pd.Series[Any]":
    """Return labels with the type that the judged data has, where every one of them has it."""
    try:
        return labels.astype(like.dtype)
    except (TypeError, ValueError):
        return labels


def _body(
    watched: Watched,
    given: Window,
    settings: RetrainSettings,
    sides: tuple[Side, Side],
    why: Sequence[str],
) -> str:
    """Return what the pull request says, in our words and in escaped ones."""
    days = f"{given.since:%Y-%m-%d %H:%M} to {given.until:%Y-%m-%d %H:%M} UTC"
    commands = "\n".join(settings.command)
    live = f", where {code(watched.live.digest[:19])} is live" if watched.live else ""
    first = (
        f"{code(watched.project)} was trained anew on {given.rows} labelled predictions of "
        f"{code(watched.environment)}, {days}{live}."
    )
    lines = [
        first,
        "",
        *[f"- {escaped(one)}" for one in why],
        *([""] if why else []),
        f"Trained by {code(commands)}.",
        "",
        "| | before | after |",
        "| --- | --- | --- |",
        *_digests(*sides),
        "",
        "It is judged like any other pull request; nothing is released before it is merged.",
    ]
    return "\n".join(lines)


def _digests(before: Side, after: Side) -> Iterator[str]:
    """Yield a row for each subject of either side."""
    old, new = _named(before.subjects), _named(after.subjects)
    for name in [*old, *[one for one in new if one not in old]]:
        yield f"| {code(name)} | {_short(old.get(name))} | {_short(new.get(name))} |"


def _named(subjects: Sequence[Subject]) -> dict[str, str]:
    return {one.name: one.sha256 for one in subjects}


def _short(digest: str | None) -> str:
    return code(digest[:DIGITS]) if digest else ""
