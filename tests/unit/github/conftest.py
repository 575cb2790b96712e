"""A fake GitHub with one merged and one open pull request."""

from collections.abc import Iterator

import pytest

from tests.fake_github import FakeGitHub, Pull, World, serving
from tests.unit.publish.situations import BASE, HEAD, OTHER


@pytest.fixture
def world() -> World:
    merged = Pull(
        number=6, head_sha=OTHER, base_sha=BASE, state="closed", merged=True, merge_commit_sha=BASE
    )
    return World(pulls=[merged, Pull(number=7, head_sha=HEAD, base_sha=BASE)])


@pytest.fixture
def github(world: World) -> Iterator[FakeGitHub]:
    with serving(world) as fake:
        yield fake
    assert world.violations == []
