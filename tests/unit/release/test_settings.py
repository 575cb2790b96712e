"""The `release` section: steps of a canary that cannot be are refused, in one line."""

import pytest

from ci_mlops import config
from ci_mlops.errors import ConfigError

DOCKER = "target: docker, port: 80"
TEXT = """\
version: 1
project: loans
data: {train: train.csv, test: test.csv, key: id, label: y}
model: {path: m.joblib, task: binary}
stages:
  image:
release:
  production: {SETTINGS}
"""


def refused(settings: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config.parse(TEXT.replace("SETTINGS", settings), "mlops.yml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("settings", [DOCKER, "target: command, command: ./deploy.sh"])
def test_steps_of_a_canary(settings: str) -> None:
    text = TEXT.replace("SETTINGS", f"{settings}, canary_percent: [10, 50, 100]")
    found = config.parse(text, "mlops.yml").config.release["production"]
    assert getattr(found, "canary_percent", None) == (10, 50, 100)
    plain = config.parse(TEXT.replace("SETTINGS", settings), "mlops.yml").config
    assert getattr(plain.release["production"], "canary_percent", None) == (100,)


@pytest.mark.parametrize("percent", ["[10, 50]", "[50, 10, 100]", "[10, 10, 100]", "[100, 100]"])
def test_steps_that_do_not_rise_to_everything(percent: str) -> None:
    said = refused(f"{DOCKER}, canary_percent: {percent}")
    assert "has to rise from step to step, and to end with 100" in said
    assert "mlops.yml:8" in said


@pytest.mark.parametrize("percent", ["[]", "[0, 100]", "[50, 101]", "[2.5, 100]", "50"])
def test_steps_that_are_no_percentages(percent: str) -> None:
    assert "canary_percent" in refused(f"{DOCKER}, canary_percent: {percent}")


def test_a_canary_that_would_be_abandoned_on_the_way() -> None:
    steps = "canary_percent: [10, 50, 100], canary_step_minutes: 7.5"
    said = refused(f"{DOCKER}, {steps}")
    assert "a promotion may be watched for 30 minutes (canary and hold)" in said
    assert "`abandoned_after_minutes`, 30, must be longer" in said
    text = TEXT.replace("SETTINGS", f"{DOCKER}, {steps}, abandoned_after_minutes: 31")
    assert config.parse(text, "mlops.yml").config.release


def test_a_target_without_shares_has_no_canary() -> None:
    assert "canary_percent" in refused("target: process, port: 80, canary_percent: [10, 100]")
