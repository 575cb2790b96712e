"""Every way to take an input away or to damage it, one at a time: none may end green."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from tests import project
from tests.conftest import Repo
from tests.project import ci_mlops

FILES: Mapping[str, tuple[Mapping[str, str | None], str]] = {
    "no data file": ({"data/test.csv": None}, "data/test.csv"),
    "data file of bytes": ({"data/test.csv": "id,income\n\x00\n"}, "data/test.csv"),
    "no label column": ({"data/test.csv": "id,income,debt,sex\n1,2,3,male\n"}, "approved"),
    "no feature column": (
        {"data/train.csv": "id,income,sex,approved\n1,2,male,1\n2,2,male,0\n"},
        "debt",
    ),
    "no rows": ({"data/test.csv": "id,income,debt,sex,approved\n"}, "holds no rows"),
    "prepare fails": ({"train.py": "raise SystemExit('no licence')\n"}, "no licence"),
    "damaged model": ({"train.py": "open('model.joblib', 'w').write('x')\n"}, "model.joblib"),
    "empty model": ({"train.py": "open('model.joblib', 'w').close()\n"}, "0 bytes"),
    "no model": (
        {"train.py": "from pathlib import Path\nPath('model.joblib').unlink(missing_ok=True)\n"},
        "model.joblib",
    ),
    "bad config": ({"mlops.yml": "stages.latncy: 1\n"}, "mlops.yml:1"),
    "no config": ({"mlops.yml": None}, "mlops.yml"),
}
"""By what is broken: files to write, or to remove (None), in the working tree; words of the line."""


def _record(change: Callable[[dict[str, object]], None]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        record = json.loads(path.read_text(encoding="utf-8"))
        change(record)
        path.write_text(json.dumps(record), encoding="utf-8")

    return damage


def _without_a_check(record: dict[str, object]) -> None:
    checks = record["checks"]
    assert isinstance(checks, list)
    del checks[0]


RECORDS: Mapping[str, Callable[[Path], object]] = {
    "no record": Path.unlink,
    "torn record": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "empty record": lambda path: path.write_bytes(b""),
    "record of another subject": _record(
        lambda record: record.update(subjects=[{"name": "head.model", "sha256": "0" * 64}])
    ),
    "record without checks": _record(lambda record: record.update(checks=[], outcome="skipped")),
    "record without one check": _record(_without_a_check),
}
"""By what is broken: what happens to the record of stage policy after the run."""


RULES: Mapping[str, tuple[str, str]] = {
    "unknown pack": ("[four-fiths]", 'did you mean "four-fifths"'),
    "no policy file": ("[policies/ours.yml]", "policies/ours.yml"),
}
"""By what is broken: the packs of stage policy, on a first commit; words of the line."""


def run_with(repo: Repo, files: Mapping[str, str | None]) -> tuple[int, str]:
    """Run on the working tree with files written or removed; return exit code and output."""
    for name, text in files.items():
        path = repo.path / name
        path.unlink() if text is None else path.write_text(text, encoding="utf-8")
    code, output, errors = ci_mlops(repo.path, "run")
    return code, output + errors


def verdict_with(repo: Repo, damage: str) -> tuple[int, str]:
    """Run on whole inputs, damage the record of stage policy, and ask for the verdict."""
    ci_mlops(repo.path, "run")
    RECORDS[damage](repo.path / ".mlops/evidence/policy.json")
    code, output, errors = ci_mlops(repo.path, "verdict")
    return code, output + errors


def first_commit_with(path: Path, rule: str) -> tuple[int, str]:
    """Run on the first commit of a repository whose policy names what is not there."""
    repo = new_repo(path)
    text = (path / "mlops.yml").read_text(encoding="utf-8")
    changed = text.replace("[four-fifths, no-regression]", RULES[rule][0])
    assert changed != text
    repo.commit({"mlops.yml": changed})
    repo.git("checkout", "-q", "--orphan", "alone")
    repo.commit(message="the first commit")
    code, output, errors = ci_mlops(path, "run")
    return code, output + errors


def new_repo(path: Path) -> Repo:
    """Return a repository with the small project."""
    path.mkdir(parents=True)
    repo = Repo(path)
    repo.git("init", "-q", "-b", "main")
    project.make(repo)
    return repo
