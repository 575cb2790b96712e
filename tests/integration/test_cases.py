"""Every case folder, judged by the real command line.

A case is a whole small project. A folder `base/` in it is committed first, as main; the rest is the
pull request. `expected.txt` holds lines that the report must contain.
"""

import shutil
from pathlib import Path

import pytest

from tests.conftest import Repo
from tests.project import ci_mlops

CASES = Path(__file__).parents[1] / "cases"
FOLDERS = sorted(folder for folder in CASES.glob("*/*/*") if (folder / "mlops.yml").is_file())
CODES = {"passes": 0, "fails": 1}


@pytest.mark.parametrize("case", FOLDERS, ids=lambda one: one.relative_to(CASES).as_posix())
def test_case(case: Path, repo: Repo, request: pytest.FixtureRequest) -> None:
    if case.parts[-3] == "image":
        request.getfixturevalue("serving_base")
    base = case / "base"
    if base.is_dir():
        shutil.copytree(base, repo.path, dirs_exist_ok=True)
        repo.commit(message="base")
        repo.git("checkout", "-q", "-b", "change")
    leave_out = shutil.ignore_patterns("base", "expected.txt")
    shutil.copytree(case, repo.path, dirs_exist_ok=True, ignore=leave_out)
    repo.commit(message="change")
    code, output, errors = ci_mlops(repo.path, "run")
    assert code == CODES[case.parent.name], output + errors
    report = (repo.path / ".mlops" / "report.md").read_text(encoding="utf-8")
    expected = case / "expected.txt"
    lines = expected.read_text(encoding="utf-8").splitlines() if expected.is_file() else []
    assert [line for line in lines if line not in report] == []
    assert lines or code == 0, "a failing case says what it must find"


def test_there_are_cases() -> None:
    assert {(folder.parts[-3], folder.parts[-2]) for folder in FOLDERS} >= {
        ("model", "passes"),
        ("model", "fails"),
    }
