"""`ci-mlops diff` as a user runs it: versions of a repository, files, pointers, and no value told."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ci_mlops import cli
from ci_mlops.__main__ import main
from tests.conftest import Repo, clean_environ
from tests.project import data_csv

CANARY = "SECRETCANARY"
NUMBER = "987654"
MLOPS_YML = """\
version: 1
project: small
data:
  train: data/train.csv
  test: data/test.csv
  key: id
  label: approved
  sensitive: [sex]
stages:
  data: {deepchecks: false}
"""
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(repo: Repo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(repo.path)

    def called(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments, clean_environ())
        told = capsys.readouterr()
        return code, told.out, told.err

    return called


@pytest.fixture
def project(repo: Repo) -> Repo:
    """A branch that changed the training data: rows, a value of `sex`, and who is who."""
    files = {"data/train.csv": data_csv(0, 200, 1), "data/test.csv": data_csv(900, 100, 2)}
    repo.commit({"mlops.yml": MLOPS_YML, ".gitignore": "data/*.bin\n", **files})
    repo.git("checkout", "-q", "-b", "change")
    lines = files["data/train.csv"].splitlines()
    lines = [line.replace("female", CANARY) for line in lines[:30]] + lines[50:]
    lines.append(f"{NUMBER},50.0,10.0,male,1")
    repo.commit({"data/train.csv": "\n".join(lines) + "\n"})
    return repo


def test_the_branch_against_where_it_began(project: Repo, run: Run) -> None:
    code, output, _ = run("diff")
    assert code == 0
    assert "200 → 181 rows, +1 −20 ~14 rows by id" in output
    assert "train: " in output
    assert "risk: medium" in output
    assert "test: unchanged (equal digests)" in output
    assert project.git("status", "--porcelain") == "", "nothing is left in the tree"


def test_no_value_of_a_key_or_of_a_sensitive_column_is_told(project: Repo, run: Run) -> None:
    for flags in ((), ("--json",)):
        told = "".join(map(str, run("diff", *flags)))
        assert "sex" in told
        assert CANARY not in told
        assert NUMBER not in told
        assert "female" not in told


def test_a_column_is_hidden_by_the_setting_and_by_the_flag(project: Repo, run: Run) -> None:
    base = project.git("show", "main:data/train.csv").splitlines()
    base[5] = f"4,{NUMBER},20.0,male,1"
    text = MLOPS_YML.replace("sensitive: [sex]", "hidden: [income]")
    project.commit({"data/train.csv": "\n".join(base), "mlops.yml": text})
    assert NUMBER not in run("diff")[1]
    assert "wider (its values are hidden)" in run("diff")[1]
    project.commit({"mlops.yml": MLOPS_YML})
    assert NUMBER in run("diff", "--hide", "debt")[1]
    assert NUMBER not in run("diff", "--hide", "income,debt")[1]
    project.commit({"mlops.yml": text})
    project.git("checkout", "-q", "-b", "later")
    project.commit({"mlops.yml": MLOPS_YML, "data/train.csv": "\n".join(base[:-1])})
    assert NUMBER not in run("diff", "change")[1], "what the base hides, the head cannot show"


def test_two_commits_and_another_branch(project: Repo, run: Run) -> None:
    assert "+1 −20 ~14" in run("diff", "main")[1]
    assert "+1 −20 ~14" in run("diff", "main", "change")[1]
    assert "+20 −1 ~14" in run("diff", "change", "main")[1]
    assert "no file and no revision" in run("diff", "main", "nowhere")[2]
    assert run("diff", "nowhere")[0] == 2


def test_a_repository_without_a_base_says_so(repo: Repo, run: Run) -> None:
    repo.commit({"mlops.yml": MLOPS_YML, "data/train.csv": "id\n1\n", "data/test.csv": "id\n1\n"})
    code, _, errors = run("diff")
    assert code == 2
    assert "there is no base" in errors


@pytest.mark.parametrize(("level", "code"), [("low", 1), ("medium", 1), ("high", 0)])
def test_it_fails_on_a_risk_when_asked_to(project: Repo, run: Run, level: str, code: int) -> None:
    assert run("diff", "--fail-on", level)[0] == code


def test_two_files(project: Repo, run: Run) -> None:
    project.write(
        {"old.csv": "id,age\n1,30\n2,40\n", "new.jsonl": '{"id":1,"age":30}\n{"id":3,"age":7}\n'}
    )
    code, output, _ = run("diff", "old.csv", "new.jsonl", "--key", "id", "--json")
    assert code == 0
    (change,) = json.loads(output)["changes"]
    assert (change["rows"]["added"], change["rows"]["removed"]) == (1, 1)
    assert "no key" in run("diff", "old.csv", "new.jsonl")[1]
    assert "old.csv: is missing" not in run("diff", "old.csv", "old.csv")[1]
    code, _, errors = run("diff", "old.csv", "nowhere.csv")
    assert code == 2
    assert "nowhere.csv: is missing" in errors


def test_two_files_outside_of_any_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("id,age\n1,30\n")
    Path("b.csv").write_text("id,age\n1,31\n")
    environ = clean_environ({"GIT_CEILING_DIRECTORIES": str(tmp_path.parent)})
    assert cli.main(["diff", "a.csv", "b.csv", "--key", "id"], environ) == 0
    assert "~1 rows by id" in capsys.readouterr().out


def pointer(content: str) -> str:
    digest = hashlib.md5(content.encode(), usedforsecurity=False).hexdigest()
    return f"outs:\n- md5: {digest}\n  size: {len(content)}\n  hash: md5\n  path: train.csv\n"


def tracked_by_dvc(repo: Repo, *, stored: bool) -> None:
    """Let DVC track the training data, with another version of it on a branch."""
    old, new = data_csv(0, 200, 1), data_csv(0, 210, 1)
    repo.commit(
        {
            "mlops.yml": MLOPS_YML,
            ".gitignore": "data/train.csv\n.dvc/cache\n",
            ".dvc/config": "",
            "data/test.csv": data_csv(900, 100, 2),
            "data/train.csv.dvc": pointer(old),
        }
    )
    repo.git("checkout", "-q", "-b", "change")
    repo.commit({"data/train.csv.dvc": pointer(new)})
    for text in (old, new) if stored else ():
        digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        repo.write({f".dvc/cache/files/md5/{digest[:2]}/{digest[2:]}": text})


def test_data_behind_pointers_is_found_in_the_cache(repo: Repo, run: Run) -> None:
    tracked_by_dvc(repo, stored=True)
    code, output, _ = run("diff")
    assert code == 0
    assert "200 → 210 rows" in output


def test_data_that_changed_and_is_not_here_is_never_no_change(repo: Repo, run: Run) -> None:
    tracked_by_dvc(repo, stored=False)
    code, output, _ = run("diff", "--fail-on", "high")
    assert code == 4
    assert "changed, but could not be looked at" in output
    assert "dvc pull data/train.csv" in output
    assert "test: unchanged" in output
    repo.commit({"data/train.csv.dvc": pointer(data_csv(0, 200, 1))})
    code, output, _ = run("diff")
    assert code == 0
    assert "train: unchanged (equal digests)" in output


def test_data_that_is_named_and_not_there(repo: Repo, run: Run) -> None:
    files = {"mlops.yml": MLOPS_YML, "data/test.csv": data_csv(0, 100, 2)}
    repo.commit({**files, ".gitignore": "data/train.csv\n"})
    repo.git("checkout", "-q", "-b", "change")
    repo.write({"data/train.csv": data_csv(0, 200, 1)})
    repo.commit({"data/test.csv": data_csv(0, 101, 2)})
    code, output, _ = run("diff")
    assert code == 4
    assert "has no data/train.csv here" in output
    commit = repo.git("rev-parse", "main")
    repo.git("worktree", "add", "-q", "--detach", f".mlops/base/{commit[:16]}", commit)
    prepared = repo.path / ".mlops" / "base" / commit[:16] / "data" / "train.csv"
    prepared.write_text(data_csv(0, 201, 1), encoding="utf-8")
    code, output, _ = run("diff")
    assert code == 0
    assert "201 → 200 rows" in output


def test_a_part_that_comes_or_goes(project: Repo, run: Run) -> None:
    project.commit({"mlops.yml": MLOPS_YML.replace("  train: data/train.csv\n", "")})
    assert "train: The data is gone." in run("diff")[1]
    assert "train: The data is new" in run("diff", "HEAD", "main")[1]
