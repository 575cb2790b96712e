"""When a tag is moved, to what, and when it is left alone."""

import json
from dataclasses import dataclass, field

import pytest

from ci_mlops.errors import OutsideError
from ci_mlops.registry import Manifest, Registry
from ci_mlops.release.mirrors.mirror import Said
from ci_mlops.release.mirrors.oci_tag import OciTag
from tests.unit.release.mirrors.told import (
    BLOCKED,
    ONE,
    PROMOTED,
    PROMOTED_TWO,
    ROLLED_BACK,
    TWO,
    told,
)


def manifest(config: str) -> Manifest:
    return Manifest(kind="application/x", data=json.dumps({"config": {"digest": config}}).encode())


@dataclass(kw_only=True)
class InMemory(Registry):
    """A repository that holds manifests by tag."""

    address: str = "r.example.org/team/loans"
    host: str = "r.example.org"
    path: str = "team/loans"
    held: dict[str, Manifest] = field(default_factory=dict)
    writes: int = 0
    lost: bool = False
    """Whether what is written is not kept."""

    def __init__(self, *digests: str) -> None:
        super().__init__(address=self.address, host=self.host, path=self.path, account=dict)
        self.held = {one.removeprefix("sha256:"): manifest(one) for one in digests}

    def manifest(self, reference: str) -> Manifest | None:
        return self.held.get(reference)

    def tag(self, manifest: Manifest, tag: str) -> None:
        self.writes += 1
        if not self.lost:
            self.held[tag] = manifest

    def push(self, digest: str) -> bool:
        self.held[digest.removeprefix("sha256:")] = manifest(digest)
        return True


def sync(registry: InMemory, *entries: object, dry_run: bool = False) -> list[Said]:
    mirror = OciTag(tag="production", registry=registry, push=lambda _: False)
    return list(mirror.sync(told(*entries), dry_run=dry_run))  # type: ignore[arg-type]


def test_the_tag_follows_what_is_live() -> None:
    registry = InMemory(ONE, TWO)
    for entries, live in (
        ([PROMOTED], ONE),
        ([PROMOTED, PROMOTED_TWO], TWO),
        ([PROMOTED, PROMOTED_TWO, BLOCKED], TWO),
        ([PROMOTED, PROMOTED_TWO, ROLLED_BACK], ONE),
    ):
        sync(registry, *entries)
        assert registry.held["production"] == manifest(live)
    assert registry.writes == 3
    assert sync(registry, PROMOTED, PROMOTED_TWO, ROLLED_BACK) == []


def test_where_nothing_is_live_a_tag_is_left_alone() -> None:
    registry = InMemory(ONE)
    registry.held["production"] = manifest(TWO)
    assert sync(registry, BLOCKED) == []
    assert registry.held["production"] == manifest(TWO)


def test_a_dry_run_says_it_and_writes_nothing() -> None:
    registry = InMemory(ONE)
    (line,) = sync(registry, PROMOTED, dry_run=True)
    assert "r.example.org/team/loans:production names sha256:111111111111" in line.text
    (line,) = sync(registry, PROMOTED, PROMOTED_TWO, dry_run=True)
    assert line.text.endswith("is to be pushed first")
    assert "production" not in registry.held


def test_an_image_that_only_a_daemon_has_is_pushed_first() -> None:
    registry = InMemory()
    mirror = OciTag(tag="production", registry=registry, push=registry.push)
    assert len(list(mirror.sync(told(PROMOTED), dry_run=False))) == 1
    assert registry.held["production"] == manifest(ONE)


def test_what_can_be_had_nowhere_is_a_fault() -> None:
    with pytest.raises(OutsideError, match="sha256:111111111111 is not in r.example.org"):
        sync(InMemory(), PROMOTED)


def test_a_tag_of_a_digest_that_names_another_image_is_never_followed() -> None:
    registry = InMemory()
    registry.held[ONE.removeprefix("sha256:")] = manifest(TWO)
    with pytest.raises(OutsideError, match="names another image, sha256:222222222222"):
        sync(registry, PROMOTED)
    assert registry.writes == 0


def test_an_image_may_be_known_by_its_manifest() -> None:
    """A daemon with containerd's store names images so."""
    registry = InMemory()
    found = Manifest(kind="application/x", data=b'{"manifests": []}')
    digest = found.digest
    registry.held[digest.removeprefix("sha256:")] = found
    promoted = [one.model_copy(update={"to": digest}) for one in PROMOTED]
    assert len(sync(registry, promoted)) == 1
    assert registry.held["production"] == found


def test_a_write_that_was_not_kept_is_a_fault() -> None:
    registry = InMemory(ONE)
    registry.lost = True
    with pytest.raises(OutsideError, match="names something else than what was written"):
        sync(registry, PROMOTED)
