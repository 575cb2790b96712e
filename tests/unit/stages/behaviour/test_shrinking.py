"""Rows drawn from a domain, and failing ones made small."""

import os
import random
import subprocess
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pandas as pd
import pytest
from hypothesis.configuration import set_hypothesis_home_dir, storage_directory

from ci_mlops.dataset.domain import Domain, learn
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.errors import CannotLook
from ci_mlops.stages.behaviour.asking import Spent
from ci_mlops.stages.behaviour.drawing import drawn, special
from ci_mlops.stages.behaviour.shrinking import Shape, shrunk
from tests.conftest import clean_environ


@pytest.fixture(name="frame", scope="module")
def _frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "debt": np.where(rng.random(300) < 0.1, np.nan, rng.uniform(0, 60, 300)),
            "income": rng.integers(0, 5001, 300),
            "state": rng.choice(["AL", "CA", "TX"], 300),
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, 300), "D"),
            "old": rng.random(300) < 0.3,
        }
    )


@pytest.fixture(name="domain", scope="module")
def _domain(frame: pd.DataFrame) -> Domain:
    return learn(
        [frame],
        [str(name) for name in frame],
        DataSettings(test="t", label="y"),
        ranges={},
        categories={},
    )


def test_rows_lie_in_the_domain_reach_its_ends_and_go_beyond_what_was_seen(
    domain: Domain, frame: pd.DataFrame
) -> None:
    rows = drawn(domain, frame, rows=400, number=3)
    assert len(rows) == len(domain.inside(rows)) == 400
    assert (rows.dtypes == frame.dtypes).all()
    assert {rows["income"].min(), rows["income"].max()} == {
        frame["income"].min(),
        frame["income"].max(),
    }
    assert not rows["income"].isin(frame["income"]).all()
    assert 0 < rows["debt"].isna().sum() < 100
    assert not rows["income"].isna().any()
    assert set(rows["state"]) == {"AL", "CA", "TX"}


def test_the_seed_decides_about_the_rows(domain: Domain, frame: pd.DataFrame) -> None:
    first = drawn(domain, frame, rows=100, number=3)
    assert first.equals(drawn(domain, frame, rows=100, number=3))
    assert not first.equals(drawn(domain, frame, rows=100, number=4))


def test_rows_are_made_without_real_ones(domain: Domain, frame: pd.DataFrame) -> None:
    assert len(drawn(domain, frame.iloc[:0], rows=50, number=0)) == 50


def test_special_values_are_the_ends_and_zero(domain: Domain) -> None:
    whole = special(domain.columns["income"])
    low, high = int(domain.columns["income"].low), int(domain.columns["income"].high)
    assert {low, low + 1, high - 1, high} <= set(whole)
    debt = special(domain.columns["debt"])
    assert len(debt) == len(set(debt)) >= 6
    assert special(domain.columns["state"]) == ["AL", "CA", "TX"]


def first(rows: pd.DataFrame, condition: "pd.Series[bool]") -> pd.DataFrame:
    return rows[condition].iloc[[0]]


def test_a_failing_row_becomes_typical_but_for_what_it_fails_by(
    domain: Domain, frame: pd.DataFrame
) -> None:
    rows = drawn(domain, frame, rows=1000, number=0)
    bad = first(rows, (rows["income"] > 4000) & rows["debt"].isna() & (rows["state"] == "TX"))

    def breaks(some: pd.DataFrame) -> str:
        row = some.iloc[0]
        return (
            "bad" if row["income"] > 4000 and pd.isna(row["debt"]) and row["state"] == "TX" else ""
        )

    found = shrunk(domain, bad, breaks, shape=Shape(), number=0)
    assert found is not None
    wanted = {**domain.typical(), "income": 4001, "debt": None, "state": "TX"}
    assert {name: cells[0] for name, cells in domain.cells(found).items()} == wanted
    again = shrunk(domain, bad, breaks, shape=Shape(), number=0)
    assert again is not None
    assert found.equals(again)


def test_rows_of_an_example_differ_only_where_they_may(domain: Domain, frame: pd.DataFrame) -> None:
    pair = pd.concat([frame.iloc[[0]], frame.iloc[[0]]], ignore_index=True)
    pair["income"] = [100, 4800]

    def breaks(some: pd.DataFrame) -> str:
        return "falls" if some["income"].iloc[1] - some["income"].iloc[0] > 1000 else ""

    found = shrunk(domain, pair, breaks, shape=Shape(vary=("income",)), number=0)
    assert found is not None
    assert found.drop(columns="income").drop_duplicates().shape[0] == 1
    assert found["state"].iloc[0] == domain.columns["state"].typical
    low, high = found["income"]
    assert 1000 < high - low <= 4700


