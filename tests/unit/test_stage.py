"""The workspace makes tables and predictions once, a failure included."""

import threading
from pathlib import Path
from typing import Any

import pytest

from ci_mlops.command import Commands
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Subject
from ci_mlops.stage import Side, Workspace


@pytest.fixture
def space(tmp_path: Path, commands: Commands) -> Workspace:
    head = Side(
        name="head",
        root=tmp_path,
        commit="b" * 40,
        code="",
        data=DataSettings(test="test.csv", label="y"),
        model=None,
        subjects=(Subject(name="code", sha256="a" * 64),),
    )
    return Workspace(
        head=head,
        base=None,
        base_missing="first commit",
        judge=head,
        commands=commands,
        folder=tmp_path / ".mlops",
        cache=tmp_path / "cache",
        cores=2,
    )


def test_a_table_is_read_once(space: Workspace, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("x,y\n1,0\n2,1\n", encoding="utf-8")
    table = space.table(space.head, "test")
    assert table is space.table(space.head, "test")
    assert list(table.frame["x"]) == [1, 2]


def test_a_part_that_is_not_configured(space: Workspace) -> None:
    with pytest.raises(CannotLook, match=r"head has no `data.train`"):
        space.table(space.head, "train")


def test_a_missing_model_section(space: Workspace) -> None:
    with pytest.raises(CannotLook, match="head has no `model` section"):
        space.predictions(model=space.head, data=space.head, part="test")


def test_one_makes_and_the_others_wait(space: Workspace) -> None:
    made: list[int] = []
    found: list[Any] = []

    def make() -> object:
        made.append(1)
        return object()

    threads = [
        threading.Thread(target=lambda: found.append(space.once(("x",), make))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert len({id(value) for value in found}) == 1


def test_a_failure_is_made_once_too(space: Workspace) -> None:
    calls: list[int] = []

    def fail() -> object:
        calls.append(1)
        raise CannotLook("gone")

    for _ in range(2):
        with pytest.raises(CannotLook, match="gone"):
            space.once(("y",), fail)
    assert calls == [1]


def test_digest_of_a_subject(space: Workspace) -> None:
    assert space.head.digest("code") == "a" * 64
    assert space.head.digest("model") == ""
    assert space.sides() == (space.head,)
    assert space.artifacts("data").is_dir()
