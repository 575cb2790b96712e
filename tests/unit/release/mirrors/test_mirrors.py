"""All mirrors of an environment together: none stops another, and none goes back in time."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ci_mlops.command import Commands
from ci_mlops.errors import OutsideError
from ci_mlops.github import Workflow
from ci_mlops.release.ledger import Ledger
from ci_mlops.release.mirrors import lines, mirrors, sync
from ci_mlops.release.mirrors.mirror import History, Said
from ci_mlops.release.settings import (
    CommandTargetSettings,
    DockerTargetSettings,
    Mirrors,
    MlflowMirror,
)
from tests.conftest import Repo
from tests.unit.release.mirrors.told import PROMOTED, PROMOTED_TWO, THREE, ended

EVERY = Mirrors(oci_tag="live", mlflow=MlflowMirror(model="loans"))


@dataclass
class Remembers:
    """A mirror that says the promotion that is live."""

    name: str = "remembers"
    says: str = ""
    meanwhile: list[Callable[[], None]] = field(default_factory=list)
    """What others do while it is written, once each."""

    def sync(self, history: History, *, dry_run: bool) -> Iterator[Said]:
        live = history.live.intent.id if history.live else ""
        if self.meanwhile:
            self.meanwhile.pop(0)()
        if self.says != live:
            if not dry_run:
                self.says = live
            yield Said(text=live)


class Refuses:
    """A mirror that cannot be written."""

    name = "refuses"

    def sync(self, history: History, *, dry_run: bool) -> Iterator[Said]:
        yield Said(text="half of it")
        raise OutsideError("no", remedy="Ask again")


@pytest.fixture
def ledger(repo: Repo, commands: Commands, tmp_path: Path) -> Ledger:
    made = Ledger(remote=str(repo.path), folder=tmp_path, commands=commands)
    repo.commit({"a": "b"})
    for entry in PROMOTED:
        made.append(entry)
    return made


def test_what_refuses_stops_no_other(ledger: Ledger) -> None:
    remembers = Remembers()
    found = sync(ledger, "production", [Refuses(), remembers])
    assert remembers.says == "run-1"
    assert [(one.mirror, str(one.fault)) for one in found] == [
        ("refuses", "no. Ask again"),
        ("remembers", "None"),
    ]
    assert list(lines(found, dry_run=False)) == [
        "✎ production: refuses: half of it",
        "✗ production: refuses: no",
        "✎ production: remembers: run-1",
    ]
    assert found[0].plain() == {
        "environment": "production",
        "mirror": "refuses",
        "changed": ["half of it"],
        "left_out": [],
        "fault": "no. Ask again",
    }
    again = sync(ledger, "production", [remembers])
    assert list(lines(again, dry_run=False)) == [
        "✓ production: remembers: says what the ledger says"
    ]


def test_a_dry_run_changes_nothing(ledger: Ledger) -> None:
    remembers = Remembers()
    found = sync(ledger, "production", [remembers], dry_run=True)
    assert remembers.says == ""
    assert list(lines(found, dry_run=True)) == ["… production: remembers: run-1"]


def test_who_was_slow_does_not_leave_what_is_older(ledger: Ledger) -> None:
    """While run-1 is written somebody promotes run-2, and writes it first."""
    remembers = Remembers()

    def overtake() -> None:
        for entry in PROMOTED_TWO:
            ledger.append(entry)
        remembers.says = "run-2"

    remembers.meanwhile = [overtake]
    found = sync(ledger, "production", [remembers])
    assert remembers.says == "run-2"
    assert [one.text for one in found[0].said] == ["run-1", "run-2"]


def test_a_ledger_that_never_rests_is_left_after_some_rounds(ledger: Ledger) -> None:
    def promote(number: int) -> Callable[[], None]:
        def act() -> None:
            for entry in ended(f"later-{number}", THREE, "blocked"):
                ledger.append(entry)

        return act

    remembers = Remembers(meanwhile=[promote(number) for number in range(9)])
    sync(ledger, "production", [remembers])
    assert len(remembers.meanwhile) == 4


def test_of_nothing_nothing_is_said(ledger: Ledger) -> None:
    assert sync(ledger, "production", []) == []
    assert list(lines([], dry_run=False)) == ["No environment has a mirror."]


def names(settings: DockerTargetSettings | CommandTargetSettings, workflow: Workflow) -> list[str]:
    made = mirrors(
        "production", settings, project="loans", workflow=workflow, environ={}, max_wait_s=1
    )
    return [one.name for one in made]


def test_each_mirror_that_is_named_is_there() -> None:
    outside = Workflow(inside=False)
    of_images = DockerTargetSettings(
        target="docker", port=1, repository="r.example.org/loans", mirrors=EVERY
    )
    assert names(of_images, outside) == ["github-deployments", "oci-tag", "mlflow-alias"]
    plain = CommandTargetSettings(target="command", command="x")
    assert names(plain, outside) == ["github-deployments"]
    silent = Mirrors(github_deployments=False)
    assert names(plain.model_copy(update={"mirrors": silent}), outside) == []


def test_without_a_token_github_is_left_out_with_the_reason(ledger: Ledger) -> None:
    plain = CommandTargetSettings(target="command", command="x")
    made = mirrors(
        "production",
        plain,
        project="loans",
        workflow=Workflow(inside=True, repository="acme/loans"),
        environ={},
        max_wait_s=1,
    )
    found = sync(ledger, "production", made)
    assert list(lines(found, dry_run=False)) == [
        "- production: github-deployments: GITHUB_REPOSITORY and GITHUB_TOKEN are not set"
    ]


def test_the_alias_is_the_environments_name_unless_it_has_another() -> None:
    for alias, expected in ((None, "production"), ("champion", "champion")):
        chosen = Mirrors(github_deployments=False, mlflow=MlflowMirror(model="loans", alias=alias))
        (made,) = mirrors(
            "production",
            CommandTargetSettings(target="command", command="x", mirrors=chosen),
            project="loans",
            workflow=Workflow(inside=False),
            environ={},
            max_wait_s=1,
        )
        assert getattr(made, "alias") == expected  # noqa: B009 - one kind of several
