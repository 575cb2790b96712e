"""CML posts the comment. A stub stands in for it: it records what it was given, and fails on demand.

The real program is not run here: it needs Node and a network.
"""

import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from ci_mlops.__main__ import main
from tests.fake_github import FakeGitHub, World
from tests.unit.publish.situations import check, environ, evidence_folder, record, run, yml

STUB = """\
#!{python}
# A stub of CML: it posts nothing.
import json, os, pathlib, sys
if sys.argv[1:] == ["--version"]:
    print("0.20.6")
    sys.exit(0)
report = pathlib.Path(sys.argv[-1]).read_text(encoding="utf-8")
told = {{"arguments": sys.argv[1:], "token": os.environ.get("REPO_TOKEN"), "report": report}}
pathlib.Path({told!r}).write_text(json.dumps(told), encoding="utf-8")
print({errors!r}.replace("TOKEN", os.environ.get("REPO_TOKEN", "")), file=sys.stderr)
sys.exit({code})
"""


def publish(
    github: FakeGitHub,
    folder: Path,
    *,
    via: tuple[str, ...] = ("--via", "cml"),
    more: str = "",
    stub: bool = True,
    errors: str = "",
    code: int = 0,
    **checks: Any,
) -> int:
    program = folder / "bin" / "cml"
    program.parent.mkdir()
    if stub:
        values = {"python": sys.executable, "told": str(folder / "told.json")}
        program.write_text(STUB.format(**values, errors=errors, code=code), encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    config = folder / "mlops.yml"
    config.write_text(yml(more=more), encoding="utf-8")
    mlops = evidence_folder(folder, run(), record(check(**checks)))
    flags = ["--config", str(config), "--folder", str(mlops), *via]
    return main(["publish", *flags], {**environ(github, folder), "PATH": str(program.parent)})


def told(folder: Path) -> Any:
    return json.loads((folder / "told.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "how", [{"via": ("--via", "cml")}, {"via": (), "more": "publish: {via: cml}"}]
)
def test_cml_is_told_whom_to_update_and_never_to_upload(
    github: FakeGitHub,
    world: World,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    how: dict[str, Any],
) -> None:
    assert publish(github, tmp_path, **how) == 1
    known = told(tmp_path)
    assert known["arguments"][:5] == [
        "comment",
        "update",
        "--publish=false",
        "--target=pr/7",
        "--watermark-title=ci-mlops:loans",
    ]
    assert world.token not in " ".join(known["arguments"])
    assert known["token"] == world.token
    assert known["report"].startswith("<!-- ci-mlops:loans -->\n## ❌ loans")
    assert "::notice::the comment was posted by cml 0.20.6" in capsys.readouterr().out
    assert world.comments == []
    assert world.check_runs[0]["conclusion"] == "failure"


def test_the_report_leaves_room_for_the_watermark(github: FakeGitHub, tmp_path: Path) -> None:
    publish(github, tmp_path, name="x" * 200, slice="y" * 2000, message="z" * 2000)
    assert len(told(tmp_path)["report"]) <= 65_536 - 1000


def test_a_cml_that_fails_is_one_line_and_changes_no_verdict(
    github: FakeGitHub, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dump = (
        "started\n{\n  headers: { authorization: 'token TOKEN' },\n}\nHttpError: Resource not accessible by integration TOKEN\n"
        + "x" * 7000
    )
    assert publish(github, tmp_path, errors=dump, code=1, outcome="passed") == 0
    (line,) = [one for one in capsys.readouterr().out.splitlines() if one.startswith("::warning")]
    assert "cml 0.20.6 could not comment: HttpError: Resource not accessible" in line
    assert world.token not in line
    assert len(line) < 500


def test_without_cml_the_line_says_how_to_get_it(
    github: FakeGitHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert publish(github, tmp_path, stub=False, outcome="passed") == 0
    assert "npm install --global @dvcorg/cml@0.20.6" in capsys.readouterr().out
