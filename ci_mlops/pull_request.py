"""Both sides of a pull request, ready to be judged: head as it stands, base as a worktree."""

import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from ci_mlops import __version__, checkout, config
from ci_mlops.checkout import Base, Repository
from ci_mlops.command import Commands
from ci_mlops.config import Config, Loaded
from ci_mlops.errors import CannotLook, ConfigError
from ci_mlops.evidence import Change, Run, Subject, file_sha256
from ci_mlops.github import Workflow
from ci_mlops.model.settings import ModelSettings
from ci_mlops.plan import Plan, plan
from ci_mlops.stage import Side, Stage, Workspace
from ci_mlops.stages import STAGES
from ci_mlops.stages.data import contract_of
from ci_mlops.verdict import Gate

OUTSIDE = Workflow(inside=False)


@dataclass(frozen=True, kw_only=True)
class PullRequest:
    """Everything that the rest of a run needs to know, as values."""

    project: str
    workspace: Workspace
    plan: Plan
    gate: Gate
    blocked: CannotLook | None
    """What keeps every stage from looking at the head, such as a failed `prepare`."""
    gate_changes: tuple[Change, ...]
    subject_changes: tuple[Change, ...]
    notes: tuple[str, ...]
    tree: str
    """The git tree of the head; empty when the working tree differs from it."""

    def subjects(self) -> tuple[Subject, ...]:
        """Digests of both sides, named `head.model`, `base.data.test` and the like."""
        return named_subjects(self.workspace.sides())

    def circumstances(
        self,
        *,
        reused: Sequence[str],
        started: str,
        seconds: float,
        workflow: Workflow = OUTSIDE,
    ) -> Run:
        """Return what a verdict and a report need to know about the run as a whole."""
        workspace = self.workspace
        return Run(
            project=self.project,
            head=workspace.head.commit,
            tree=self.tree,
            base=workspace.base.commit if workspace.base else "",
            base_missing=workspace.base_missing,
            judged_by=workspace.judge.name,
            stages=self.plan.names(),
            left_out=self.plan.left_out,
            reused=tuple(reused),
            records={
                name: file_sha256(path)
                for name in self.plan.names()
                if (path := workspace.folder / "evidence" / f"{name}.json").is_file()
            },
            gate_changes=self.gate_changes,
            subject_changes=self.subject_changes,
            subjects=self.subjects(),
            notes=self.notes,
            workflow=workflow.run_url() if workflow.inside else "",
            event=workflow.event,
            ref=workflow.ref,
            started=started,
            seconds=round(seconds, 3),
            tools=tools(),
        )


def named_subjects(sides: Sequence[Side]) -> tuple[Subject, ...]:
    """Return digests of some sides, named `head.model`, `base.data.test` and the like."""
    return tuple(
        Subject(name=f"{side.name}.{subject.name}", sha256=subject.sha256)
        for side in reversed(sides)
        for subject in side.subjects
    )


