"""A fake GitHub as a process of its own.

    python -m tests.fake_github [--world world.json] [--state state.json] [--port 0]

prints its port, serves until it is told to stop (SIGTERM or Ctrl-C), and then writes what it knows to
--state; `GET /_state` tells the same at any time.
"""

import argparse
import json
import signal
import threading
from pathlib import Path

from tests.fake_github.server import serving
from tests.fake_github.world import World


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--world", type=Path)
    parser.add_argument("--state", type=Path)
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    text = arguments.world.read_text(encoding="utf-8") if arguments.world else "{}"
    world = World.from_document(json.loads(text))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with serving(world, arguments.port) as github:
        print(github.server.server_address[1], flush=True)  # noqa: T201 - for who started it
        stop.wait()
    if arguments.state:
        arguments.state.write_text(json.dumps(world.state(), indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
