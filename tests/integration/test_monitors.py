"""A project in production, watched with the real command line: healthy, shifted, wrong, unfair."""

import json
import re
import shutil
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest

from ci_mlops import evidence
from tests import broken_inputs, production, project
from tests.conftest import Repo
from tests.fake_github.server import serving
from tests.fake_github.world import World
from tests.project import ci_mlops

MONITORS = """\
monitors:
  predictions: {path: predictions}
  labels: {path: outcomes.csv}
  drift: {window_days: 7, deepchecks: false}
  accuracy: {labels_within_days: 30}
  fairness: {packs: [four-fifths]}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """Return the project with monitors and a trained model."""
    repo = broken_inputs.new_repo(tmp_path_factory.mktemp("watched") / "repo")
    text = (repo.path / "mlops.yml").read_text(encoding="utf-8")
    repo.commit({"mlops.yml": text + MONITORS, ".gitignore": "model.joblib\npredictions\n*.csv\n"})
    code, output, errors = ci_mlops(repo.path, "run", "--only", "data")
    assert code == 0, output + errors
    return repo


@pytest.fixture
def watched(made: Repo) -> Repo:
    """Return the project without a trace of production."""
    shutil.rmtree(made.path / "predictions", ignore_errors=True)
    (made.path / "outcomes.csv").unlink(missing_ok=True)
    return made


def serve(
    repo: Repo, *, rows: int = 1400, shift: float = 0.0, wrong: float = 0.0, days: float = 7
) -> pd.DataFrame:
    """Let the model answer fresh applicants, and write what came of it.

    `shift` is added to the income, `wrong` is the share of labels that turn out otherwise.
    """
    frame = pd.read_csv(StringIO(project.data_csv(50_000, rows, seed=5)))
    frame["income"] += shift
    model = joblib.load(repo.path / "model.joblib")
    proba = model.predict_proba(frame[["income", "debt"]])
    inputs = {name: frame[name].to_numpy() for name in ("income", "debt")}
    ids = production.log(
        repo.path / "predictions",
        inputs,
        (proba[:, 1] >= 0.5).astype(int),
        proba=proba,
        days=days,
    )
    flipped = np.random.default_rng(3).random(rows) < wrong
    frame["approved"] = np.where(flipped, 1 - frame["approved"], frame["approved"])
    frame.assign(id=ids)[["id", "approved", "sex"]].to_csv(repo.path / "outcomes.csv", index=False)
    return frame


def look(repo: Repo, *arguments: str, **environ: str) -> tuple[int, Mapping[str, Any], str]:
    code, output, errors = ci_mlops(repo.path, "monitor", "--json", *arguments, **environ)
    document = json.JSONDecoder().raw_decode(output)[0] if output.startswith("{") else {}
    return code, document, output + errors


def reasons(document: Mapping[str, Any], outcome: str = "failed") -> set[tuple[str, str, str]]:
    return {
        (one["stage"], one["check"]["name"], one["check"]["slice"])
        for one in document["reasons"]
        if one["outcome"] == outcome and one["check"]
    }


def test_healthy_production_raises_no_alarm_and_leaves_a_report(watched: Repo) -> None:
    serve(watched)
    code, document, said = look(watched)
    assert code == 0, said
    assert not reasons(document), said
    folder = watched.path / ".mlops/monitors/production"
    run = evidence.read_run(folder / "evidence/run.json")
    assert run.environment == "production"
    assert run.stages == ("drift", "accuracy", "fairness")
    found = evidence.read_folder(folder / "evidence").records
    accuracy = found["accuracy"]
    assert isinstance(accuracy, evidence.Record)
    assert {one.outcome for one in accuracy.checks} == {"passed"}
    assert "small in production" in (folder / "report.md").read_text(encoding="utf-8")


def test_a_shifted_input_is_named_with_its_interval(watched: Repo) -> None:
    serve(watched, shift=6.0)
    code, document, said = look(watched, "--only", "drift")
    assert code == 1, said
    assert ("drift", "shift", "income") in reasons(document)
    assert ("drift", "shift", "debt") not in reasons(document)
    check = next(one["check"] for one in document["reasons"] if one["check"]["slice"] == "income")
    assert check["interval"]["low"] > 0.1
    assert "median" in check["message"]


def test_one_bad_hour_warns_and_does_not_fail(watched: Repo) -> None:
    serve(watched, rows=1400)
    burst = pd.read_csv(StringIO(project.data_csv(90_000, 500, seed=8)))
    burst["income"] += 25
    production.log(
        watched.path / "predictions",
        {name: burst[name].to_numpy() for name in ("income", "debt")},
        np.zeros(500, dtype=int),
        days=1 / 24,
        version="bursting",
    )
    code, document, said = look(watched, "--only", "drift")
    assert ("drift", "shift", "income") not in reasons(document), said
    assert ("drift", "shift", "income") in reasons(document, "warned"), said
    del code


def test_labels_that_prove_the_model_wrong_fail_with_the_day_it_began(watched: Repo) -> None:
    serve(watched, wrong=0.25)
    code, document, said = look(watched, "--only", "accuracy")
    assert code == 1, said
    found = [one["check"] for one in document["reasons"] if one["outcome"] == "failed"]
    whole = next(one for one in found if one["name"] == "accuracy" and one["slice"] == "")
    assert whole["observed"] < whole["base"] - 0.1
    assert "since 20" in whole["message"]


def test_without_labels_accuracy_is_estimated_and_decides_nothing(watched: Repo) -> None:
    serve(watched)
    (watched.path / "outcomes.csv").write_text("id,approved\n", encoding="utf-8")
    code, document, said = look(watched, "--only", "accuracy")
    assert code == 0, said
    check = document["reasons"][-1]["check"]
    assert (check["slice"], check["outcome"]) == ("estimated", "inconclusive")
    assert abs(check["observed"] - check["base"]) < 0.05


def test_a_group_that_is_decided_otherwise_in_production_fails(watched: Repo) -> None:
    frame = serve(watched)
    shutil.rmtree(watched.path / "predictions")
    decided = (frame["sex"] == "male").astype(int).to_numpy()
    ids = production.log(
        watched.path / "predictions",
        {name: frame[name].to_numpy() for name in ("income", "debt")},
        decided,
    )
    frame.assign(id=ids)[["id", "approved", "sex"]].to_csv(
        watched.path / "outcomes.csv", index=False
    )
    code, document, said = look(watched, "--only", "fairness")
    assert code == 1, said
    assert any(stage == "fairness" and "sex" in where for stage, _, where in reasons(document))


def test_every_alarm_that_rests_on_a_sample_has_an_interval(watched: Repo) -> None:
    serve(watched, shift=60.0, wrong=0.3)
    rush = pd.read_csv(StringIO(project.data_csv(90_000, 1400, seed=8)))
    rush["income"] += 60
    production.log(
        watched.path / "predictions",
        {name: rush[name].to_numpy() for name in ("income", "debt")},
        np.zeros(len(rush), dtype=int),
        days=0.9,
        version="rushing",
    )
    _, document, said = look(watched)
    alarms = [one["check"] for one in document["reasons"] if one["outcome"] == "failed"]
    assert {one["name"] for one in alarms} >= {"shift", "contract", "volume", "accuracy"}, said
    assert [one for one in alarms if not one["interval"]] == []
    for one in alarms:
        assert one["interval"]["low"] <= one["observed"] <= one["interval"]["high"], one


def test_silence_is_no_health(watched: Repo) -> None:
    (watched.path / "predictions").mkdir()
    code, document, said = look(watched, "--only", "drift")
    assert code == 1, said
    assert ("drift", "freshness", "") in reasons(document)
    shutil.rmtree(watched.path / "predictions")
    code, document, said = look(watched, "--only", "drift")
    assert code == 1
    assert "predictions: is not there" in said


def test_a_spoiled_log_is_refused_and_a_torn_line_is_told(watched: Repo) -> None:
    serve(watched)
    file = next((watched.path / "predictions").glob("*.jsonl"))
    with file.open("a", encoding="utf-8") as torn:
        torn.write('{"time": "2026-11-2')
    code, _, said = look(watched, "--only", "drift")
    assert code == 0, said
    report = (watched.path / ".mlops/monitors/production/report.md").read_text(encoding="utf-8")
    assert "1 lines of the prediction log could not be read" in report
    with file.open("a", encoding="utf-8") as torn:
        torn.write("\n" + "nonsense\n" * 500)
    code, _, said = look(watched, "--only", "drift")
    assert code == 1
    assert "lines cannot be read" in said


def test_one_issue_is_kept_edited_and_closed(watched: Repo, tmp_path: Path) -> None:
    world = World()
    with serving(world) as github:
        environ = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": github.url,
            "GITHUB_REPOSITORY": world.repository,
            "GITHUB_TOKEN": world.token,
            "GITHUB_OUTPUT": str(tmp_path / "outputs"),
        }
        serve(watched, shift=6.0)
        forged = "<!-- ci-mlops-monitor:small:production -->\nmine"
        world.issue("t", forged, "mallory", labels=["ci-mlops-monitor"])
        for _ in range(2):
            code, _, said = look(watched, "--issue", **environ)
            assert code == 1, said
        own = [one for one in world.issues if one["login"] == world.login]
        assert [(one["state"], one["labels"]) for one in own] == [("open", ["ci-mlops-monitor"])]
        text = (tmp_path / "outputs").read_text(encoding="utf-8")
        told = dict(re.findall(r"^(\w+)<<end-\w+\n(.*)$", text, re.MULTILINE))
        assert (told["verdict"], told["answers"]) == ("failed", "issue")
        assert "shift income" in told["reason"]
        assert "income" in Path(told["report"]).read_text(encoding="utf-8")
        assert (Path(told["evidence"]) / "run.json").is_file()
        assert "drift" in own[0]["title"]
        assert "income" in own[0]["body"]
        shutil.rmtree(watched.path / "predictions")
        serve(watched)
        code, _, said = look(watched, "--issue", **environ)
        assert code == 0, said
    assert own[0]["state"] == "closed"
    assert ["Healthy again" in one["body"] for one in world.comments] == [True]
    assert world.issues[0]["body"].endswith("mine")
    assert world.violations == []