def tools() -> dict[str, str]:
    """Return our version and that of the interpreter."""
    return {"ci-mlops": __version__, "python": platform.python_version()}


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The stages and the gate that judge, and what head would change about them."""

    side: str
    stages: Mapping[str, Stage]
    gate: Gate
    changes: tuple[Change, ...]


def open_pull_request(
    loaded: Loaded,
    path: Path,
    *,
    base: str | None,
    only: Sequence[str],
    skip: Sequence[str],
    commands: Commands,
    workflow: Workflow,
    cores: int,
) -> PullRequest:
    """Prepare both sides. `path` is the configuration file of the head, `base` a wanted revision.

    Raises ConfigError for flags and configuration, OutsideError when git refuses.
    """
    root = path.resolve().parent
    repository = Repository.around(root, commands)
    root = root.relative_to(repository.top.resolve())
    found = checkout.find_base(repository, base, workflow)
    base_loaded, notes = _base_config(repository, found, (root / path.name).as_posix(), loaded)
    chosen = rules(base_loaded, loaded)
    planned = plan(chosen.stages, only=only, skip=skip)
    folder = repository.top / root / ".mlops"
    _ignored_by_git(folder)
    head, blocked = _head_side(repository, root, loaded, folder)
    base_side: Side | None = None
    if found.commit:
        base_side, missing, base_notes = _base_side(
            repository,
            root,
            base_loaded or loaded,
            commit=found.commit,
            folder=folder,
            head=head,
        )
        found = Base(commit=found.commit, missing=missing)
        notes += base_notes
    judge = base_side if base_side is not None and chosen.side == "base" else head
    return PullRequest(
        project=loaded.config.project,
        workspace=Workspace(
            head=head,
            base=base_side,
            base_missing=found.missing,
            judge=judge,
            commands=commands,
            folder=folder,
            cache=folder / "cache",
            cores=cores,
            project=loaded.config.project,
            stages=tuple(chosen.stages),
        ),
        plan=planned,
        gate=chosen.gate,
        blocked=blocked,
        gate_changes=chosen.changes,
        subject_changes=tuple(_subject_changes(base_loaded, loaded)),
        notes=tuple(notes),
        tree="" if repository.is_changed() else repository.tree(),
    )


@dataclass(frozen=True, kw_only=True)
class Sides:
    """The working tree and another commit of it, both prepared."""

    head: Side
    base: Side | None
    blocked: CannotLook | None
    """What keeps everybody from looking at the head, such as a failed `prepare`."""
    notes: tuple[str, ...]


def sides(loaded: Loaded, path: Path, *, commit: str, commands: Commands) -> Sides:
    """Prepare the working tree and, where it is another and is here, a commit beside it."""
    root = path.resolve().parent
    repository = Repository.around(root, commands)
    root = root.relative_to(repository.top.resolve())
    folder = repository.top / root / ".mlops"
    _ignored_by_git(folder)
    head, blocked = _head_side(repository, root, loaded, folder)
    if not commit or commit == head.commit:
        return Sides(head=head, base=None, blocked=blocked, notes=())
    if not repository.commit(commit):
        note = f"Commit {commit[:7]} is not here, so the working tree stands for it: fetch it."
        return Sides(head=head, base=None, blocked=blocked, notes=(note,))
    try:
        side, notes = beside(
            loaded, path, commit=commit, folder=folder, head=head, repository=repository
        )
    except CannotLook as fault:
        note = f"Commit {commit[:7]} cannot stand as the reference: {fault}"
        return Sides(head=head, base=None, blocked=blocked, notes=(note,))
    return Sides(head=head, base=side, blocked=blocked, notes=notes)


def beside(
    loaded: Loaded, path: Path, *, commit: str, folder: Path, head: Side, repository: Repository
) -> tuple[Side, tuple[str, ...]]:
    """Prepare another commit in a worktree below `folder`, and say what is remarkable about it.

    Where it stands there already, what depends on what has changed since is prepared again.
    Raises CannotLook where it cannot be prepared.
    """
    root = path.resolve().parent.relative_to(repository.top.resolve())
    name = (root / path.name).as_posix()
    own, notes = _base_config(repository, Base(commit=commit), name, loaded)
    side, missing, more = _base_side(
        repository, root, own or loaded, commit=commit, folder=folder, head=head
    )
    if side is None:
        raise CannotLook(missing, place=commit[:7])
    return side, (*notes, *more)


def rules(base: Loaded | None, head: Loaded) -> Rules:
    """Choose the rules: the base's, and of the head's only stages that the base does not have.

    A pull request can so add a stage and see it run, but neither loosen nor remove one.
    """
    head_stages = head.config.stages.chosen()
    if base is None:
        return Rules(side="head", stages=head_stages, gate=head.config.gate, changes=())
    stages = {**head_stages, **base.config.stages.chosen()}
    required = base.config.gate.require
    gate = base.config.gate.model_copy(update={"require": required or tuple(stages)})
    changes = [
        change
        for section in ("stages", "gate")
        for change in config.differences(
            base.values.get(section), head.values.get(section), head.places(), section
        )
    ]
    ordered = {stage.name: stages[stage.name] for stage in STAGES if stage.name in stages}
    return Rules(side="base", stages=ordered, gate=gate, changes=tuple(changes))


def gate_of(run: Run, path: Path, *, named: bool, commands: Commands) -> Gate:
    """Return the gate that judges a run's evidence: the base's, or the file's when it is named.

    Raises ConfigError when it cannot be read.
    """
    if named or run.judged_by == "head":
        return config.load(path).config.gate
    top = path.resolve().parent
    repository = Repository.around(top, commands)
    name = (top.relative_to(repository.top.resolve()) / path.name).as_posix()
    text = repository.show(run.base, name)
    if text is None:
        raise ConfigError(
            f"the base commit {run.base[:7]} has no {name} here",
            remedy="Fetch it, or name the gate's file with --config",
        )
    return config.parse(text, f"{name} at base").config.gate


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `.mlops` for one run at a time. Raises ConfigError when another run holds it."""
    _ignored_by_git(folder)
    with (folder / "lock").open("w") as file:
        try:
            flock(file, LOCK_EX | LOCK_NB)
        except BlockingIOError as fault:
            raise ConfigError(
                "another run is at work here", place=str(folder), remedy="Wait until it has ended"
            ) from fault
        yield


