"""An environment of mlops.yml made ready: whether its traffic moves in steps."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ci_mlops.command import Commands
from ci_mlops.release.canary import Canary
from ci_mlops.release.environment import opened
from ci_mlops.release.ledger import ledger_at
from ci_mlops.release.settings import CommandTargetSettings, ProcessTargetSettings


def canary(
    folder: Path, commands: Commands, settings: CommandTargetSettings | ProcessTargetSettings
) -> Canary | None:
    with (
        ledger_at(str(folder / "remote.git"), commands) as ledger,
        opened(
            "production",
            settings,
            root=folder,
            project="loans",
            model=None,
            ledger=ledger,
            commands=commands,
            told=lambda _: None,
        ) as release,
    ):
        assert release.canary is None or release.canary.target is release.target
        return release.canary


@pytest.mark.parametrize(
    ("settings", "steps"),
    [({"canary_percent": (10, 50, 100)}, (10, 50)), ({"canary_percent": (100,)}, None), ({}, None)],
)
def test_the_shares_of_a_canary(
    tmp_path: Path,
    commands: Commands,
    settings: dict[str, Any],
    steps: Sequence[int] | None,
) -> None:
    given = CommandTargetSettings(target="command", command="./deploy.sh", **settings)
    made = canary(tmp_path, commands, given)
    assert (made and tuple(made.percents)) == steps
    assert made is None or made.model == "loans"


def test_a_socket_that_is_handed_over_is_not_shared(tmp_path: Path, commands: Commands) -> None:
    assert canary(tmp_path, commands, ProcessTargetSettings(target="process", port=80)) is None
