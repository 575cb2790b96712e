"""Stage data: every fault put in is named, with a base and without, and clean data passes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ci_mlops.deepchecks.suites import Inspection
from ci_mlops.stages.data import faults, judging
from ci_mlops.stages.data.faults import Fault
from tests.unit.stages.data.data_spaces import Parts, clean, judged, of, one

Change = Callable[[Parts], None]


def infinite(parts: Parts) -> None:
    parts["test"].iloc[3, 2] = np.inf


def nulls(parts: Parts) -> None:
    parts["test"].loc[parts["test"].sample(frac=0.6, random_state=0).index, "income"] = np.nan


def miles(parts: Parts) -> None:
    parts["test"]["distance"] /= 1.609


def swapped(parts: Parts) -> None:
    test = parts["test"]
    test[["income", "distance"]] = test[["distance", "income"]].to_numpy()


def new_region(parts: Parts) -> None:
    parts["test"].iloc[:20, 5] = "west"


def words(parts: Parts) -> None:
    test = parts["test"]
    test["income"] = test["income"].astype(object)
    test.iloc[:12, 2] = "unknown"


def copied(parts: Parts) -> None:
    test, train = parts["test"], parts["train"]
    for column in ("income", "debt", "distance", "region", "label"):
        test.iloc[:24, list(test.columns).index(column)] = train[column].to_numpy()[:24]


def jittered(parts: Parts) -> None:
    copied(parts)
    test = parts["test"]
    for column in (2, 3, 4):
        test.iloc[:24, column] = test.iloc[:24, column].astype(float) * (1 + 1e-6)


def conflicts(parts: Parts) -> None:
    train = parts["train"]
    for column in ("income", "debt", "distance", "region"):
        train.iloc[:40, list(train.columns).index(column)] = train[column].to_numpy()[40:80]
    train.iloc[:40, 6] = 1 - train["label"].to_numpy()[40:80]


def soft_leak(parts: Parts) -> None:
    rng = np.random.default_rng(5)
    for frame in parts.values():
        frame["hint"] = frame["label"] + rng.normal(0, 0.5, len(frame))


def label_moved(parts: Parts) -> None:
    test = parts["test"]
    parts["test"] = test.drop(test.index[test["label"] == 1][:200])


def variants(parts: Parts) -> None:
    parts["test"].iloc[:30, 5] = "North "


def duplicates(parts: Parts) -> None:
    again = parts["train"].iloc[:200].assign(id=np.arange(90_000, 90_200))
    parts["train"] = pd.concat([parts["train"], again])


def constant(parts: Parts) -> None:
    parts["test"]["debt"] = 20.0


def dropped(parts: Parts) -> None:
    parts["test"] = parts["test"].drop(columns="debt")


FAULTS: list[tuple[Change, str, str, str]] = [
    (infinite, "contract-not-finite", "failed", "1 values of column income are infinite"),
    (nulls, "contract-null-rate", "failed", "60 % of column income is missing"),
    (miles, "shift", "failed", "distance looks multiplied by 0.6"),
    (swapped, "shift", "failed", "look swapped"),
    (new_region, "contract-categories", "failed", "'west'"),
    (words, "contract-types", "failed", "should hold numbers, but holds 'unknown'"),
    (copied, "shared-rows", "failed", "4.0 % of the test rows stand in the training data"),
    (jittered, "near-shared-rows", "failed", "are training rows but for noise"),
    (conflicts, "conflicting-labels", "failed", "another label"),
    (soft_leak, "leak", "failed", "hint"),
    (label_moved, "label-shift", "failed", "The label label has moved"),
    (variants, "category-variants", "failed", "in several ways"),
    (duplicates, "duplicate-rows", "warned", "repeat another row"),
    (constant, "contract-constant", "failed", "debt has become constant"),
    (dropped, "contract-columns", "failed", "debt is missing"),
]


@pytest.mark.parametrize("has_base", [True, False])
@pytest.mark.parametrize(("change", "name", "outcome", "said"), FAULTS)
def test_every_fault_is_named(
    tmp_path: Path, change: Change, name: str, outcome: str, said: str, *, has_base: bool
) -> None:
    head = clean()
    change(head)
    found = judged(tmp_path, head, clean() if has_base else None)
    check = one(found, name)
    assert (check.outcome, said in check.message) == (outcome, True), check


@pytest.mark.parametrize("has_base", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_clean_data_passes(tmp_path: Path, seed: int, *, has_base: bool) -> None:
    found = judged(tmp_path, clean(seed=seed), clean(seed=seed + 50) if has_base else None)
    assert of(found, "failed") | of(found, "warned") | of(found, "error") == set()
    looked = {(c.name, c.slice): c for c in found.checks}
    parts = {"train": pd.DataFrame(), "test": pd.DataFrame()}
    assert set(judging._expected(parts)) <= set(looked)
    assert ("shift" in of(found, "skipped")) is not has_base


@pytest.mark.parametrize("change", [nulls, copied, soft_leak, new_region, infinite])
def test_a_fault_that_the_base_has_only_warns(tmp_path: Path, change: Change) -> None:
    head, base = clean(), clean()
    change(head)
    change(base)
    found = judged(tmp_path, head, base)
    assert of(found, "failed") == set()
    assert any("It is the same at the base." in c.message for c in found.checks)


def test_what_was_not_looked_at_is_skipped_with_its_reason(tmp_path: Path) -> None:
    alone = {"test": clean()["test"].drop(columns=["income", "debt"])}
    found = judged(tmp_path, alone)
    reasons = {c.name: c.message for c in found.checks if c.outcome == "skipped"}
    assert "neither a base nor training data" in reasons["contract"]
    assert "`data.train` is not set" in reasons["shared-rows"]
    assert "`data.train` is not set" in reasons["time-overlap"]
    assert "this is the first commit" in reasons["leak"]
    parts = clean()
    parts = {k: v.drop(columns=["income", "debt"]) for k, v in parts.items()}
    found = judged(tmp_path, parts)
    assert one(found, "near-shared-rows").outcome == "skipped"
    assert "`data.time`" in one(found, "time-overlap").message
    assert one(found, "shift", "test against base").outcome == "skipped"


def test_an_expected_check_that_left_nothing_is_an_error() -> None:
    parts = {"test": pd.DataFrame()}
    found = list(judging._looked([], [], parts, no_base=""))
    assert {c.name for c in found if c.outcome == "error"} == {
        "contract",
        "leak",
        *faults.IN_ONE_PART,
    }


def test_few_rows_are_inconclusive(tmp_path: Path) -> None:
    found = judged(tmp_path, clean(rows=40, test_rows=30), clean())
    assert {"shift", "label-shift", "leak"} <= of(found, "inconclusive")
    assert "Fewer than 50 values" in one(found, "shift").message


def test_a_pull_request_cannot_raise_its_own_limit(tmp_path: Path) -> None:
    head = clean()
    copied(head)
    again = head["train"].iloc[:700].assign(id=np.arange(90_000, 90_700))
    head["train"] = pd.concat([head["train"], again])
    for base in (clean(), None):
        check = one(judged(tmp_path, head, base), "shared-rows")
        assert check.outcome == "failed"
        assert check.limit is not None
        assert check.limit.at_most == pytest.approx(0.01)


def test_rows_of_few_categories_may_meet_by_chance(tmp_path: Path) -> None:
    def coarse(seed: int) -> Parts:
        return {k: v[["id", "region", "label"]] for k, v in clean(seed=seed).items()}

    for base in (coarse(2), None):
        found = judged(tmp_path, coarse(1), base)
        assert one(found, "shared-rows").outcome == "passed"


@pytest.mark.parametrize(
    ("before", "now", "outcome"),
    [(0.2, 0.2, "warned"), (0.2, 0.204, "warned"), (0.2, 0.206, "failed"), (0.6, 0.6, "failed")],
)
def test_old_faults_may_not_creep(before: float, now: float, outcome: str) -> None:
    fault = Fault(
        check="shared-rows", slice="x", observed=now, limit=0.01, message="Seen.", remedy="Mend it"
    )
    check = judging._check(fault, {("shared-rows", "x"): before}, compared=True)
    assert check.outcome == outcome
    new = judging._check(fault, {}, compared=True)
    assert (new.outcome, "new in this pull request" in new.message) == ("failed", True)


TIME = {"time": "when"}


def test_times_as_texts_are_compared_as_times(tmp_path: Path) -> None:
    parts = clean()
    assert one(judged(tmp_path, parts, data=TIME), "time-overlap").outcome == "passed"
    for frame in parts.values():
        frame["when"] = pd.to_datetime(frame["when"]).dt.strftime("%d %b %Y %H:%M")
    assert one(judged(tmp_path, parts, data=TIME), "time-overlap").outcome == "passed"
    late = {"train": clean()["test"], "test": clean()["train"]}
    check = one(judged(tmp_path, late, data=TIME), "time-overlap")
    assert (check.outcome, check.observed) == ("failed", 1.0)


@pytest.mark.parametrize(
    ("part", "values", "said"),
    [
        ("test", "soon", "600 values of column when in the test data are not times"),
        ("train", None, "Every when is missing in the train data"),
        ("test", 17, "holds numbers in one part and times in another"),
    ],
)
def test_times_that_are_none_are_a_fault(
    tmp_path: Path, part: str, values: str | int | None, said: str
) -> None:
    parts = clean()
    parts[part] = parts[part].assign(when=values)
    check = one(judged(tmp_path, parts, data=TIME), "time-overlap")
    assert check.outcome == "failed"
    assert said in check.message


def test_a_renamed_label_is_no_crash(tmp_path: Path) -> None:
    base = {k: v.rename(columns={"label": "old"}) for k, v in clean().items()}
    found = judged(tmp_path, clean(), base, base_data={"label": "old"})
    check = one(found, "label-shift", "against base")
    assert (check.outcome, "is new" in check.message) == ("skipped", True)


def test_labels_that_became_words_are_a_fault(tmp_path: Path) -> None:
    head = clean()
    head["test"]["label"] = head["test"]["label"].map({0: "no", 1: "yes"})
    assert one(judged(tmp_path, head, clean()), "label-shift").outcome == "failed"


def test_missing_labels_are_a_fault(tmp_path: Path) -> None:
    head = clean()
    head["test"]["label"] = head["test"]["label"].astype(float)
    head["test"].iloc[:100, 6] = np.nan
    check = one(judged(tmp_path, head, clean()), "contract-null-rate")
    assert (check.outcome, check.slice) == ("failed", "test: label")


def test_rules_given_in_the_configuration_hold_to_the_row(tmp_path: Path) -> None:
    head = clean()
    head["test"].iloc[0, 4] = 5000.0
    rules = {
        "range": {"distance": [0, 4000]},
        "null_rate": {"gone": 0},
        "categories": {"region": ["north", "south"]},
        "unique": ["region"],
    }
    found = judged(tmp_path, head, contract=rules)
    assert {
        "contract-range",
        "contract-columns",
        "contract-categories",
        "contract-unique",
    } <= of(found, "failed")
    assert (
        "1 values of column distance lie outside 0 to 4000" in one(found, "contract-range").message
    )


def test_regression_with_an_infinite_label_is_a_fault_and_no_crash(tmp_path: Path) -> None:
    head = clean()
    for frame in head.values():
        frame["label"] = frame["income"] * 2 + frame["debt"]
    head["train"].iloc[0, 6] = np.inf
    found = judged(tmp_path, head)
    assert one(found, "contract-not-finite").outcome == "failed"
    assert one(found, "leak").slice == "income"


def test_what_changed_is_told_with_its_risk(tmp_path: Path) -> None:
    base = clean()
    head = {**base, "train": base["train"].iloc[:1200]}
    found = judged(tmp_path, head, base, data={"sensitive": ["region"]})
    (change,) = [check for check in found.checks if check.name == "change"]
    assert (change.slice, change.outcome, change.observed) == ("train", "passed", "high risk")
    assert "1,500 → 1,200 rows, +0 −300 ~0 rows by id" in change.message
    assert "300 of 1,500 rows are gone (20.0 %)" in change.message
    (table,) = found.tables
    assert table.title == "What changed in the train data"
    assert table.rows[0][:3] == ("rows", 1500, 1200)


def test_unchanged_data_and_data_without_a_base_have_no_change(tmp_path: Path) -> None:
    base = clean()
    shuffled = {**base, "train": base["train"].sample(frac=1, random_state=1)}
    for found in (
        judged(tmp_path, base, base),
        judged(tmp_path, base),
        judged(tmp_path, shuffled, base),
        judged(tmp_path, base, {"test": base["test"]}),
    ):
        assert not [check for check in found.checks if check.name == "change"]
        assert not found.tables


def test_no_value_of_a_hidden_column_is_told(tmp_path: Path) -> None:
    base, head = clean(), clean()
    train, test = head["train"], head["test"]
    train.loc[train.index[:400], "region"] = "SECRETCANARY"
    test.loc[test.index[:200], "region"] = " SECRETCANARY"
    train.loc[train.index[:300], "income"] = 987654.0
    test.loc[test.index[5:9], "debt"] = -987654.0
    train["distance"] = train["distance"].astype(object)
    train.loc[train.index[:50], "distance"] = "SECRETCANARY"
    train["label"] = np.where(np.arange(len(train)) % 9, "SECRETCANARY", "no")
    train["when"] = "2087-06-05"
    hidden = ["region", "income", "debt", "distance", "label", "when"]
    data = {"hidden": hidden, "sensitive": ["region"], "time": "when"}
    contract = {
        "categories": {"region": ["north"]},
        "range": {"income": [0, 200]},
        "unique": ["distance"],
    }
    open_text = "".join(map(repr, judged(tmp_path, head, base, contract=contract).checks))
    assert "SECRETCANARY" in open_text
    found = judged(tmp_path, head, base, data=data, contract=contract)
    text = repr(found)
    for canary in ("SECRETCANARY", "987654", "9.87654e+05", "2087"):
        assert canary not in text
    assert "its values are hidden" in text
    assert {"failed"} <= {check.outcome for check in found.checks}


def test_deepchecks_does_not_see_what_is_hidden(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []

    def inspect(**given: Any) -> Inspection:
        seen.append(given)
        return Inspection(checks=(), tools={}, seconds=0.0)

    monkeypatch.setattr("ci_mlops.stages.data.judging.inspect_data", inspect)
    data = {"hidden": ["region", "when", "id"], "time": "when"}
    judged(tmp_path, clean(), data=data, deepchecks=True)
    (given,) = seen
    assert given["time"] is None
    for frame in (given["train"], given["test"]):
        assert set(frame.columns) == {"income", "debt", "distance", "label"}
    found = judged(tmp_path, clean(), data={"hidden": ["label"]}, deepchecks=True)
    assert len(seen) == 1
    assert any("Deepchecks did not look" in note for note in found.notes)
