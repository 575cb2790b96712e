"""The projects that a change concerns."""

import json

import pytest

from ci_mlops.changes import Project, concerned
from ci_mlops.command import Commands
from ci_mlops.errors import ConfigError
from ci_mlops.github import Workflow
from ci_mlops.projects import as_json, matrix, refuse_orphans
from tests.conftest import Repo
from tests.project import ci_mlops

LOANS, FRAUD = Project(folder="loans", name="loans"), Project(folder="risk/fraud", name="fraud")
TOP = Project(folder=".", name="top")
PULL_REQUEST = Workflow(inside=True, event="pull_request")


def mlops_yml(name: str) -> str:
    return f"version: 1\nproject: {name}\ndata: {{test: t.csv, label: y}}\nstages: {{data: }}\n"


def found(repo: Repo, commands: Commands, *, every: bool = False) -> list[str]:
    """Return the names that a pull request's matrix holds."""
    text = matrix(repo.path, every=every, base=None, commands=commands, workflow=PULL_REQUEST)
    assert "\n" not in text
    return [row["name"] for row in json.loads(text)["include"]]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (["loans/train.py"], (LOANS,)),
        (["loans/train.py", "risk/fraud/mlops.yml"], (LOANS, FRAUD)),
        (["loans2/train.py"], (LOANS, FRAUD)),
        (["risk/shared.py"], (LOANS, FRAUD)),
        (["README.md", "risk/notes.rst"], ()),
        (["loans/README.md"], (LOANS,)),
        ([".github/workflows/mlops.yml"], (LOANS, FRAUD)),
        ([], ()),
    ],
)
def test_what_a_change_concerns(changed: list[str], expected: tuple[Project, ...]) -> None:
    assert concerned((LOANS, FRAUD), changed, (LOANS, FRAUD)) == expected


def test_a_new_project_hides_nothing_from_the_others() -> None:
    new = Project(folder="shared", name="new")
    assert concerned((LOANS, new), ["shared/features.py"], (LOANS,)) == (LOANS, new)
    assert concerned((LOANS, new), ["shared/features.py"], (LOANS, new)) == (new,)


def test_a_project_at_the_top_holds_every_file() -> None:
    assert concerned((TOP, LOANS), ["x/y.py"], (TOP, LOANS)) == (TOP,)
    assert concerned((TOP, LOANS), ["loans/y.py"], (TOP, LOANS)) == (TOP, LOANS)


def test_pull_request(repo: Repo, commands: Commands) -> None:
    repo.commit({"loans/mlops.yml": mlops_yml("loans"), "risk/fraud/mlops.yml": mlops_yml("fraud")})
    assert found(repo, commands) == ["loans", "fraud"], "without a base all are judged"
    repo.commit({"loans/ümlaut – \t.csv": "1"})
    assert found(repo, commands) == ["loans"]
    assert found(repo, commands, every=True) == ["loans", "fraud"]
    repo.commit({"README.md": "1"})
    assert found(repo, commands) == []


def test_a_workflow_of_that_name_is_no_project(repo: Repo, commands: Commands) -> None:
    repo.commit({"mlops.yml": mlops_yml("a"), ".github/workflows/mlops.yml": "on: pull_request\n"})
    assert found(repo, commands) == ["a"]


def test_a_file_that_moved_concerns_both_projects(repo: Repo, commands: Commands) -> None:
    text = "a line\n" * 50
    repo.commit(
        {"a/mlops.yml": mlops_yml("a"), "b/mlops.yml": mlops_yml("b"), "a/features.py": text}
    )
    repo.git("mv", "a/features.py", "b/features.py")
    repo.commit()
    assert found(repo, commands) == ["a", "b"]


def test_a_change_cannot_leave_its_own_gate(repo: Repo, commands: Commands) -> None:
    repo.commit(
        {
            "a/mlops.yml": mlops_yml("a"),
            "a/model.pkl": "1",
            "a/x.py": "",
            "b/mlops.yml": mlops_yml("b"),
        }
    )
    repo.git("rm", "-q", "a/mlops.yml")
    repo.commit()
    with pytest.raises(ConfigError) as caught:
        found(repo, commands)
    assert str(caught.value).startswith(
        "a/mlops.yml: is removed, but a/model.pkl and 1 more files of its project stay. Keep it"
    )


def test_a_whole_project_may_go() -> None:
    refuse_orphans(["gone", "."], ["mlops.yml", "other/file.py"])


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ({"README.md": ""}, "git tracks no mlops.yml here. Run `ci-mlops init`"),
        (
            {"a/mlops.yml": mlops_yml("same"), "b/mlops.yml": mlops_yml("Same")},
            "b/mlops.yml: project 'Same' is the name of a/mlops.yml too. Give each",
        ),
        ({"a/mlops.yml": "version: 1\nproject: 7\n"}, "a/mlops.yml:2: project:"),
        ({"a*/mlops.yml": mlops_yml("a")}, '"a*/mlops.yml": its folder\'s name holds'),
        ({"a,b/mlops.yml": mlops_yml("a")}, '"a,b/mlops.yml": its folder\'s name holds'),
        ({"a\n.git/mlops.yml": mlops_yml("a")}, '"a\\n.git/mlops.yml": its folder\'s name'),
    ],
)
def test_one_line_for_each_fault(
    repo: Repo, commands: Commands, files: dict[str, str], line: str
) -> None:
    repo.commit(files)
    with pytest.raises(ConfigError) as caught:
        found(repo, commands)
    assert line in str(caught.value)


def test_more_projects_than_github_starts_jobs() -> None:
    many = [Project(folder=f"p{n}", name=f"p{n}") for n in range(257)]
    assert len(json.loads(as_json(many[:256]))["include"]) == 256
    with pytest.raises(ConfigError, match="concerns 257 projects, GitHub starts 256 jobs at most"):
        as_json(many)


def test_from_the_command_line(repo: Repo) -> None:
    first = repo.commit({"a/mlops.yml": mlops_yml("a"), "b/mlops.yml": mlops_yml("b")})
    repo.commit({"b/data.csv": "1"})
    code, output, errors = ci_mlops(repo.path, "plan", "--matrix", "--base", first)
    assert (code, output) == (0, '{"include":[{"name":"b","folder":"b"}]}\n'), errors
    code, output, _ = ci_mlops(repo.path, "plan", "--matrix", "--all")
    assert [row["folder"] for row in json.loads(output)["include"]] == ["a", "b"]
    code, output, errors = ci_mlops(repo.path, "plan", "--matrix", "--base", "nowhere")
    assert (code, output) == (2, "")
    assert errors.startswith("error: --base: revision 'nowhere' is not in this repository")
