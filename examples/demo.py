"""Two real pull requests, judged: one passes and is released, one fails the four-fifths rule.

Makes a throwaway git repository from examples/loans, with a base commit and two branches, and runs
`ci-mlops run` on both. The green one is merged, promoted to a port of this host, and asked. The
reports are left in build/demo/{green,red}/.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

from ci_mlops import config
from ci_mlops.release.settings import ProcessTargetSettings
from ci_mlops.serving import bundle, worker
from ci_mlops.serving.client import Client, infer_path
from ci_mlops.serving.conformance import predictions

TOP = Path(__file__).resolve().parents[1]
LOANS = TOP / "examples" / "loans"
OUTPUT = TOP / "build" / "demo"
IDENTITY = ["-c", "user.name=Demo", "-c", "user.email=demo@example.org"]
CHANGES = {
    "green": ("train.py", "C=1.0", "C=0.5", "Regularise a little more"),
    "red": ("mlops.yml", "threshold: 0.5", "threshold: 0.8", "Approve only the safest"),
}
EXPECTED = {"green": 0, "red": 1}


def main() -> int:
    """Judge both pull requests; 0 only if each verdict is the expected one, for its reason."""
    environment = project_environment()
    with tempfile.TemporaryDirectory(prefix="ci-mlops-demo-") as folder:
        repository = Path(folder) / "loans"
        shutil.copytree(LOANS, repository, ignore=shutil.ignore_patterns(".venv", ".mlops"))
        (repository / ".venv").symlink_to(environment, target_is_directory=True)
        git(repository, "init", "--quiet", "--initial-branch=main")
        replace(repository / "mlops.yml", "port: 8080", f"port: {free_port()}")
        commit(repository, "Judge loan applications")
        wrong = [name for name in CHANGES if not judged_as_expected(repository, name)]
        if wrong:
            print(f"demo: {', '.join(wrong)} was not judged as expected", file=sys.stderr)
        elif not released(repository):
            wrong = ["green"]
            print("demo: the green one could not be released", file=sys.stderr)
    return 1 if wrong else 0


def judged_as_expected(repository: Path, name: str) -> bool:
    """Make one pull request, judge it, and keep its reports."""
    file, old, new, message = CHANGES[name]
    git(repository, "checkout", "--quiet", "-B", name, "main")
    replace(repository / file, old, new)
    commit(repository, message)
    print(f"\n── pull request {name!r}: {message} ({old} → {new})", flush=True)
    started = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-m", "ci_mlops", "run", "--base", "main"], cwd=repository, check=False
    )
    print(f"   {time.monotonic() - started:.0f} s, exit code {run.returncode}")
    target = OUTPUT / name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(repository / ".mlops" / "evidence", target / "evidence")
    for report in ("report.md", "report.html"):
        shutil.copyfile(repository / ".mlops" / report, target / report)
        print(f"   {os.path.relpath(target / report)}")
    return run.returncode == EXPECTED[name] and (name == "green" or fails_by_race(target))


def released(repository: Path) -> bool:
    """Merge the green pull request, judge the merge, promote it, and ask what is live."""
    git(repository, "checkout", "--quiet", "main")
    git(repository, *IDENTITY, "merge", "--quiet", "--no-ff", "-m", "Merge it", "green")
    print("\n── merged 'green', and released to a port of this host", flush=True)
    try:
        for verb in (["run"], ["promote", "production", "--reason", "the demo"], ["status"]):
            command = [sys.executable, "-m", "ci_mlops", *verb]
            if subprocess.run(command, cwd=repository, check=False).returncode:
                return False
        return asked(repository)
    finally:
        for control in repository.glob(".mlops/release/production/run/*.sock"):
            with contextlib.suppress(OSError):
                worker.ask(control, "stop")


def asked(repository: Path) -> bool:
    """Send the recorded rows to what is live; whether each got the answer that was judged."""
    mlops = config.load(repository / "mlops.yml").config
    (folder,) = repository.glob(".mlops/release/production/bundles/*")
    target = mlops.release["production"]
    assert isinstance(target, ProcessTargetSettings)
    with contextlib.closing(Client(f"http://{target.host}:{target.port}")) as live:
        recorded = bundle.read_recorded(folder)
        check = predictions(live, model=mlops.project, recorded=recorded, tolerance=1e-6)
        print(f"   {live.url}{infer_path(mlops.project)}: {check.message}")
    return check.outcome == "passed"


def replace(path: Path, old: str, new: str) -> None:
    """Change a text in a file."""
    text = path.read_text(encoding="utf-8")
    if old not in text:
        raise SystemExit(f"demo: {path.name} does not say {old!r}")
    path.write_text(text.replace(old, new), encoding="utf-8")


def free_port() -> int:
    """Return a port of this host that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def fails_by_race(target: Path) -> bool:
    """Whether the four-fifths rule by race is among what failed."""
    record = json.loads((target / "evidence" / "policy.json").read_text(encoding="utf-8"))
    failed = [c for c in record["checks"] if c["outcome"] == "failed"]
    return any((c["name"], c["slice"]) == ("four-fifths", "race") for c in failed)


def project_environment() -> Path:
    """Return the example's own virtual environment, made once for each lock file."""
    lock = LOANS / "requirements.txt"
    key = sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = TOP / ".cache" / f"loans-{key}"
    if not (folder / "complete").exists():
        from uv import find_uv_bin

        uv = find_uv_bin()
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
        install = [uv, "pip", "install", "--quiet", "--python", folder / "bin" / "python"]
        subprocess.run([*install, "--compile-bytecode", "--require-hashes", "-r", lock], check=True)
        (folder / "complete").touch()
    return folder


def commit(repository: Path, message: str) -> None:
    """Commit everything."""
    git(repository, "add", "--all")
    git(repository, *IDENTITY, "commit", "--quiet", "--message", message)


def git(repository: Path, *arguments: str) -> None:
    """Run git, quietly."""
    subprocess.run(["git", *arguments], cwd=repository, check=True)


if __name__ == "__main__":
    sys.exit(main())
