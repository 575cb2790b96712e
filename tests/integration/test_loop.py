"""The whole loop: what is live is watched, told, trained anew, judged, released, and rolled back."""

from collections.abc import Iterator

import pytest

from tests import loop
from tests.loop import Loop


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """Return loans in production, released twice, under traffic."""
    with loop.opened(tmp_path_factory.mktemp("loop") / "l") as made:
        yield made


def test_what_shifts_is_trained_anew_and_what_breaks_is_rolled_back(live: Loop) -> None:
    seconds = loop.through(live)
    assert live.traffic.failed == []
    assert live.world.violations == []
    assert all(one < loop.PATIENCE_S for one in seconds.values())
