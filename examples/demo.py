"""Two real pull requests, judged: one passes, one fails the four-fifths rule by race.

Makes a throwaway git repository from examples/loans, with a base commit and two branches, and runs
`ci-mlops run` on both. The reports are left in build/demo/{green,red}/.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

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
        commit(repository, "Judge loan applications")
        wrong = [name for name in CHANGES if not judged_as_expected(repository, name)]
    if wrong:
        print(f"demo: {', '.join(wrong)} was not judged as expected", file=sys.stderr)
    return 1 if wrong else 0


def judged_as_expected(repository: Path, name: str) -> bool:
    """Make one pull request, judge it, and keep its reports."""
    file, old, new, message = CHANGES[name]
    git(repository, "checkout", "--quiet", "-B", name, "main")
    path = repository / file
    text = path.read_text(encoding="utf-8")
    if old not in text:
        raise SystemExit(f"demo: {file} does not say {old!r}")
    path.write_text(text.replace(old, new), encoding="utf-8")
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
