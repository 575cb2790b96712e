"""GitHub's side of a test: `act` runs real workflow files on real repositories, without a network.

What act does not emulate (permissions, trigger filters, concurrency) is checked on the files
themselves and refused by the fake API. Its own artifact server does not speak to upload-artifact
(nektos/act#6021), and `uses: $/…` and `environment.deployment` (act 0.2.89) are unknown to it: they
are replaced in a copy. All jobs of a machine share one copy of each action, which act writes anew
under those that still run it: so jobs, and those of a matrix, run one after another.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actions import install
from ci_mlops import REPOSITORY, __version__
from tests.conftest import IDENTITY, Repo

TOP = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
USES = re.compile(r"uses: (actions/[\w/-]+@[0-9a-f]{40})")
STUBS = {
    "upload-artifact": """\
inputs: {name: {required: true}, path: {required: true}, include-hidden-files: {}, if-no-files-found: {}}
runs:
  using: composite
  steps:
    - shell: bash
      env: {NAME: "${{ inputs.name }}", FILES: "${{ inputs.path }}"}
      run: |
        python3 -I - <<'END'
        import glob, os, shutil
        from pathlib import Path
        patterns = [one.strip() for one in os.environ["FILES"].splitlines() if one.strip()]
        # Its root is what the paths have in common before their first wildcard.
        roots = [one.partition("*")[0].rstrip("/") for one in patterns]
        root = os.path.commonpath([os.path.dirname(n) if os.path.isfile(n) else n for n in roots])
        store = Path(os.environ["ARTIFACT_STORE"], os.environ["NAME"])
        store.mkdir(parents=True, exist_ok=True)
        for file in (one for pattern in patterns for one in glob.glob(pattern)):
            target = store / os.path.relpath(file, root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        END
""",
    "download-artifact": """\
inputs: {name: {required: true}, path: {required: true}}
runs:
  using: composite
  steps:
    - shell: bash
      env: {NAME: "${{ inputs.name }}", INTO: "${{ inputs.path }}"}
      run: mkdir -p "$INTO" && cp -r "$ARTIFACT_STORE/$NAME/." "$INTO/"
""",
    "cache": """\
inputs: {path: {required: true}, key: {required: true}, restore-keys: {}}
runs:
  using: composite
  steps:
    - {shell: bash, env: {KEY: "${{ inputs.key }}"}, run: 'echo "cache key $KEY"'}
""",
}


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a workflow run did, from act's log."""

    code: int
    lines: tuple[Mapping[str, Any], ...]
    text: str

    def jobs(self) -> dict[str, str]:
        """Return the result of each job, as GitHub names it; one that was skipped is not there."""
        return {
            " ".join(filter(None, (line["jobID"], line["matrix"].get("name")))): self._result(line)
            for line in self.lines
            if "jobResult" in line
        }

    def _result(self, ended: Mapping[str, Any]) -> str:
        # act keeps one result for all jobs of a matrix, so whichever ends last shows the worst.
        own = [one for one in self.lines if one.get("job") == ended["job"]]
        failed = any(one.get("stepResult") == "failure" for one in own)
        if not ended["matrix"]:
            return str(ended["jobResult"])
        return "failure" if failed else "success"

    def outputs(self) -> dict[str, str]:
        """Return every output that a step set, the last one of a name."""
        return {
            line["name"]: line["arg"] for line in self.lines if line.get("command") == "set-output"
        }

    def said(self) -> str:
        """Return what the steps printed."""
        return "".join(line["msg"] for line in self.lines if line.get("raw_output"))


@dataclass(kw_only=True)
class Runner:
    """A runner with our actions at hand, below one folder."""

    home: Path
    environ: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Copy ourselves, write the stubs, and make the environment look installed."""
        self.artifacts.mkdir(parents=True)
        _copy_ourselves(self.ourselves)
        for name, text in STUBS.items():
            folder = self.home / "stubs" / name
            for below in (folder, folder / "restore", folder / "save"):
                below.mkdir(parents=True, exist_ok=True)
                (below / "action.yml").write_text(f"name: {name}\n{text}", encoding="utf-8")
        self.environment = self.home / "cache" / "ci-mlops" / f"environment-{install.lock_key(TOP)}"
        stand_in(self.environment)

    @property
    def artifacts(self) -> Path:
        """Where artifacts are kept, a folder for each."""
        return self.home / "artifacts"

    @property
    def ourselves(self) -> Path:
        """The copy of this repository that the workflows call."""
        return self.home / "ourselves"

    def run(
        self,
        repo: Repo,
        event: str,
        payload: Mapping[str, Any],
        *,
        workflow: str = "mlops.yml",
        token: str = "ghs_0123456789abcdefghijklmnopqrstuvwxyz",
        api_url: str = "http://127.0.0.1:9",
        environ: Mapping[str, str] | None = None,
    ) -> Ran:
        """Run one workflow file of a repository for an event."""
        (self.home / "event.json").write_text(json.dumps(payload), encoding="utf-8")
        local = {
            f"{REPOSITORY}@v{__version__}": self.ourselves,
            f"{REPOSITORY}@SELF": self.ourselves,
            **{uses: self.home / "stubs" / _repository(uses) for uses in self._pins(repo)},
        }
        variables = {
            "ARTIFACT_STORE": str(self.artifacts),
            "GITHUB_API_URL": api_url,
            "XDG_CACHE_HOME": str(self.home / "cache"),
            **(environ or {}),
        }
        command = [str(BIN / "act"), event, "--workflows", f".github/workflows/{workflow}"]
        command += ["--platform", "ubuntu-24.04=-self-hosted", "--json", "--no-cache-server"]
        command += ["--concurrent-jobs", "1"]
        command += ["--action-cache-path", str(self.home / "actions")]
        command += ["--eventpath", str(self.home / "event.json"), "--secret", "GITHUB_TOKEN"]
        command += [f"--env={name}={value}" for name, value in variables.items()]
        command += [f"--local-repository={uses}={path}" for uses, path in sorted(local.items())]
        done = subprocess.run(
            command,
            cwd=repo.path,
            env={
                "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
                "HOME": str(self.home),
                "GITHUB_TOKEN": token,
                **IDENTITY,
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        text = done.stdout + done.stderr
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        return Ran(code=done.returncode, lines=tuple(lines), text=text)

    def _pins(self, repo: Repo) -> set[str]:
        """Return the foreign actions in use, by repository and commit."""
        files = [*self.ourselves.rglob("*.yml"), *repo.path.glob(".github/workflows/*.yml")]
        found = {pin for f in files for pin in USES.findall(f.read_text(encoding="utf-8"))}
        named = {re.sub(r"^(actions/[\w-]+)(?:/[\w-]+)?@", r"\1@", pin) for pin in found}
        return {pin for pin in named if _repository(pin) in STUBS}


def stand_in(environment: Path) -> None:
    """Make a complete environment for the action out of the one that runs these tests."""
    python = environment / "python" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    (environment / "complete").write_text(install.lock_key(TOP), encoding="utf-8")


def _repository(uses: str) -> str:
    return uses.partition("@")[0].split("/")[1]


def _copy_ourselves(target: Path) -> None:
    for name in ("action.yml", "actions", ".github", "ci_mlops", "requirements", "policies"):
        source = TOP / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target / name)
    for file in target.rglob("*.yml"):
        text = file.read_text(encoding="utf-8")
        text = re.sub(r"uses: \$(/\S*)", rf"uses: {REPOSITORY}\1@SELF", text)
        text = re.sub(r"\n +deployment: false.*", "", text)
        text = text.replace("strategy:\n", "strategy:\n      max-parallel: 1\n")
        file.write_text(text, encoding="utf-8")
