"""A program for the target `command`: servers of this host, each a process, by what a digest names.

`python local_slots.py FOLDER VERB [DIGEST FENCE]`. `kinds.json` in the folder says which kind of
server a digest is; `state.json` what runs, which of them clients reach, and the highest fence.
"""

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

TOP = Path(__file__).parents[1]
OVERTAKEN = 75


def url(state: dict[str, Any], digest: str) -> str:
    """Return a server's own address."""
    return f"http://127.0.0.1:{state['servers'][digest]['port']}"


def runs(state: dict[str, Any], digest: str) -> bool:
    """Whether a digest's process is there, which nobody waits for when it ends."""
    known = state["servers"].get(digest)
    if known is None:
        return False
    try:
        words = Path(f"/proc/{known['pid']}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return str(known["port"]).encode() in words


def end(state: dict[str, Any], digest: str) -> None:
    """Kill a digest's process."""
    if runs(state, digest):
        with contextlib.suppress(ProcessLookupError):
            os.kill(state["servers"][digest]["pid"], signal.SIGKILL)
    state["servers"].pop(digest, None)


def start(folder: Path, state: dict[str, Any], digest: str) -> None:
    """Start a digest, unless it runs; end what else idles."""
    for other in [one for one in state["servers"] if one not in {digest, state["live"]}]:
        end(state, other)
    if runs(state, digest):
        return
    kind = json.loads((folder / "kinds.json").read_text(encoding="utf-8"))[digest]
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    server = [sys.executable, "-m", "tests.unit.serving.faulty_server"]
    process = subprocess.Popen(
        [*server, kind, str(port), digest[7:19]],
        cwd=TOP,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    state["servers"][digest] = {"port": port, "pid": process.pid}


def main(folder: Path, verb: str, digest: str = "", fence: str = "0") -> int:
    """Do what a verb says, and print the answer."""
    path = folder / "state.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state: dict[str, Any] = {"live": "", "fence": 0, "front": "", "servers": {}}
        if path.exists():
            state |= json.loads(path.read_text(encoding="utf-8"))
        front = (folder / "front").read_text(encoding="utf-8")
        if verb == "live":
            live = state["live"]
            told = {"digest": live, "url": front, "own": url(state, live)} if live else {}
            print(json.dumps(told))
            return 0
        if int(fence) < state["fence"]:
            return OVERTAKEN
        state["fence"] = int(fence)
        answer = {}
        if verb == "start":
            start(folder, state, digest)
            answer = {"url": url(state, digest)}
        elif verb == "switch":
            state["live"] = digest
            answer = {"url": front}
        elif verb == "stop":
            end(state, digest)
        made = path.with_suffix(".half")
        made.write_text(json.dumps(state), encoding="utf-8")
        made.replace(path)
        print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
