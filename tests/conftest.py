"""What every test may use: the commands door, git repositories, small records."""

import gc
import os
import shutil
import subprocess
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

from ci_mlops.command import Commands
from tests import cluster

# What takes a moment longer on a busy machine is no fault.
settings.register_profile("ci-mlops", deadline=None)
settings.load_profile("ci-mlops")

IDENTITY = {
    "GIT_AUTHOR_NAME": "A Developer",
    "GIT_AUTHOR_EMAIL": "developer@example.org",
    "GIT_COMMITTER_NAME": "A Developer",
    "GIT_COMMITTER_EMAIL": "developer@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


def clean_environ(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment without what a CI runner or a git hook put there."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "GITHUB_", "CI"))}
    return {**kept, **IDENTITY, **(extra or {})}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say whether pods really ran, however quiet the rest is."""
    for line in dict.fromkeys(cluster.TOLD):
        loud = {"red": True, "bold": True} if line != cluster.REAL else {}
        terminalreporter.write_sep("=" if line == cluster.REAL else "!", line, **loud)


@pytest.fixture
def commands() -> Iterator[Commands]:
    """Return the door to other programs; whatever still runs afterwards is stopped."""
    door = Commands(environ=clean_environ())
    yield door
    door.stop_all()


@dataclass(frozen=True)
class Repo:
    """A git repository of a test."""

    path: Path

    def git(self, *arguments: str) -> str:
        """Run git and return what it printed."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.path,
            env=clean_environ(),
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def write(self, files: Mapping[str, str]) -> None:
        """Write files into the working tree."""
        for name, text in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def commit(self, files: Mapping[str, str] | None = None, message: str = "change") -> str:
        """Commit everything, and return the commit's hash."""
        self.write(files or {})
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    """Return an empty repository on branch main."""
    path = tmp_path / "repo"
    path.mkdir()
    made = Repo(path)
    made.git("init", "-q", "-b", "main")
    return made


BASE_IMAGE = "ci-mlops-test-base:bookworm"
LEFT_OUT = ("dev", "proc", "sys", "usr/share/doc", "usr/share/locale", "usr/share/man")


@pytest.fixture(scope="session")
def serving_base() -> str:
    """Return an image with Debian's Python alone, made once; skips where no daemon answers."""
    import docker
    from docker.errors import DockerException, ImageNotFound

    try:
        with warnings.catch_warnings():
            # The SDK leaves a socket open where nobody listens.
            warnings.simplefilter("ignore", ResourceWarning)
            try:
                client = docker.from_env(timeout=600)
            finally:
                gc.collect()
    except DockerException as fault:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI has no Docker daemon: {fault}")
        pytest.skip("no Docker daemon answers")
    try:
        try:
            client.images.get(BASE_IMAGE)
        except ImageNotFound:
            archive = _base_archive()
            repository, _, tag = BASE_IMAGE.partition(":")
            client.api.import_image_from_file(str(archive), repository=repository, tag=tag)
    finally:
        client.close()
    return BASE_IMAGE


def _base_archive() -> Path:
    """Return the file system of the base image as an archive, made once by debootstrap."""
    cache = Path(__file__).parents[1] / ".cache"
    archive = cache / "base-bookworm.tar"
    if archive.exists():
        return archive
    if shutil.which("debootstrap") is None and os.environ.get("CI") != "true":
        pytest.skip("debootstrap is not installed")
    root = cache / "base-bookworm"
    shutil.rmtree(root, ignore_errors=True)
    cache.mkdir(exist_ok=True)
    wanted = "--include=ca-certificates,python3,python3-venv"
    as_root = [] if os.getuid() == 0 else ["sudo"]
    made = ["debootstrap", "--variant=minbase", wanted, "bookworm", str(root)]
    subprocess.run([*as_root, *made], check=True, capture_output=True, timeout=600)
    left_out = [
        f"--exclude=./{name}/*" for name in (*LEFT_OUT, "var/cache/apt", "var/lib/apt/lists")
    ]
    part = archive.with_suffix(".part")
    pack = ["tar", "-C", str(root), "--sort=name", "--mtime=@0", *left_out, "-cf", str(part), "."]
    subprocess.run([*as_root, *pack], check=True, capture_output=True)
    subprocess.run([*as_root, "rm", "-rf", str(root)], check=True)
    part.rename(archive)
    return archive


PROXY_IMAGE = "ci-mlops-test-proxy:bookworm"
PROXY_DOCKERFILE = """\
ARG BASE
FROM ${BASE}
RUN mkdir -p /var/log/apt && apt-get update -qq \\
    && apt-get install -qq -y --no-install-recommends haproxy && rm -rf /var/lib/apt/lists/*
USER haproxy
"""


@pytest.fixture(scope="session")
def proxy_image(serving_base: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return an image of Debian's HAProxy, made once."""
    import docker
    from docker.errors import ImageNotFound

    client = docker.from_env(timeout=600)
    try:
        client.images.get(PROXY_IMAGE)
    except ImageNotFound:
        folder = tmp_path_factory.mktemp("proxy")
        (folder / "Dockerfile").write_text(PROXY_DOCKERFILE, encoding="utf-8")
        arguments = {"BASE": serving_base}
        client.images.build(
            path=str(folder), buildargs=arguments, tag=PROXY_IMAGE, network_mode="host", rm=True
        )
    finally:
        client.close()
    return PROXY_IMAGE
