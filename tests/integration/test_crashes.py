"""Whatever dies under a release, the same command goes on, and the ledger is what answers."""

import dataclasses
import gc
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import docker_release
from benchmarks.release_crashes import Site, opened
from ci_mlops.errors import OutsideError
from ci_mlops.release import docker_target
from ci_mlops.release.docker_target import DIGEST, DockerTarget
from ci_mlops.release.haproxy import HOLD, LOCK_WITHIN_S
from ci_mlops.release.promote import STEPS, Ended, Release
from ci_mlops.release.settings import VerifySettings
from ci_mlops.release.target import Overtaken
from ci_mlops.release.verify import Verifier
from ci_mlops.serving.client import Client, Unanswered, until_ready
from tests import registry
from tests.disks import filled, small_disk
from tests.integration.test_docker_target import NotHere, host
from tests.relay import Relay
from tests.unit.release.file_target import intent
from tests.unit.serving.test_conformance import INPUTS, free_port

TOP = Path(__file__).parents[2]
HOLDER = """
import sys, time
from pathlib import Path
from benchmarks.release_crashes import Site, opened

with opened(Site("docker", Path(sys.argv[1]), int(sys.argv[2]))) as release:
    with release.target._obeying(1):
        print("held", flush=True)
        time.sleep(600)
"""


def made(kind: str, folder: Path) -> Site:
    subprocess.run(["git", "init", "-q", "--bare", str(folder / "remote.git")], check=True)
    return Site(kind, folder, free_port())


@pytest.fixture
def site(tmp_path: Path, proxy_image: str, images: list[str]) -> Iterator[Site]:
    assert proxy_image
    assert images
    found = made("docker", tmp_path)
    with host(found.name):
        yield found


def asked(release: Release, verb: str, name: str, digest: str) -> Ended:
    wanted = intent(name, "0").model_copy(update={"to": digest})
    if verb == "promote":
        return release.promote(wanted, is_older=lambda _: False, again=True)
    return release.roll_back(wanted)


def story(release: Release, name: str) -> list[str]:
    return [str(one.entry.kind) for one in release.ledger.entries() if one.entry.id == name][::-1]


def target_of(release: Release) -> DockerTarget:
    assert isinstance(release.target, DockerTarget)
    return release.target


def is_live(release: Release, digest: str) -> bool:
    """Whether the ledger, the proxy and the answers agree on what is live."""
    state = release.ledger.state().environment("production")
    live = release.target.live()
    assert state.pending is None
    return state.live == digest and live is not None and live.digest == digest


def answers(site: Site, *, within_s: float = 0) -> list[float]:
    end = time.monotonic() + within_s
    while True:
        client = Client(f"http://127.0.0.1:{site.port}", timeout_s=10)
        try:
            return list(client.predictions("twice", INPUTS)["twice"])
        except Unanswered:
            if time.monotonic() > end:
                raise
        finally:
            client.close()
        time.sleep(0.1)


def test_killed_at_every_named_step_and_resumed(site: Site, images: list[str]) -> None:
    cases = [("promote", step) for step in STEPS]
    cases += [("rollback", step) for step in ("switch", "end")]
    command = [sys.executable, "-m", "benchmarks.release_crashes", "--once"]
    with opened(site) as release:
        assert asked(release, "promote", "first", images[0]).kind == "promoted"
        for number, (verb, step) in enumerate(cases):
            words = (verb, f"r{number}", images[(number + 1) % 2])
            done = subprocess.run(
                [*command, "docker", str(site.folder), str(site.port), *words, step],
                check=False,
                cwd=TOP,
            )
            assert done.returncode == -signal.SIGKILL, (verb, step)
            ended = asked(release, *words)
            end = "promoted" if verb == "promote" else "rolled_back"
            assert ended.kind == end, (verb, step, ended)
            assert story(release, words[1]) == ["intent", end], (verb, step)
            assert is_live(release, words[2]), (verb, step)


