"""Stages in the order in which they may start."""

from typing import ClassVar

import pytest

from ci_mlops.errors import ConfigError
from ci_mlops.plan import plan
from ci_mlops.stage import Stage


class First(Stage):
    """Waits for nothing."""

    name: ClassVar[str] = "first"
    question: ClassVar[str] = "?"


class Second(Stage):
    """Waits for the first."""

    name: ClassVar[str] = "second"
    question: ClassVar[str] = "?"
    after: ClassVar[tuple[str, ...]] = ("first", "absent")


class Alone(Stage):
    """Wants the machine."""

    name: ClassVar[str] = "alone"
    question: ClassVar[str] = "?"
    alone: ClassVar[bool] = True


STAGES = {"alone": Alone(), "second": Second(), "first": First()}


def test_order_and_what_must_be_alone_comes_last() -> None:
    planned = plan(STAGES)
    assert planned.names() == ("first", "second", "alone")
    assert planned.waits_for() == {"first": (), "second": ("first",), "alone": ()}
    assert planned.left_out == ()


def test_only_and_skip() -> None:
    assert plan(STAGES, only=["second"]).names() == ("second",)
    assert plan(STAGES, only=["second"]).left_out == ("alone", "first")
    assert plan(STAGES, skip=["second"]).names() == ("first", "alone")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"--skip: 'secnd' is not a stage.*did you mean"):
        plan(STAGES, skip=["secnd"])


def test_nothing_left_is_refused() -> None:
    with pytest.raises(ConfigError, match="leaves no stage to run"):
        plan(STAGES, only=["first"], skip=["first"])
