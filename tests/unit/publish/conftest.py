"""A fake GitHub with an open pull request, and a clock that only pretends to wait."""

from collections.abc import Iterator

import pytest

from tests.fake_github import FakeGitHub, Pull, World, serving
from tests.unit.publish.situations import BASE, HEAD


@pytest.fixture
def world() -> World:
    return World(pulls=[Pull(number=7, head_sha=HEAD, base_sha=BASE)])


@pytest.fixture
def github(world: World) -> Iterator[FakeGitHub]:
    with serving(world) as fake:
        yield fake
    assert world.violations == []