def test_a_lock_ends_with_who_holds_it(
    site: Site, images: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = [sys.executable, "-c", HOLDER, str(site.folder), str(site.port)]
    holder = subprocess.Popen(program, cwd=TOP, stdout=subprocess.PIPE, start_new_session=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with opened(site) as release:
            tries = str(LOCK_WITHIN_S * 50)
            assert tries in HOLD
            with monkeypatch.context() as patched:
                patched.setattr(docker_target, "HOLD", HOLD.replace(tries, "10"))
                with pytest.raises(OutsideError, match="lock cannot be had: somebody else holds"):
                    release.target.stop(images[0], 2)
            holder.kill()
            holder.wait()
            release.target.stop(images[0], 2)
    finally:
        holder.kill()
        holder.wait()
        if holder.stdout:
            holder.stdout.close()


def test_who_sleeps_with_the_lock_can_write_nothing_afterwards(
    site: Site, images: list[str]
) -> None:
    with opened(site) as release:
        target = target_of(release)
        with target._obeying(3) as late:
            pass  # and the lock is lost
        target.stop(images[0], 5)
        with pytest.raises(Overtaken, match="a later entry"):
            target._write(late)
        with target._obeying(5) as state:
            assert state.fence == 5


def test_a_proxy_that_is_killed_comes_back_with_what_was_meant(
    site: Site, images: list[str]
) -> None:
    with opened(site) as release:
        assert asked(release, "promote", "p0", images[0]).kind == "promoted"
        assert isinstance(release.verify, Verifier)
        quick = VerifySettings(requests=20, max_slowdown_percent=None, ready_within_s=5)
        release.verify = dataclasses.replace(release.verify, settings=quick)
        target = target_of(release)
        proxy = target.docker.client.containers.get(f"{site.name}-proxy")

        def kill_at(step: str) -> None:
            release.told = lambda reached: kill() if reached == step else None

        def kill() -> None:
            proxy.kill()
            proxy.wait()

        kill()
        assert release.target.live() is None
        assert asked(release, "promote", "again", images[0]).repeated
        assert is_live(release, images[0])
        kill_at("switch")
        ended = asked(release, "promote", "p1", images[1])
        assert ended.kind == "promoted", ended
        assert is_live(release, images[1])
        kill_at("verify after")
        assert asked(release, "promote", "p2", images[0]).kind == "rolled_back"
        assert is_live(release, images[1])
        assert answers(site, within_s=5) == docker_release.RIGHT


def test_a_container_that_comes_back_with_another_address_is_found(
    site: Site, images: list[str]
) -> None:
    with opened(site) as release:
        for number in (0, 1, 0):  # so that HAProxy was told addresses, not only names
            assert asked(release, "promote", f"p{number}{time.time()}", images[number]).kind
        target = target_of(release)
        client = target.docker.client
        live = target._running(images[0])

        def address() -> str:
            live.reload()
            return str(live.attrs["NetworkSettings"]["Networks"][site.name]["IPAddress"])

        before = address()
        live.stop(timeout=5)
        taken = client.containers.run(
            images[1], network=site.name, name=f"{site.name}-other", detach=True
        )
        live.start()
        assert address() != before, "another container has its address"
        taken.kill()
        assert answers(site, within_s=15) == docker_release.RIGHT
        assert is_live(release, images[0])


def test_nothing_is_lost_where_two_begin_at_once(site: Site, images: list[str]) -> None:
    program = [sys.executable, "-m", "benchmarks.release_crashes", "--once", "docker"]
    racing = [
        subprocess.Popen(
            [*program, str(site.folder), str(site.port), "promote", f"p{n}", images[0], ""],
            cwd=TOP,
        )
        for n in range(3)
    ]
    assert [one.wait() for one in racing] == [0, 0, 0]
    with opened(site) as release:
        assert [(one.entry.kind, one.entry.reason) for one in release.ledger.entries()] == [
            ("promoted", "merged"),
            ("intent", "merged"),
        ]
        assert is_live(release, images[0])
        label = {"label": f"io.ci-mlops.environment={site.name}"}
        found = target_of(release).docker.client.containers.list(all=True, filters=label)
        assert sorted(DIGEST in one.labels for one in found) == [False, True]


def test_without_the_registry_what_the_host_has_can_be_gone_back_to(
    site: Site, images: list[str], tmp_path: Path, proxy_image: str
) -> None:
    with registry.serving(tmp_path) as served, opened(site) as release:
        target = target_of(release)
        target.settings = target.settings.model_copy(update={"repository": served.repository})
        target.docker = NotHere(target.docker.client, "127.0.0.1", pulled=[])
        for number in (0, 1):
            assert asked(release, "promote", f"p{number}", images[number]).kind == "promoted"
        served.process.kill()
        served.process.wait()
        never = target.docker.image(proxy_image).digest
        refused = asked(release, "promote", "p2", never)
        assert refused.kind == "rolled_back"
        assert "cannot be pushed" in refused.written.entry.reason
        assert is_live(release, images[1])
        assert asked(release, "rollback", "r1", images[0]).kind == "rolled_back"
        assert is_live(release, images[0])


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.parametrize(
    ("verb", "step"), [("promote", "start"), ("promote", "switch"), ("rollback", "switch")]
)
def test_a_daemon_that_is_lost_in_the_middle(
    site: Site, images: list[str], verb: str, step: str
) -> None:
    daemon = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    with Relay(daemon.removeprefix("unix://")) as relay:
        near = dataclasses.replace(site, daemon=f"unix://{relay.path}")

        def told(reached: str) -> None:
            if reached == step:
                relay.cut()

        def lost() -> None:
            with opened(near) as release:
                assert asked(release, "promote", "p0", images[0]).kind == "promoted"
                release.told = told
                with pytest.raises(OutsideError) as caught:
                    asked(release, verb, "p1", images[1])
                assert caught.value.exit_code == 4
                assert "\n" not in str(caught.value)
                assert story(release, "p1") == ["intent"]
                assert answers(site) == docker_release.RIGHT, "what is live stays live"

        lost()
        gc.collect()  # the SDK leaves a socket open where nobody listens
        relay.start()
        with opened(near) as release:
            ended = asked(release, verb, "p1", images[1])
            assert story(release, "p1") == ["intent", ended.kind]
            assert ended.kind == ("promoted" if verb == "promote" else "rolled_back")
            assert is_live(release, images[1])


def test_a_daemon_that_is_restarted_in_the_middle_and_at_rest(
    images: list[str], proxy_image: str, tmp_path: Path
) -> None:
    """In a network of its own, so that the rules of two daemons do not meet."""
    program = [sys.executable, "-m", "tests.integration.restarted_daemon", str(tmp_path)]
    as_root = [] if os.getuid() == 0 else ["sudo", "-n"]
    apart = [*as_root, "unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "_"]
    done = subprocess.run(
        [*apart, *program, proxy_image, *images],
        check=False,
        cwd=TOP,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "everything held"


# --- the process target -------------------------------------------------------------------------


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(tmp_path: Path) -> None:
    site = made("process", tmp_path)

    def once(name: str, digest: str) -> str:
        command = [sys.executable, "-m", "benchmarks.release_crashes", "--once", "process"]
        words = [str(site.folder), str(site.port), "promote", name, digest, ""]
        done = subprocess.run(
            [*command, *words], check=False, cwd=TOP, stderr=subprocess.PIPE, text=True
        )
        return done.stderr.strip()

    with small_disk(tmp_path / "target", megabytes=8) as disk, site.made() as digests:
        assert once("p0", digests[0]) == ""
        filled(disk)
        last = once("p1", digests[1]).splitlines()[-1]
        assert re.fullmatch(r".*OutsideError: /.*/target: cannot be written: No space.*", last)
        assert until_ready(f"http://127.0.0.1:{site.port}", within_s=5, runs=lambda: True)
        assert len([*disk.glob("bundles/*"), *disk.glob("bundles/.*")]) == 1
        (disk / "filler").unlink()
        assert once("p1", digests[1]) == ""
        with opened(site) as release:
            assert story(release, "p1") == ["intent", "promoted"]
            assert is_live(release, digests[1])