def test_fixed_columns_keep_values_that_no_domain_has(domain: Domain, frame: pd.DataFrame) -> None:
    row = frame.iloc[[5]].assign(state="none", income=99_999)

    def breaks(some: pd.DataFrame) -> str:
        return "bad" if some["state"].iloc[0] == "none" and some["income"].iloc[0] > 6000 else ""

    found = shrunk(domain, row, breaks, shape=Shape(fixed=("state",)), number=0)
    assert found is not None
    assert (found["state"].iloc[0], found["income"].iloc[0]) == ("none", 6001)


def test_a_null_where_none_was_seen_can_be_made_small(domain: Domain, frame: pd.DataFrame) -> None:
    row = domain.frame({**domain.cells(frame.iloc[[5]]), "income": [None], "day": [None]})
    found = shrunk(
        domain, row, lambda some: "x" if some["day"].isna()[0] else "", shape=Shape(), number=0
    )
    assert found is not None
    assert pd.isna(found["day"].iloc[0])
    assert found["income"].iloc[0] == domain.columns["income"].typical


def test_what_does_not_fail_again_is_not_called_smaller(
    domain: Domain, frame: pd.DataFrame
) -> None:
    assert shrunk(domain, frame.iloc[[5]], lambda _: "", shape=Shape(), number=0) is None


@pytest.mark.parametrize("fault", [Spent("over"), CannotLook("odd")])
def test_the_smallest_so_far_comes_back_when_the_time_is_over(
    domain: Domain, frame: pd.DataFrame, fault: Exception
) -> None:
    calls = []

    def breaks(some: pd.DataFrame) -> str:
        calls.append(some)
        if len(calls) > 3:
            raise fault
        return "bad" if some["income"].iloc[0] > 100 else ""

    row = frame[frame["income"] > 4000].iloc[[0]]
    found = shrunk(domain, row, breaks, shape=Shape(), number=0)
    assert found is not None
    assert found["income"].iloc[0] > 100


# --- others who use Hypothesis, and the same rows everywhere ------------------------------------


def above_4000(some: pd.DataFrame) -> str:
    return "high" if some["income"].iloc[0] > 4000 else ""


def used(domain: Domain, frame: pd.DataFrame) -> pd.DataFrame:
    """Rows that were drawn, and after them one that was made small."""
    rows = drawn(domain, frame, rows=60, number=3)
    high = first(frame, frame["income"] > 4500)
    small = shrunk(domain, high, above_4000, shape=Shape(), number=0)
    assert small is not None
    assert small["income"].iloc[0] == 4001
    return pd.concat([rows, small])


def test_whoever_else_uses_hypothesis_is_not_disturbed(
    domain: Domain, frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = storage_directory(intent_to_write=False).home_directory
    monkeypatch.chdir(tmp_path)
    set_hypothesis_home_dir(tmp_path / "home")
    profile, state = hypothesis.settings.default, random.getstate()
    try:
        assert used(domain, frame).equals(used(domain, frame))
        assert storage_directory(intent_to_write=False).home_directory == tmp_path / "home"
    finally:
        set_hypothesis_home_dir(before)
    assert (hypothesis.settings.default, random.getstate()) == (profile, state)
    assert not (tmp_path / ".hypothesis").exists()


@pytest.mark.parametrize("forced", [0, 7])
def test_the_seed_of_a_pytest_around_changes_nothing(
    domain: Domain, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, forced: int
) -> None:
    usual = used(domain, frame)
    monkeypatch.setattr("hypothesis.core.global_force_seed", forced)  # `--hypothesis-seed`
    assert used(domain, frame).equals(usual)


SAME = """
import hashlib
import pandas as pd
from ci_mlops.dataset.domain import learn
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.stages.behaviour.drawing import drawn
frame = pd.DataFrame({"n": range(90), "x": [0.5 * n for n in range(90)], "c": list("abc") * 30})
settings = DataSettings(test="t", label="y")
domain = learn([frame], list(frame), settings, ranges={}, categories={})
print(hashlib.sha256(drawn(domain, frame, rows=200, number=5).to_csv().encode()).hexdigest())
"""


def test_the_same_seed_makes_the_same_rows_on_a_laptop_and_in_ci(tmp_path: Path) -> None:
    found = set()
    for extra in ({"CI": "true", "PYTHONHASHSEED": "1"}, {"CI": "", "PYTHONHASHSEED": "2"}):
        done = subprocess.run(
            [sys.executable, "-c", SAME],
            cwd=tmp_path,
            env=clean_environ({**extra, "PYTHONPATH": os.pathsep.join(sys.path)}),
            check=True,
            capture_output=True,
            text=True,
        )
        found.add(done.stdout)
    assert len(found) == 1
    assert list(tmp_path.iterdir()) == []
