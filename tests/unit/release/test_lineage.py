"""`ci-mlops why`: what the evidence here, the ledger and git say together, and what is unknown."""

import json
from pathlib import Path

import pytest

from ci_mlops.__main__ import main
from ci_mlops.command import Commands
from ci_mlops.evidence import Check, Subject, file_sha256, text_sha256, write
from ci_mlops.release.entry import Entry
from ci_mlops.release.ledger import ledger_at
from tests import records
from tests.conftest import Repo, clean_environ

MODEL = "the bytes of a model"
BUNDLE = f"sha256:{'b' * 64}"


class Site:
    """A repository with evidence of one run of its head."""

    def __init__(self, repo: Repo, commands: Commands) -> None:
        self.repo, self.commands = repo, commands
        self.base = repo.commit({"model.bin": "old"})
        self.head = repo.commit({"model.bin": MODEL})
        self.folder = repo.path / ".mlops" / "evidence"
        self.judged()

    def judged(self, **changes: object) -> None:
        made = records.record(
            "passed",
            stage="serving",
            checks=[Check(name="bundle", outcome="passed", message="Made.", observed=BUNDLE)],
        )
        write(self.folder / "serving.json", made)
        subjects = (
            Subject(name="head.model", sha256=text_sha256(MODEL)),
            Subject(name="head.data.test", sha256="d" * 64),
            Subject(name="head.code", sha256="e" * 64),
            Subject(name="base.model", sha256="f" * 64),
        )
        values = {
            "head": self.head,
            "base": self.base,
            "tree": "c" * 40,
            "stages": ["serving"],
            "records": {"serving": file_sha256(self.folder / "serving.json")},
            "subjects": subjects,
        }
        write(self.folder / "run.json", records.run(**{**values, **changes}))

    def promoted(self) -> None:
        with ledger_at(str(self.repo.path), self.commands) as ledger:
            for kind in ("intent", "promoted"):
                ledger.append(
                    Entry(
                        kind=kind,
                        id="p1",
                        environment="production",
                        to=BUNDLE,
                        who="ann",
                        when="2026-11-20T10:00:00Z",
                        commit=self.head,
                        evidence={"run": file_sha256(self.folder / "run.json")},
                        subjects={"model": text_sha256(MODEL)},
                    )
                )


@pytest.fixture
def site(repo: Repo, commands: Commands, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.chdir(repo.path)
    return Site(repo, commands)


def why(capsys: pytest.CaptureFixture[str], what: str, *flags: str) -> str:
    assert main(("why", what, *flags), clean_environ()) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("what", ["model.bin", BUNDLE, "b" * 12, text_sha256(MODEL)])
def test_a_model_and_a_bundle(site: Site, capsys: pytest.CaptureFixture[str], what: str) -> None:
    told = why(capsys, what)
    assert f"data.test sha256:{'d' * 64}" in told
    assert f"model sha256:{text_sha256(MODEL)}" in told
    assert f"bundle {BUNDLE}" in told
    assert f"commit {site.head}\n" in told
    assert f"tree {'c' * 40}" in told
    assert "serving passed, evidence sha256:" in told
    assert "in no workflow, 2026-11-01T10:00:00Z" in told
    assert "trust unknown: it ran outside of a workflow" in told
    assert "A Developer <developer@example.org>" in told
    assert "releases none in the ledger" in told


@pytest.mark.parametrize("what", [".mlops/report.html", ".mlops", ".", ".mlops/evidence/run.json"])
def test_a_report_and_a_folder_of_evidence(
    site: Site, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    site.repo.write({".mlops/report.html": "<html>"})
    assert f"bundle {BUNDLE}" in why(capsys, what)


def test_a_release_and_who_trusted_it(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.promoted()
    for what in ("model.bin", "production", ".mlops"):
        told = why(capsys, what)
        assert "trusted: entry 2 of the ledger was written from it" in told
        assert "└─ releases 2" in told
        assert "production: promoted 2026-11-20 10:00:00 UTC (entry 2)" in told
        assert "by                     ann" in told
        assert "commits by             A Developer <developer@example.org>" in told
    found = json.loads(why(capsys, "production", "--json"))
    assert found["judged"]["data"] == [f"data.test sha256:{'d' * 64}"]
    assert found["people"] == ["A Developer <developer@example.org>"]
    assert [one["kind"] for one in found["releases"]] == ["promoted", "intent"]


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ("push", "a trusted event: push on refs/heads/main, by its own word"),
        ("pull_request", "not trusted: pull_request on refs/heads/main, by its own word"),
    ],
)
def test_what_the_run_says_of_itself(
    site: Site, capsys: pytest.CaptureFixture[str], event: str, said: str
) -> None:
    site.judged(
        workflow="https://github.com/a/b/actions/runs/1", event=event, ref="refs/heads/main"
    )
    told = why(capsys, "model.bin")
    assert said in told
    assert "https://github.com/a/b/actions/runs/1" in told


def test_what_is_unknown_is_said_to_be(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.judged(base="", head=f"{'9' * 40}+changes", tree="", subjects=())
    (site.folder / "serving.json").write_text("{}")
    told = why(capsys, ".mlops")
    assert "├─ data    unknown" in told
    assert "tree unknown" in told
    assert "base unknown" in told
    assert "(with changes that are in no commit)" in told
    assert "serving unreadable" in told
    assert "├─ people  unknown" in told


def test_a_release_whose_evidence_is_elsewhere(
    site: Site, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    site.promoted()
    told = why(capsys, "production", "--evidence", str(tmp_path))
    assert "policy, stages         unknown: its evidence is not here" in told
    site.judged(started="2026-11-02T10:00:00Z", subjects=(), stages=[], records={})
    assert "unknown: its evidence is not here" in why(capsys, "production")


def test_many_people_are_counted(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(12):
        site.repo.git("config", "user.name", "unused")
        author = f"--author=Person {number} <p{number}@example.org>"
        site.repo.git("commit", "-q", "--allow-empty", "-m", "work", author)
    site.head = site.repo.git("rev-parse", "HEAD")
    site.judged()
    told = why(capsys, "model.bin")
    assert "Person 11 <p11@example.org>" in told
    assert "and 3 more" in told
