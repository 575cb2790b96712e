"""What may be released: what was judged, as it stands here, in a run that others cannot start."""

import json
from pathlib import Path
from typing import Any

import pytest

from ci_mlops import evidence
from ci_mlops.checkout import Repository
from ci_mlops.command import Commands
from ci_mlops.errors import ConfigError
from ci_mlops.evidence import Check, file_sha256
from ci_mlops.github.workflow import Workflow
from ci_mlops.release.candidate import Candidate, candidate, require_trusted
from ci_mlops.verdict import Gate
from tests import records
from tests.conftest import Repo

DIGEST = f"sha256:{'d' * 64}"


def looked_at(repo: Repo, commands: Commands, **changes: Any) -> Candidate:
    """Return the candidate of evidence that passed, made for the tree that is checked out."""
    folder = repo.path.parent / "evidence"
    bundle = Check(name="bundle", outcome="passed", observed=DIGEST, message="Made.")
    made = records.record("passed", stage="serving", checks=[bundle])
    evidence.write(folder / "serving.json", made)
    tree = repo.git("rev-parse", "HEAD^{tree}")
    held = {"serving": file_sha256(folder / "serving.json")}
    run = records.run(**{"stages": ["serving"], "tree": tree, "records": held, **changes})
    evidence.write(folder / "run.json", run)
    return again(repo, commands)


def again(repo: Repo, commands: Commands) -> Candidate:
    repository = Repository(top=repo.path, commands=commands)
    folder = repo.path.parent / "evidence"
    return candidate(folder, lambda _: Gate(require=("serving",)), repository, stage="serving")


def test_what_was_judged_and_stands_here_is_released(repo: Repo, commands: Commands) -> None:
    repo.commit({"train.py": "1"})
    found = looked_at(repo, commands)
    assert (found.digest, found.blocked) == (DIGEST, "")


def test_a_head_that_moved_since_it_was_judged_is_blocked(repo: Repo, commands: Commands) -> None:
    repo.commit({"train.py": "1"})
    looked_at(repo, commands)
    repo.commit({"train.py": "2"})
    blocked = again(repo, commands).blocked
    assert "was judged" in blocked
    assert "run `ci-mlops run` again" in blocked


def test_a_working_tree_with_changes_was_not_judged(repo: Repo, commands: Commands) -> None:
    repo.commit({"train.py": "1"})
    assert "had changes" in looked_at(repo, commands, tree="").blocked


def test_evidence_of_another_subject_is_blocked(repo: Repo, commands: Commands) -> None:
    repo.commit({"train.py": "1"})
    subject = evidence.Subject(name="model", sha256="e" * 64)
    bundle = Check(name="bundle", outcome="passed", observed=DIGEST, message="Made.")
    folder = repo.path.parent / "evidence"
    other = records.record("passed", stage="serving", checks=[bundle], subjects=[subject])
    looked_at(repo, commands)
    evidence.write(folder / "serving.json", other)
    assert again(repo, commands).blocked


@pytest.mark.parametrize(
    ("event", "ref", "said"),
    [
        ("pull_request", "refs/pull/7/merge", "a pull_request event may not release"),
        ("pull_request_target", "refs/heads/main", "may not release"),
        ("issue_comment", "refs/heads/main", "may not release"),
        ("workflow_dispatch", "refs/heads/feature", "only what is merged may be released"),
        ("push", "refs/tags/v1", "only what is merged may be released"),
    ],
)
def test_a_run_that_others_can_start_releases_nothing(
    tmp_path: Path, event: str, ref: str, said: str
) -> None:
    file = tmp_path / "event.json"
    file.write_text(json.dumps({"repository": {"default_branch": "main"}}), encoding="utf-8")
    workflow = Workflow(inside=True, event=event, ref=ref, event_file=file)
    with pytest.raises(ConfigError, match=said):
        require_trusted(workflow)
    require_trusted(Workflow(inside=True, event="push", ref="refs/heads/main", event_file=file))
