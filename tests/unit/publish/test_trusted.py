"""A trusted job: what an untrusted run says of itself is believed only after GitHub says it too."""

import json
from pathlib import Path
from typing import Any

import pytest

from ci_mlops.__main__ import main
from ci_mlops.evidence import Record, Run
from ci_mlops.publish import archive
from tests.fake_github import Fault, Pull, WorkflowRun, World, serving
from tests.unit.publish.situations import (
    BASE,
    HEAD,
    MERGE,
    OTHER,
    artifact,
    check,
    fork,
    packed,
    record,
    run,
    yml,
    zipped,
)

GREEN = record(check("passed"))
RED = record(check("failed"))
STRANGE = "1" * 40
"""A merge of another commit than the tested one."""


def publish(world: World, folder: Path, **environ: str) -> int:
    """Run the trusted job: no checkout, only the API; the description of the API holds."""
    with serving(world) as github:
        values = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_NAME": "workflow_run",
            "GITHUB_REPOSITORY": "acme/loans",
            "GITHUB_RUN_ID": "555",
            "GITHUB_API_URL": github.url,
            "GITHUB_TOKEN": world.token,
            "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
            "GITHUB_OUTPUT": str(folder / "output"),
            **environ,
        }
        config, out = folder / "none.yml", folder / "out"
        flags = ["--run", "100", "--config", str(config), "--folder", str(out)]
        code = main(["publish", *flags], values)
    assert world.violations == []
    return code


def only_check(world: World) -> dict[str, Any]:
    (made,) = world.check_runs
    assert made["head_sha"] == HEAD
    return made


@pytest.mark.parametrize(
    ("found", "code", "conclusion"),
    [
        (GREEN, 0, "success"),
        (record(check("warned")), 0, "neutral"),
        (RED, 1, "failure"),
    ],
)
def test_fork(found: Record, code: int, conclusion: str, tmp_path: Path) -> None:
    world = fork(artifact(packed(run(), found)))
    assert publish(world, tmp_path) == code
    made = only_check(world)
    assert (made["conclusion"], made["name"]) == (conclusion, "ci-mlops (loans)")
    assert made["details_url"].endswith("/actions/runs/100")
    (comment,) = world.comments
    assert comment["issue"] == 7
    assert comment["body"].startswith("<!-- ci-mlops:loans -->")
    assert "verdict<<end-" in (tmp_path / "output").read_text(encoding="utf-8")


@pytest.mark.parametrize("head", [HEAD, MERGE, f"{MERGE}+changes"])
def test_the_tested_commit_is_the_head_or_githubs_merge_of_it(head: str, tmp_path: Path) -> None:
    assert publish(fork(artifact(packed(run(head=head), GREEN))), tmp_path) == 0


