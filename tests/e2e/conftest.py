"""A runner, a fake GitHub and a small project that is judged within a second."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Repo
from tests.e2e.runner import TOP, Ran, Runner
from tests.fake_github.server import FakeGitHub, serving
from tests.fake_github.world import Artifact, Pull, WorkflowRun, World, zipped

MLOPS_YML = """\
version: 1
project: {name}
data: {{test: test.csv, key: id, label: hired, sensitive: [sex]}}
model:
  task: binary
  predictions: {{test: predictions.csv}}
stages:
  policy: {{packs: [four-fifths]}}
"""
ROWS = 240


def project(name: str = "loans", *, fair: bool = True, folder: str = "") -> dict[str, str]:
    """Return the files of a project whose model selects both sexes alike, or one far less."""
    test = ["id,sex,hired"]
    predictions = ["id,score"]
    for n in range(ROWS):
        sex = ("female", "male")[n % 2]
        selected = n % 4 < 2 if fair else (n % 4 == 1 or n % 40 == 0)
        test.append(f"{n},{sex},{int(n % 4 < 2)}")
        predictions.append(f"{n},{0.75 if selected else 0.25}")
    at = f"{folder}/" if folder else ""
    return {
        f"{at}mlops.yml": MLOPS_YML.format(name=name),
        f"{at}test.csv": "\n".join(test) + "\n",
        f"{at}predictions.csv": "\n".join(predictions) + "\n",
    }


@dataclass(kw_only=True)
class Site:
    """A repository on a fake GitHub whose pull requests are judged by real workflow runs."""

    repo: Repo
    runner: Runner
    github: FakeGitHub
    pulls: int = 0
    heads: dict[str, str] = field(default_factory=dict)

    @property
    def world(self) -> World:
        """What the fake GitHub knows."""
        return self.github.world

    def start(self, files: dict[str, str], *starters: str) -> None:
        """Commit the first state of branch main, with starter workflows as init installs them."""
        from ci_mlops.init import SINGLE_WORKFLOW, TWO_WORKFLOWS

        names = SINGLE_WORKFLOW | TWO_WORKFLOWS
        for starter in starters:
            target = self.repo.path / ".github" / names[starter]
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(TOP / "workflows" / starter, target)
        self.repo.commit(files, message="A small project")
        self.repo.git("remote", "add", "origin", f"https://github.com/{self.world.repository}")

    def pull_request(
        self,
        files: dict[str, str],
        *,
        branch: str = "feature",
        title: str = "A change",
        head_repository: str = "",
    ) -> dict[str, Any]:
        """Open a pull request, leave its merge commit checked out, and return the event."""
        self.pulls += 1
        self.repo.git("checkout", "-q", "-b", branch, "main")
        self.world.pulls.append(
            Pull(
                number=self.pulls,
                head_sha="",
                base_sha=self.repo.git("rev-parse", "main"),
                head_branch=branch,
                head_repository=head_repository or self.world.repository,
            )
        )
        return self._pushed(self.world.pulls[-1], files, title)

    def push(self, event: dict[str, Any], files: dict[str, str]) -> dict[str, Any]:
        """Push more to a pull request, and return the new event."""
        pull = self.world.pulls[event["number"] - 1]
        self.repo.git("checkout", "-q", pull.head_branch)
        return self._pushed(pull, files, event["pull_request"]["title"])

    def _pushed(self, pull: Pull, files: dict[str, str], title: str) -> dict[str, Any]:
        repo = self.repo
        pull.head_sha = head = repo.commit(files, message=title)
        repo.git("checkout", "-q", "--detach", "main")
        repo.git("merge", "-q", "--no-ff", "-m", f"Merge {pull.head_branch}", pull.head_branch)
        pull.merge_commit_sha = merge = repo.git("rev-parse", "HEAD")
        self.world.commits |= {merge: [pull.base_sha, head], head: [pull.base_sha]}
        for commit in (pull.base_sha, head, merge):
            self.world.files[commit] = self.files_at(commit)
        self.heads[pull.head_branch] = head
        owner = pull.head_repository.partition("/")[0]
        target = {"full_name": self.world.repository}
        return {
            "action": "synchronize",
            "number": pull.number,
            "pull_request": {
                "number": pull.number,
                "title": title,
                "head": {
                    "sha": head,
                    "ref": pull.head_branch,
                    "repo": {"full_name": pull.head_repository, "owner": {"login": owner}},
                },
                "base": {"sha": pull.base_sha, "ref": "main", "repo": target},
            },
            "repository": {**target, "default_branch": "main"},
        }

    def files_at(self, commit: str) -> dict[str, str]:
        """Return the text of every file of a commit."""
        names = self.repo.git("ls-tree", "-r", "-z", "--name-only", commit).split("\0")
        return {n: self.repo.git("show", f"{commit}:{n}") + "\n" for n in names if n}

    def gate(self, event: dict[str, Any], **more: Any) -> Ran:
        """Run the workflow that judges."""
        return self.runner.run(self.repo, "pull_request", event, api_url=self.github.url, **more)

    def publish(
        self, event: dict[str, Any], *, conclusion: str = "success", tested: str = "pull_request"
    ) -> Ran:
        """Run the workflow that publishes, on what the one that judges left."""
        head, run_id = event["pull_request"]["head"], 900 + len(self.world.runs)
        self.world.runs.append(
            WorkflowRun(
                id=run_id,
                head_sha=head["sha"],
                head_branch=head["ref"],
                head_repository=head["repo"]["full_name"],
                conclusion=conclusion,
                event=tested,
                run_number=run_id,
            )
        )
        for folder in sorted(self.runner.artifacts.iterdir()):
            data = folder.read_bytes() if folder.is_file() else zipped(folder)
            self.world.artifacts.append(
                Artifact(id=self.world.new_id(), run_id=run_id, name=folder.stem, data=data)
            )
        self.repo.git("checkout", "-q", "main")
        told = {
            "action": "completed",
            "workflow_run": {
                "id": run_id,
                "event": tested,
                "conclusion": conclusion,
                "head_sha": head["sha"],
                "head_branch": head["ref"],
                "head_repository": head["repo"],
                "pull_requests": [],
            },
            "repository": event["repository"],
        }
        return self.runner.run(
            self.repo,
            "workflow_run",
            told,
            workflow="mlops-publish.yml",
            api_url=self.github.url,
            token=self.world.token,
        )


@pytest.fixture
def site(repo: Repo, tmp_path: Path) -> Iterator[Site]:
    """Return an empty repository with a runner and a fake GitHub."""
    with serving(World()) as github:
        yield Site(repo=repo, runner=Runner(home=tmp_path / "runner"), github=github)
        assert github.world.violations == [], json.dumps(github.world.violations, indent=1)