def _base_config(
    repository: Repository, base: Base, name: str, head: Loaded
) -> tuple[Loaded | None, list[str]]:
    if not base.commit:
        return None, []
    text = repository.show(base.commit, name)
    if text is None:
        return None, [f"The base has no {name} yet, so the pull request's own rules judge."]
    try:
        loaded = config.parse(text, f"{head.file} at base")
    except ConfigError as fault:
        return None, [f"The base's rules cannot be read, so the pull request's own judge: {fault}"]
    return loaded, []


def _head_side(
    repository: Repository, root: Path, loaded: Loaded, folder: Path
) -> tuple[Side, CannotLook | None]:
    settings = loaded.config
    top = repository.top / root
    blocked: CannotLook | None = None
    try:
        state = _prepared(
            repository,
            top,
            settings,
            folder=folder,
            side="head",
            interpreter=interpreter_of(settings.model, top),
        )
    except CannotLook as fault:
        blocked = fault
        state = checkout.subjects(repository, top, settings.data, settings.model)
    commit = repository.commit("HEAD") or "0" * 40
    side = Side(
        name="head",
        root=top,
        commit=f"{commit}+changes" if repository.is_changed() else commit,
        code=_code(state),
        data=settings.data,
        model=settings.model,
        subjects=state.found,
        places=loaded.places(),
        contract=contract_of(settings.stages.chosen()),
    )
    return side, blocked


def _base_side(
    repository: Repository, root: Path, loaded: Loaded, *, commit: str, folder: Path, head: Side
) -> tuple[Side | None, str, list[str]]:
    """Return the base, or why there is none, and what the reader must know about it."""
    tree = Repository(
        top=repository.worktree(commit, folder / "base"), commands=repository.commands
    )
    top = tree.top / root
    if not top.is_dir():
        return None, f"the base commit has no folder {root}", []
    settings = loaded.config
    interpreter, notes = interpreter_of(settings.model, top), []
    if interpreter is None and settings.model and settings.model.python:
        borrowed = interpreter_of(settings.model, head.root)
        if borrowed is not None:
            interpreter = borrowed
            notes.append(
                f"The base has no {settings.model.python} of its own; the head's was used for both."
            )
    try:
        state = _prepared(tree, top, settings, folder=folder, side="base", interpreter=interpreter)
    except CannotLook as fault:
        return None, f"the base could not be prepared: {fault}", notes
    model = settings.model
    own = interpreter_of(settings.model, top)
    if model and interpreter is not None and own is None:
        model = model.model_copy(update={"python": str(interpreter)})
    side = Side(
        name="base",
        root=top,
        commit=commit,
        code=_code(state),
        data=settings.data,
        model=model,
        subjects=state.found,
        places=loaded.places(),
        contract=contract_of(settings.stages.chosen()),
    )
    return side, "", notes


def _prepared(
    repository: Repository,
    top: Path,
    settings: Config,
    *,
    folder: Path,
    side: str,
    interpreter: Path | None,
) -> checkout.Subjects:
    commands = with_python(repository.commands, interpreter)
    key = repository.top.name if side == "base" else "head"
    return checkout.prepare(
        settings.prepare,
        repository=Repository(top=repository.top, commands=commands),
        root=top,
        data=settings.data,
        model=settings.model,
        log=folder / f"prepare-{side}.log",
        stamp=folder / "cache" / "prepared" / f"{key}.json",
    )


def with_python(commands: Commands, interpreter: Path | None) -> Commands:
    """Return a door where `python` is the project's interpreter."""
    if interpreter is None:
        return commands
    path = f"{interpreter.parent}:{commands.environ.get('PATH', '')}"
    return commands.adding({"PATH": path})


def interpreter_of(model: ModelSettings | None, root: Path) -> Path | None:
    """Return the interpreter of the project in its folder `root`, if it is there."""
    if model is None or model.python is None:
        return None
    found = shutil.which(model.python) if "/" not in model.python else str(root / model.python)
    return Path(found) if found and Path(found).exists() else None


def _code(state: checkout.Subjects) -> str:
    return next(subject.sha256 for subject in state.found if subject.name == "code")


def _subject_changes(base: Loaded | None, head: Loaded) -> Iterator[Change]:
    if base is None:
        return
    for section in ("data", "model", "prepare"):
        yield from config.differences(
            base.values.get(section), head.values.get(section), head.places(), section
        )


def _ignored_by_git(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
