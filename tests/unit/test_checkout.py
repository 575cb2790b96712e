"""The two checkouts of a pull request, with real git."""

from pathlib import Path

import pytest

from ci_mlops.checkout import Repository, find_base
from ci_mlops.command import Commands
from ci_mlops.errors import ConfigError, OutsideError
from ci_mlops.github import Workflow
from tests.conftest import Repo

LAPTOP = Workflow(inside=False)
PULL_REQUEST = Workflow(inside=True, event="pull_request")


@pytest.fixture
def repository(repo: Repo, commands: Commands) -> Repository:
    return Repository(top=repo.path, commands=commands)


def test_a_folder_outside_of_git(tmp_path: Path, commands: Commands) -> None:
    with pytest.raises(ConfigError, match="not in a git repository"):
        Repository.around(tmp_path, commands)


def test_the_repository_around_a_folder(repo: Repo, commands: Commands) -> None:
    repo.commit({"a/b/x": ""})
    assert Repository.around(repo.path / "a" / "b", commands).top == repo.path


def test_git_that_refuses_is_an_outside_error(repository: Repository) -> None:
    with pytest.raises(OutsideError, match="`git checkout` failed"):
        repository.git("checkout", "nowhere")


def test_branch_against_main(repo: Repo, repository: Repository) -> None:
    base = repo.commit({"x": "1"})
    repo.git("checkout", "-q", "-b", "feature")
    repo.commit({"x": "2"})
    repo.git("checkout", "-q", "main")
    repo.commit({"y": "1"})
    repo.git("checkout", "-q", "feature")
    assert find_base(repository, None, LAPTOP).commit == base
    assert find_base(repository, "main", LAPTOP).commit == base


def test_on_main_the_commit_before_is_the_base(repo: Repo, repository: Repository) -> None:
    first = repo.commit({"x": "1"})
    second = repo.commit({"x": "2"})
    assert find_base(repository, None, LAPTOP).commit == first
    repo.write({"x": "3"})
    assert find_base(repository, None, LAPTOP).commit == second
    assert find_base(repository, "HEAD", LAPTOP).commit == second


def test_pull_request_merge_commit(repo: Repo, repository: Repository) -> None:
    repo.commit({"x": "1"})
    repo.git("checkout", "-q", "-b", "feature")
    repo.commit({"x": "2"})
    repo.git("checkout", "-q", "main")
    base = repo.commit({"y": "1"})
    repo.git("checkout", "-q", "--detach")
    repo.git("merge", "-q", "--no-ff", "-m", "merge", "feature")
    assert find_base(repository, None, PULL_REQUEST).commit == base


def test_no_base_has_a_reason(repo: Repo, repository: Repository) -> None:
    assert "no commit yet" in find_base(repository, None, LAPTOP).missing
    repo.commit({"x": "1"})
    assert "first commit" in find_base(repository, None, LAPTOP).missing
    repo.git("checkout", "-q", "--orphan", "other")
    repo.commit({"z": "1"})
    assert "no common commit" in find_base(repository, "main", LAPTOP).missing


def test_a_shallow_clone_says_what_to_do(repo: Repo, tmp_path: Path, commands: Commands) -> None:
    repo.commit({"x": "1"})
    repo.commit({"x": "2"})
    repo.git("clone", "-q", "--depth=1", f"file://{repo.path}", str(tmp_path / "clone"))
    clone = Repository(top=tmp_path / "clone", commands=commands)
    assert "fetch-depth: 2" in find_base(clone, None, PULL_REQUEST).missing


def test_an_unknown_revision(repo: Repo, repository: Repository) -> None:
    repo.commit({"x": "1"})
    with pytest.raises(ConfigError, match="--base: revision 'nowhere' is not in this repository"):
        find_base(repository, "nowhere", LAPTOP)


def test_worktree_leaves_the_users_tree_alone(repo: Repo, repository: Repository) -> None:
    first = repo.commit({"x": "1", ".gitignore": ".mlops/\n"})
    second = repo.commit({"x": "2"})
    repo.write({"x": "mine"})
    folder = repo.path / ".mlops" / "base"
    assert (repository.worktree(first, folder) / "x").read_text() == "1"
    assert repository.worktree(first, folder) == folder / first[:16]
    assert (repository.worktree(second, folder) / "x").read_text() == "2"
    assert [path.name for path in folder.iterdir()] == [second[:16]]
    assert (repo.path / "x").read_text() == "mine"
    assert repo.git("status", "--porcelain") == "M x"
    assert repo.git("stash", "list") == ""


def test_a_worktree_that_was_deleted_by_hand(repo: Repo, repository: Repository) -> None:
    import shutil

    first = repo.commit({"x": "1"})
    folder = repo.path / ".mlops" / "base"
    shutil.rmtree(repository.worktree(first, folder))
    assert (repository.worktree(first, folder) / "x").exists()


def test_code_digest_follows_what_code_may_read(repo: Repo, repository: Repository) -> None:
    repo.commit({"a.py": "1", "README.md": "1", "mlops.yml": "1", "data/x.csv": "1"})
    before = repository.code_digest(["data/x.csv"])
    repo.write({"README.md": "2", "mlops.yml": "2", "data/x.csv": "2"})
    assert repository.code_digest(["data/x.csv"]) == before
    repo.write({"a.py": "2"})
    changed = repository.code_digest(["data/x.csv"])
    assert changed != before
    repo.commit()
    assert repository.code_digest(["data/x.csv"]) == changed
    repo.write({"new.py": ""})
    with_new = repository.code_digest(["data"])
    assert with_new != changed
    repo.commit()
    assert repository.code_digest(["data"]) == with_new
    (repo.path / "new.py").unlink()
    assert repository.code_digest(["data"]) == changed


def test_show_and_changed(repo: Repo, repository: Repository) -> None:
    first = repo.commit({"x": "1\n"})
    assert repository.show(first, "x") == "1\n"
    assert repository.show(first, "y") is None
    assert not repository.is_changed()
    repo.write({"x": "2"})
    assert repository.is_changed()
