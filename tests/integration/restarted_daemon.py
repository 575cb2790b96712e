"""Promotions on a Docker daemon of their own that is restarted; run as root, as a program.

`python -m tests.integration.restarted_daemon FOLDER PROXY IMAGE IMAGE` takes the images from the
daemon of this machine, and says "everything held" where it did.
"""

import dataclasses
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import docker_release
from benchmarks.release_crashes import opened
from ci_mlops.containers import Docker
from ci_mlops.errors import OutsideError
from tests.integration.test_crashes import answers, asked, is_live, made, story


class SecondDaemon:
    """A Docker daemon beside the one of this machine, which a test may restart."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = f"unix://{folder}/d.sock"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        places = {"data-root": "data", "exec-root": "exec", "pidfile": "pid"}
        flags = [f"--{flag}={self.folder / name}" for flag, name in places.items()]
        flags += ["--bridge=none", f"--host={self.address}"]
        flags += ["--default-address-pool=base=10.213.0.0/16,size=24"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["dockerd", *flags], stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            with socket.socket(socket.AF_UNIX) as tried:
                if tried.connect_ex(self.address.removeprefix("unix://")) == 0:
                    return
            time.sleep(0.1)
        raise AssertionError((self.folder / "log").read_text(encoding="utf-8")[-2000:])

    def stop(self) -> None:
        """End it as a service manager does, with every container; it removes its own files."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        self.process.wait(120)


@contextmanager
def second_daemon() -> Iterator[SecondDaemon]:
    # A socket's path may not be longer than a hundred letters, as a test's folder often is.
    folder = Path(tempfile.mkdtemp(prefix="dockerd-"))
    found = SecondDaemon(folder)
    try:
        found.start()
        yield found
    finally:
        found.stop()
        shutil.rmtree(folder)


def main(folder: str, proxy_image: str, *images: str) -> None:
    """Stop the daemon before a switch, go on with the same command, restart it at rest."""
    with second_daemon() as second:
        site = dataclasses.replace(made("docker", Path(folder)), daemon=second.address)
        with (
            Docker.connected(os.environ) as first,
            Docker.connected(os.environ, second.address) as other,
        ):
            proxy = first.image(proxy_image).digest
            other.copy(proxy, first)
            other.client.images.get(proxy).tag(*proxy_image.split(":"))

        def told(step: str) -> None:
            if step == "switch":
                second.stop()

        with opened(site) as release:
            ended = asked(release, "promote", "p0", images[0])
            assert ended.kind == "promoted", ended.written.entry.reason
            release.told = told
            try:
                raise AssertionError(asked(release, "promote", "p1", images[1]))
            except OutsideError as fault:
                assert "\n" not in str(fault)
            assert story(release, "p1") == ["intent"]
        second.start()
        with opened(site) as release:
            ended = asked(release, "promote", "p1", images[1])
            assert ended.kind == "promoted", ended.written.entry.reason
            assert story(release, "p1") == ["intent", "promoted"]
            assert is_live(release, images[1])
        second.stop()
        second.start()
        assert answers(site, within_s=60) == docker_release.RIGHT
        with opened(site) as release:
            assert is_live(release, images[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.write("everything held\n")
