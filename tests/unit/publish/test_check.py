"""The check on the commit: one for each run, remarks in batches, within GitHub's limits."""

from typing import Any

import pytest

from ci_mlops.errors import EvidenceError, OutsideError
from ci_mlops.evidence import Place
from ci_mlops.publish import check
from ci_mlops.publish.check import Commit
from ci_mlops.verdict import Gate, decide
from tests.fake_github import FakeGitHub, Fault, World
from tests.unit.publish import situations
from tests.unit.publish.situations import HEAD, record, repository, run

COMMIT = Commit(sha=HEAD, run_id=100, attempt=1, url="https://github.example/runs/100")


def wanted(*checks: Any, **changes: Any) -> Any:
    records = {"data": record(*checks)}
    return check.request(COMMIT, run(**changes), records, decide(Gate(), run(), records))


def test_remarks_come_in_batches_of_fifty(github: FakeGitHub, world: World) -> None:
    places = [situations.check(place=Place(file="a.py", line=n)) for n in range(1, 121)]
    check.put(repository(github), wanted(*places))
    (made,) = world.check_runs
    assert [one["start_line"] for one in made["annotations"]] == list(range(1, 121))
    sent = [one for one in world.requests if one[0] in {"POST", "PATCH"}]
    assert len(sent) == 3


def test_remarks_say_how_grave_and_stay_in_the_repository() -> None:
    made = wanted(
        situations.check("error"),
        situations.check("warned", place=Place(file="a.py")),
        situations.check("failed", place=Place(file="/etc/passwd", line=1)),
        situations.check("failed", place=Place(file="../x", line=1)),
        situations.check("failed", place=None),
        situations.check("passed"),
    )
    assert [(one.path, one.start_line, one.annotation_level) for one in made.annotations] == [
        ("mlops.yml", 3, "failure"),
        ("a.py", 1, "warning"),
    ]
    assert made.annotations[0].title == "data: four-fifths · race"
    assert made.annotations[0].message.endswith("Look at the threshold")


def test_a_long_report_keeps_the_limits(github: FakeGitHub, world: World) -> None:
    many = [
        situations.check(name="x" * 190 + str(n), slice="y" * 2000, message="z" * 2000)
        for n in range(400)
    ]
    check.put(repository(github), wanted(*many))
    (made,) = world.check_runs
    assert len(made["output"]["summary"]) <= 65_535
    assert len(made["output"]["title"]) <= 255


@pytest.mark.parametrize("kind", ["drop-after", "502-after", "502", "drop"])
def test_a_creation_whose_answer_was_lost_makes_no_double(
    github: FakeGitHub, world: World, kind: Any
) -> None:
    world.faults = [Fault(kind=kind, method="POST") for _ in range(3)]
    check.put(repository(github), wanted(situations.check()))
    assert len(world.check_runs) == 1


def test_a_creation_that_is_always_lost_ends(github: FakeGitHub, world: World) -> None:
    world.faults = [Fault(kind="drop", method="POST") for _ in range(19)]
    with pytest.raises(OutsideError, match="the check could not be created in 10 tries"):
        check.put(repository(github), wanted(situations.check()))


def test_another_attempt_makes_a_check_of_its_own(github: FakeGitHub, world: World) -> None:
    there = repository(github)
    first = wanted(situations.check())
    check.put(there, first)
    check.put(there, first.model_copy(update={"external_id": "100.2", "conclusion": "success"}))
    assert [one["conclusion"] for one in world.check_runs] == ["failure", "success"]


@pytest.mark.parametrize(
    ("records", "conclusion"),
    [
        ({"data": record(situations.check("passed"))}, "success"),
        ({"data": record(situations.check("inconclusive"))}, "neutral"),
        ({"data": record(situations.check("failed"))}, "failure"),
        ({"data": record(situations.check("skipped"))}, "failure"),
        ({"data": EvidenceError("is torn")}, "failure"),
        ({}, "failure"),
    ],
)
def test_conclusions(records: Any, conclusion: str) -> None:
    made = check.request(COMMIT, run(), records, decide(Gate(), run(), records))
    assert made.conclusion == conclusion
