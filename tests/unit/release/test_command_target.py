"""The user's own program as a target: what it is asked, and what becomes of its answers."""

import subprocess
import sys
from pathlib import Path

import pytest

from ci_mlops.command import Commands
from ci_mlops.errors import OutsideError
from ci_mlops.release.command_target import CommandTarget
from ci_mlops.release.ledger import ledger_at
from ci_mlops.release.promote import Release
from ci_mlops.release.settings import CommandTargetSettings
from ci_mlops.release.target import Overtaken, Slot, beside
from tests.unit.release.file_target import bad_if, good, intent

A = f"sha256:{'a' * 64}"
DEPLOY_PY = """\
import json, pathlib, sys

verb, digest, fence = [*sys.argv[1:], "", "0"][:3]
path = pathlib.Path("state.json")
state = json.loads(path.read_text()) if path.exists() else {"live": None, "idle": None, "fence": 0}
if verb != "live" and int(fence) < state["fence"]:
    print("somebody came later", file=sys.stderr)
    sys.exit(75)
if verb == "live":
    print("looking around")
    print(json.dumps({"digest": state["live"], "url": "http://127.0.0.1:80"} if state["live"] else {}))
    sys.exit(0)
state["fence"] = int(fence)
if verb == "start" and digest != state["live"]:
    state["idle"] = digest
if verb == "switch" and digest != state["live"]:
    state["live"], state["idle"] = digest, state["live"]
if verb == "stop" and digest == state["idle"]:
    state["idle"] = None
path.write_text(json.dumps(state))
print(json.dumps({"url": f"http://127.0.0.1:80{'80' if verb == 'start' else ''}"}))
"""


def target(folder: Path, commands: Commands, command: str, timeout_s: float = 60) -> CommandTarget:
    settings = CommandTargetSettings(target="command", command=command, timeout_s=timeout_s)
    return CommandTarget(settings=settings, root=folder, commands=commands)


def test_a_program_that_keeps_the_contract(tmp_path: Path, commands: Commands) -> None:
    (tmp_path / "deploy.py").write_text(DEPLOY_PY, encoding="utf-8")
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", str(remote)], check=True)
    made = target(tmp_path, commands, f"{sys.executable} deploy.py")
    assert made.live() is None
    with ledger_at(str(remote), commands) as ledger:
        release = Release(ledger=ledger, target=made, verify=good)
        first = release.promote(intent("p1", "a"), is_older=lambda _: False)
        assert [check.message for check in first.checks] == [
            "before: http://127.0.0.1:8080 answers",
            "after: http://127.0.0.1:80 answers",
        ]
        release.verify = bad_if("b", ["after"])
        assert release.promote(intent("p2", "b"), is_older=lambda _: False).kind == "rolled_back"
    assert made.live() == Slot(digest=A, url="http://127.0.0.1:80")
    with pytest.raises(Overtaken, match="somebody came later"):
        made.start(A, 1)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("echo no such image >&2; exit 3; :", "refused: no such image"),
        ("echo started; :", "its last line is no answer"),
        ('echo \'{"url": "file:///etc/passwd"}\'; :', "its last line is no answer: url"),
        ("echo '{}'; :", "`start` did not say the url"),
        (":", "`start` did not say the url"),
        ("no-such-program", "not found"),
    ],
)
def test_a_program_that_breaks_it(
    tmp_path: Path, commands: Commands, command: str, words: str
) -> None:
    with pytest.raises(OutsideError, match="start") as caught:
        target(tmp_path, commands, command).start(A, 1)
    assert words in str(caught.value)


def test_a_program_that_never_ends(tmp_path: Path, commands: Commands) -> None:
    with pytest.raises(OutsideError, match="`sleep 60; : stop` took over 0 s"):
        target(tmp_path, commands, "sleep 60; :", timeout_s=0.2).stop(A, 1)


def test_a_program_that_shares_the_traffic(tmp_path: Path, commands: Commands) -> None:
    asked = tmp_path / "asked"
    made = target(tmp_path, commands, f'echo "$@" >> {asked}; cat told; :')
    told = tmp_path / "told"
    told.write_text('{"percent": 33}', encoding="utf-8")
    assert made.share(A, 10, 7) == 33
    told.write_text("{}", encoding="utf-8")
    assert made.share(A, 10, 8) == 10, "what it was asked for, where it says nothing else"
    live = f'{{"digest": "{A}", "url": "http://front:80", "own": "http://a:80"}}'
    told.write_text(live, encoding="utf-8")
    assert made.own(A) == "http://a:80"
    assert made.own(f"sha256:{'b' * 64}") == ""
    told.write_text('{"percent": 101}', encoding="utf-8")
    with pytest.raises(OutsideError, match="its last line is no answer: percent"):
        made.share(A, 10, 8)
    said = asked.read_text(encoding="utf-8").splitlines()
    assert said[:2] == [f"share {A} 10 7", f"share {A} 10 8"]


def test_a_digest_is_no_shell_word(tmp_path: Path, commands: Commands) -> None:
    with pytest.raises(OutsideError):
        target(tmp_path, commands, ":").start("$(touch owned); touch owned", 1)
    assert not (tmp_path / "owned").exists()


def test_a_program_may_know_an_address_without_its_proxy(
    tmp_path: Path, commands: Commands
) -> None:
    answers = [
        ("{}", None),
        (f'{{"digest": "{A}", "url": "http://front"}}', Slot(digest=A, url="http://front")),
        (
            f'{{"digest": "{A}", "url": "http://front", "own": "http://own"}}',
            Slot(digest=A, url="http://own"),
        ),
    ]
    for printed, found in answers:
        (tmp_path / "answer").write_text(f"{printed}\n", encoding="utf-8")
        made = target(tmp_path, commands, "cat answer #")
        assert beside(made) == found
        live = made.live()
        assert (live and live.url) == (found and "http://front")
