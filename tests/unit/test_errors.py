"""A stop is one line, with its place first and its remedy last."""

import pytest

from ci_mlops import errors


def test_line_has_place_fault_and_remedy() -> None:
    stop = errors.ConfigError("is\nwrong", place="mlops.yml:3", remedy="Mend it")
    assert str(stop) == "mlops.yml:3: is wrong. Mend it"


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.ConfigError, 2),
        (errors.CannotLook, 2),
        (errors.EvidenceError, 1),
        (errors.OutsideError, 4),
        (errors.Interrupted, 130),
        (errors.Stop, 3),
    ],
)
def test_each_class_has_its_exit_code(kind: type[errors.Stop], code: int) -> None:
    assert kind("x").exit_code == code