@pytest.mark.parametrize(
    ("circumstances", "words"),
    [
        (run(head=OTHER), "is of commit 'ddddddd', but the run tested bbbbbbb"),
        (run(head=STRANGE), "is of commit '1111111', but the run tested bbbbbbb"),
        (run(head="f" * 40), "is of commit 'fffffff'"),
        (run(head="../../user"), "is of commit '../../u'"),
        (run(head=MERGE, base=OTHER), "names base 'ddddddd', but the merge is onto ccccccc"),
        (run(project="other"), "project other, which the base does not have"),
        (run(judged_by="head"), "was judged by the pull request's own rules"),
    ],
)
def test_evidence_of_something_else_turns_the_check_red(
    circumstances: Run, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = fork(artifact(packed(circumstances, GREEN)))
    world.commits[STRANGE] = [BASE, OTHER]
    assert publish(world, tmp_path) == 1
    made = only_check(world)
    assert (made["conclusion"], made["name"]) == ("failure", "ci-mlops (loans)")
    assert words in capsys.readouterr().out
    assert "could not judge" in world.own_comments()[0]


@pytest.mark.parametrize(
    "data",
    [
        zipped({"../run.json": "{}"}),
        zipped({"other.json": "{}"}),
        zipped({"run.json": b"\0" * 20_000_000}),
        zipped({"run.json": "[" * 100_000}),
        zipped({"run.json": '{"seconds": NaN}'}),
        zipped({"run.json": '{"seconds": 1e999}'}),
        zipped({"run.json": '{"a": 1, "a": 2}'}),
        zipped({"run.json": '{"seconds": ' + "9" * 5000 + "}"}),
        zipped({"run.json": run().model_dump_json().replace('"loans"', '"loans --> @org/team"')}),
        b"not a zip",
    ],
)
def test_poisoned_evidence_turns_the_check_red(data: bytes, tmp_path: Path) -> None:
    world = fork(artifact(data))
    assert publish(world, tmp_path) == 1
    made = only_check(world)
    assert (made["conclusion"], made["name"]) == ("failure", "ci-mlops (loans)")
    assert "@org" not in world.own_comments()[0]


@pytest.mark.parametrize("bad", ['{"outcome": NaN}', "[" * 100_000, '{"a":1,"a":2}', ""])
def test_a_poisoned_record_turns_the_check_red(bad: str, tmp_path: Path) -> None:
    data = zipped({"run.json": run().model_dump_json(), "data.json": bad})
    world = fork(artifact(data))
    assert publish(world, tmp_path) == 1
    assert only_check(world)["conclusion"] == "failure"


def test_an_outcome_that_the_checks_do_not_bear_out(tmp_path: Path) -> None:
    text = RED.model_dump_json().replace('"outcome":"failed"', '"outcome":"passed"', 1)
    data = zipped({"run.json": run().model_dump_json(), "data.json": text})
    world = fork(artifact(data))
    assert publish(world, tmp_path) == 1
    assert only_check(world)["conclusion"] == "failure"


def test_a_run_that_leaves_a_stage_of_the_base_out_does_not_pass(tmp_path: Path) -> None:
    world = fork(artifact(packed(run(stages=["data"]), GREEN)), base=yml("data", "model"))
    world.files[HEAD]["mlops.yml"] = yml("data")
    assert publish(world, tmp_path) == 1
    assert "stage model left no evidence" in world.own_comments()[0]


def test_a_gate_that_the_pull_request_loosens_is_the_bases(tmp_path: Path) -> None:
    strict = yml(more="gate: {on_inconclusive: fail}")
    world = fork(artifact(packed(run(), record(check("inconclusive")))), base=strict)
    assert publish(world, tmp_path) == 1


def test_the_pull_requests_number_comes_from_github(tmp_path: Path) -> None:
    data = packed(run(notes=("pull request number 1",)), GREEN)
    world = fork(artifact(data))
    world.pulls.insert(0, Pull(number=1, head_sha=OTHER, base_sha=BASE, head_branch="feature"))
    assert publish(world, tmp_path) == 0
    assert [one["issue"] for one in world.comments] == [7]


@pytest.mark.parametrize(
    ("moved", "words"),
    [
        ({"head_sha": OTHER}, "no open pull request from mallory:feature is at bbbbbbb"),
        ({"state": "closed"}, "it moved on or closed"),
    ],
)
def test_a_head_that_moved_on_gets_nothing(
    moved: dict[str, str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = fork(artifact(packed(run(), GREEN)))
    for name, value in moved.items():
        setattr(world.pulls[0], name, value)
    assert publish(world, tmp_path) == 0
    assert world.comments == world.check_runs == []
    assert words in capsys.readouterr().out


def test_a_run_of_a_push_gets_nothing(tmp_path: Path) -> None:
    world = fork(artifact(packed(run(), GREEN)))
    world.runs[0].event = "push"
    assert publish(world, tmp_path) == 0
    assert world.comments == world.check_runs == []


def test_a_run_without_evidence_does_not_pass(tmp_path: Path) -> None:
    world = fork()
    assert publish(world, tmp_path) == 1
    made = only_check(world)
    assert (made["conclusion"], made["name"]) == ("failure", "ci-mlops (loans)")
    assert "left no artifact named ci-mlops-evidence" in world.own_comments()[0]


def test_a_change_of_no_project_leaves_no_evidence_and_needs_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = fork()
    world.files[BASE] = {"loans/mlops.yml": yml()}
    world.files[MERGE] = {"loans/mlops.yml": yml(), "README.md": "More words"}
    assert publish(world, tmp_path) == 0
    assert world.comments == world.check_runs == []
    assert "the change concerns no project" in capsys.readouterr().out


def test_a_project_that_a_run_left_out_is_missed(tmp_path: Path) -> None:
    world = fork(artifact(packed(run(), GREEN)))
    more = {"loans/mlops.yml": yml(), "fraud/mlops.yml": yml(project="fraud")}
    world.files[BASE] = more
    world.files[MERGE] = {**more, "shared/features.py": "x = 1"}
    assert publish(world, tmp_path) == 1
    assert {one["name"]: one["conclusion"] for one in world.check_runs} == {
        "ci-mlops (loans)": "success",
        "ci-mlops (fraud)": "failure",
    }


def test_evidence_that_is_too_large_is_not_even_downloaded(tmp_path: Path) -> None:
    world = fork(artifact(b"x" * (archive.MAX_ZIP_BYTES + 1)))
    assert publish(world, tmp_path) == 1
    assert not [path for _, path, _ in world.requests if path.endswith("/zip")]
    assert "is larger than" in world.own_comments()[0]


def test_a_secret_in_the_evidence_is_not_published(tmp_path: Path) -> None:
    world = fork()
    found = record(check(message=f"saw {world.token}"))
    world.artifacts.append(artifact(packed(run(notes=(world.token,)), found)))
    assert publish(world, tmp_path) == 1
    shown = "".join([*world.own_comments(), json.dumps(world.check_runs, ensure_ascii=False)])
    assert world.token.partition("_")[2] not in shown.replace("\u200b", "")


def test_evidence_that_expired_does_not_pass(tmp_path: Path) -> None:
    world = fork(artifact(packed(run(), GREEN)))
    world.artifacts[0].expired = True
    assert publish(world, tmp_path) == 1


def test_the_newest_attempt_counts(tmp_path: Path) -> None:
    world = fork(artifact(packed(run(), RED), number=2), artifact(packed(run(), GREEN), number=3))
    assert publish(world, tmp_path) == 0


def test_a_second_pull_request_onto_a_weaker_base_turns_nothing_green(tmp_path: Path) -> None:
    data = packed(run(), record(check("inconclusive")))
    world = fork(artifact(data), base=yml(more="gate: {on_inconclusive: fail}"))
    world.files[OTHER] = {"mlops.yml": yml()}
    weak = Pull(
        number=8,
        head_sha=HEAD,
        base_sha=OTHER,
        base_branch="old",
        head_repository="mallory/loans",
    )
    world.pulls.append(weak)
    assert publish(world, tmp_path) == 1
    assert only_check(world)["conclusion"] == "failure"
    assert {one["issue"]: "❌" in one["body"] for one in world.comments} == {7: True, 8: False}


def test_the_pull_request_that_brings_ci_mlops_in_is_judged_by_its_own_gate(tmp_path: Path) -> None:
    world = fork(artifact(packed(run(judged_by="head", base_missing="none yet"), GREEN)))
    world.files[BASE] = {"README.md": ""}
    assert publish(world, tmp_path) == 0
    assert only_check(world)["conclusion"] == "neutral"
    assert "its own gate judged it" in world.own_comments()[0]


def test_a_project_that_no_file_names(tmp_path: Path) -> None:
    world = fork(artifact(packed(run(judged_by="head"), GREEN)))
    world.files = {BASE: {"README.md": ""}, HEAD: {"mlops.yml": "version: 0"}}
    assert publish(world, tmp_path) == 1
    assert only_check(world)["conclusion"] == "failure"


# --- several projects ---------------------------------------------------------------------------


def several(*artifacts: Any) -> World:
    world = fork(*artifacts)
    files = {f"{name}/mlops.yml": yml(project=name) for name in ("loans", "cards")}
    world.files = {BASE: files, HEAD: files}
    return world


def test_several_projects_share_one_comment_and_have_a_check_each(tmp_path: Path) -> None:
    world = several(
        artifact(packed(run(), GREEN), "ci-mlops-evidence-loans", 1),
        artifact(packed(run(project="cards"), RED), "ci-mlops-evidence-cards", 2),
    )
    assert publish(world, tmp_path) == 1
    (body,) = world.own_comments()
    assert body.index("❌ cards") < body.index("✅ loans")
    checks = {one["name"]: one["conclusion"] for one in world.check_runs}
    assert checks == {"ci-mlops (loans)": "success", "ci-mlops (cards)": "failure"}


def test_two_artifacts_that_claim_one_project(tmp_path: Path) -> None:
    world = several(
        artifact(packed(run(), GREEN), "ci-mlops-evidence-loans", 1),
        artifact(packed(run(), GREEN), "ci-mlops-evidence-zzz", 2),
    )
    assert publish(world, tmp_path) == 1
    assert only_check(world)["conclusion"] == "failure"


def test_a_renamed_project_is_no_way_around_its_gate(tmp_path: Path) -> None:
    found = record(check("inconclusive"))
    world = several(artifact(packed(run(project="loans2"), found), "ci-mlops-evidence-loans2"))
    strict = yml(project="loans", more="gate: {on_inconclusive: fail}")
    world.files[BASE] = {**world.files[BASE], "loans/mlops.yml": strict}
    world.files[HEAD] = {"loans/mlops.yml": yml(project="loans2")}
    assert publish(world, tmp_path) == 1
    made = only_check(world)
    assert (made["name"], made["conclusion"]) == ("ci-mlops (loans)", "failure")


def test_a_new_project_is_judged_by_its_own_gate_and_never_green(tmp_path: Path) -> None:
    circumstances = run(project="new", judged_by="head")
    world = several(
        artifact(packed(circumstances, GREEN), "ci-mlops-evidence-new", 1),
        artifact(packed(run(), GREEN), "ci-mlops-evidence-loans", 2),
        artifact(packed(run(project="cards"), GREEN), "ci-mlops-evidence-cards", 3),
    )
    world.files[HEAD] = {**world.files[HEAD], "new/mlops.yml": yml(project="new")}
    assert publish(world, tmp_path) == 0
    assert {one["name"]: one["conclusion"] for one in world.check_runs} == {
        "ci-mlops (new)": "neutral",
        "ci-mlops (loans)": "success",
        "ci-mlops (cards)": "success",
    }


@pytest.mark.parametrize(
    "name", ["ci-mlops-evidence-@org/team", "ci-mlops-evidence- --> x", "ci-mlops-evidence-"]
)
def test_an_artifact_with_an_evil_name(name: str, tmp_path: Path) -> None:
    world = several(artifact(b"", name))
    assert publish(world, tmp_path) == 1
    assert only_check(world)["conclusion"] == "failure"
    assert "@org" not in world.own_comments()[0]


# --- GitHub refuses -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "line"),
    [
        ("checks", "checks: write"),
        ("pull-requests", "pull-requests: "),
        ("actions", "actions: read"),
        ("contents", "contents: read"),
    ],
)
def test_a_missing_permission_is_named_and_stops(
    scope: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = fork(artifact(packed(run(), GREEN)))
    del world.scopes[scope]
    assert publish(world, tmp_path) == 4
    assert f"Add `{line}" in capsys.readouterr().err


def test_without_a_token(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert publish(fork(), tmp_path, GITHUB_TOKEN="") == 2
    assert "GITHUB_REPOSITORY and GITHUB_TOKEN must be set" in capsys.readouterr().err


def test_a_rough_hour_at_github_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ci_mlops.github.repository.MAX_WORK_S", 0)
    world = fork(artifact(packed(run(), GREEN)))
    world.faults = [
        Fault(kind="502", path="/zip"),
        Fault(kind="drop", path="/contents/"),
        Fault(kind="drop-after", method="POST", path="/comments"),
        Fault(kind="502-after", method="POST", path="/check-runs"),
    ]
    assert publish(world, tmp_path) == 0
    assert len(world.comments) == len(world.check_runs) == 1


def test_state_is_json(tmp_path: Path) -> None:
    world = fork(artifact(packed(run(), GREEN)))
    publish(world, tmp_path)
    assert json.loads(json.dumps(world.state()))["comments"][0]["issue"] == 7
    assert WorkflowRun(**world.state()["runs"][0]).id == 100
