"""The first mlops.yml: guessed from a look at the repository and its data."""

from pathlib import Path

import pytest
import yaml

from ci_mlops import init
from ci_mlops.command import Commands
from ci_mlops.errors import ConfigError
from tests.conftest import Repo

CSV = "loan_id,income,sex,approved\n" + "".join(
    f"{n},{n * 1.5},{'mf'[n % 2]},{n % 2}\n" for n in range(30)
)


def test_a_project_with_everything(repo: Repo, commands: Commands) -> None:
    repo.write(
        {
            "data/train.csv": CSV,
            "data/holdout_test.csv": CSV,
            "model/model.joblib": "x",
            ".venv/bin/python": "",
            ".gitattributes": "*.csv filter=lfs diff=lfs\n",
            ".dvc/config": "",
            "benchmarks/test_speed.py": "",
        }
    )
    written = init.init(repo.path / "mlops.yml", commands=commands)
    assert [file.relative_to(repo.path).as_posix() for file in written.files] == [
        "mlops.yml",
        ".github/workflows/mlops.yml",
        ".github/workflows/mlops-publish.yml",
    ]
    values = yaml.safe_load((repo.path / "mlops.yml").read_text(encoding="utf-8"))
    assert values == {
        "version": 1,
        "project": "repo",
        "prepare": ["git lfs pull", "dvc pull"],
        "data": {
            "train": "data/train.csv",
            "test": "data/holdout_test.csv",
            "key": "loan_id",
            "label": "approved",
            "sensitive": ["sex"],
        },
        "model": {"path": "model/model.joblib", "task": "binary", "python": ".venv/bin/python"},
        "stages": {
            "data": None,
            "model": None,
            "policy": {"packs": ["four-fifths", "no-regression"]},
            "latency": {"benchmarks": "benchmarks/"},
        },
    }
    assert "label 'approved', task binary" in written.text()


def test_what_it_writes_is_what_we_accept(repo: Repo, commands: Commands) -> None:
    from ci_mlops import config

    repo.write({"data/test.csv": CSV})
    written = init.init(repo.path / "mlops.yml", commands=commands)
    loaded = config.load(repo.path / "mlops.yml")
    assert loaded.config.data.label == "approved"
    assert "found no model file" in written.text()


def test_nothing_is_overwritten_unless_told(repo: Repo, commands: Commands) -> None:
    repo.write({"data.csv": CSV, "mlops.yml": "mine", ".github/workflows/mlops.yml": "mine"})
    with pytest.raises(ConfigError, match="is there already"):
        init.init(repo.path / "mlops.yml", commands=commands)
    (repo.path / "mlops.yml").unlink()
    written = init.init(repo.path / "mlops.yml", commands=commands)
    assert [file.name for file in written.files] == ["mlops.yml", "mlops-publish.yml"]
    forced = init.init(repo.path / "mlops.yml", commands=commands, force=True)
    assert len(forced.files) == 3


def test_one_workflow_for_a_private_repository(repo: Repo, commands: Commands) -> None:
    repo.write({"data.csv": CSV})
    written = init.init(repo.path / "mlops.yml", commands=commands, single_workflow=True)
    assert [file.relative_to(repo.path).as_posix() for file in written.files[1:]] == [
        ".github/workflows/mlops.yml"
    ]
    workflow = yaml.safe_load(written.files[1].read_text(encoding="utf-8"))
    assert workflow["jobs"]["gate"]["permissions"]["pull-requests"] == "write"


def test_a_project_below_the_top_gets_its_workflows_at_the_top(
    repo: Repo, commands: Commands
) -> None:
    repo.write({"risk/data.csv": CSV})
    written = init.init(repo.path / "risk" / "mlops.yml", commands=commands)
    assert [file.relative_to(repo.path).as_posix() for file in written.files] == [
        "risk/mlops.yml",
        ".github/workflows/mlops.yml",
        ".github/workflows/mlops-publish.yml",
    ]


def test_no_data_and_no_label(repo: Repo, commands: Commands) -> None:
    with pytest.raises(ConfigError, match="found no data file"):
        init.init(repo.path / "mlops.yml", commands=commands)
    repo.write({"x.csv": CSV})
    with pytest.raises(ConfigError, match=r"x.csv: has no column 'y' \(columns: loan_id, income"):
        init.init(repo.path / "mlops.yml", commands=commands, label="y")
    with pytest.raises(ConfigError, match="nowhere.csv is missing"):
        init.init(repo.path / "mlops.yml", commands=commands, data="nowhere.csv")
    assert not (repo.path / "mlops.yml").exists()


@pytest.mark.parametrize(
    ("column", "task"),
    [
        (["yes", "no"], "binary"),
        ([0, 1, 2], "multiclass"),
        (["a", "b", "c"], "multiclass"),
        ([0.5, 1.5, 2.25], "regression"),
        (list(range(60)), "regression"),
    ],
)
def test_the_task_is_read_from_the_label(tmp_path: Path, column: list[object], task: str) -> None:
    rows = [f"{n},{column[n % len(column)]}" for n in range(60)]
    (tmp_path / "d.csv").write_text("x,target\n" + "\n".join(rows) + "\n", encoding="utf-8")
    assert init.look(tmp_path, data=None, label=None, model=None).task == task


def test_without_a_known_name_the_last_column_is_the_label(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("a,b\n1,0\n2,1\n", encoding="utf-8")
    guess = init.look(tmp_path, data=None, label=None, model=None)
    assert (guess.label, guess.key, guess.train) == ("b", None, None)
    assert "# sensitive:" in init.mlops_yml(guess)


def test_names_that_yaml_would_read_otherwise_are_quoted(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text("a,'no: #'\n1,0\n2,1\n", encoding="utf-8")
    guess = init.look(tmp_path, data=None, label="'no: #'", model=None)
    assert yaml.safe_load(init.mlops_yml(guess))["data"]["label"] == "'no: #'"


def test_starters_are_added_to_what_is_there(repo: Repo, commands: Commands) -> None:
    repo.write({"mlops.yml": "mine", ".github/workflows/mlops-feedback.yml": "mine"})
    wanted = ("monitor", "feedback")
    written = init.add(repo.path / "mlops.yml", wanted, commands=commands)
    assert [file.relative_to(repo.path).as_posix() for file in written] == [
        ".github/workflows/mlops-monitor.yml",
        ".github/ISSUE_TEMPLATE/model-feedback.yml",
    ]
    assert init.add(repo.path / "mlops.yml", wanted, commands=commands) == ()
    assert len(init.add(repo.path / "mlops.yml", wanted, commands=commands, force=True)) == 3
    assert (repo.path / "mlops.yml").read_text(encoding="utf-8") == "mine"


def test_a_starter_that_does_not_exist_is_refused_before_one_is_written(
    repo: Repo, commands: Commands
) -> None:
    with pytest.raises(ConfigError, match='no starter .monitr., did you mean "monitor"'):
        init.add(repo.path / "mlops.yml", ("release", "monitr"), commands=commands)
    assert not (repo.path / ".github").exists()


@pytest.mark.parametrize("name", init.MORE)
def test_every_starter_that_may_be_added_exists(name: str, repo: Repo, commands: Commands) -> None:
    assert init.add(repo.path / "mlops.yml", (name,), commands=commands)
