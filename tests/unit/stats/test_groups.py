"""Group metrics against published figures and against fairlearn."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_mlops.stats import groups
from ci_mlops.stats.groups import GroupCounts, count, disparity

# fairlearn's user guide, "Assessment": 18 rows.
TRUTH = np.array([0, 1, 1, 1, 1, 0, 1, 0, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1], dtype=bool)
DECIDED = np.array([0, 0, 1, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 0, 1, 1, 0], dtype=bool)
GROUP = pd.Series(list("bbabbcccaacabccbcc"))
SECOND = pd.Series([8, 6, 8, 8, 8, 8, 6, 6, 6, 8, 6, 6, 6, 6, 8, 6, 6, 6])


def by_name(counted: tuple[GroupCounts, ...]) -> dict[str, GroupCounts]:
    return {one.group: one for one in counted}


@pytest.mark.parametrize(
    ("group", "tpr", "fpr", "selection"),
    [("a", 0.5, 1.0, 0.75), ("b", 0.6, 0.0, 0.5), ("c", 0.4, 2 / 3, 0.5)],
)
def test_fairlearns_guide_by_group(group: str, tpr: float, fpr: float, selection: float) -> None:
    one = by_name(count(TRUTH, DECIDED, GROUP))[group]
    assert one.rate("true_positive_rate") == pytest.approx(tpr)
    assert one.rate("false_positive_rate") == pytest.approx(fpr)
    assert one.rate("selection_rate") == pytest.approx(selection)
    assert one.rate("false_negative_rate") == pytest.approx(1 - tpr)


def test_fairlearns_guide_overall_and_disparities() -> None:
    (everybody,) = count(TRUTH, DECIDED, pd.Series(["all"] * 18))
    assert everybody.rate("true_positive_rate") == pytest.approx(0.5)
    assert everybody.rate("false_positive_rate") == pytest.approx(2 / 3, abs=1e-6)
    assert everybody.rate("selection_rate") == pytest.approx(10 / 18)
    counted = count(TRUTH, DECIDED, GROUP)
    parity = disparity(counted, "selection_rate", "difference")
    ratio = disparity(counted, "selection_rate", "ratio")
    assert parity is not None
    assert ratio is not None
    assert parity.value == pytest.approx(0.25)
    assert ratio.value == pytest.approx(2 / 3)
    odds = [
        disparity(counted, r, "difference") for r in ("true_positive_rate", "false_positive_rate")
    ]
    assert max(one.value for one in odds if one) == pytest.approx(1.0)
    odds = [disparity(counted, r, "ratio") for r in ("true_positive_rate", "false_positive_rate")]
    assert min(one.value for one in odds if one) == pytest.approx(0.0)


def test_fairlearns_guide_intersections() -> None:
    names = groups.group_names(pd.DataFrame({"one": GROUP, "two": SECOND}))
    counted = by_name(count(TRUTH, DECIDED, names))
    recalls = {name: one.rate("true_positive_rate") for name, one in counted.items()}
    assert recalls == pytest.approx(
        {"a & 6": 0, "a & 8": 1, "b & 6": 2 / 3, "b & 8": 0.5, "c & 6": 0.5, "c & 8": 0}
    )


def test_our_rates_are_fairlearns() -> None:
    theirs = groups.rates_by_group(TRUTH, DECIDED, GROUP)
    for one in count(TRUTH, DECIDED, GROUP):
        for name, value in theirs[one.group].items():
            assert one.rate(name) == pytest.approx(value), (one.group, name)  # type: ignore[arg-type]  # names of rates


@pytest.mark.parametrize(
    ("percent", "ratio", "adverse"), [(45, 0.75, True), (48, 0.8, False), (51, 0.85, False)]
)
def test_the_eeocs_example(percent: int, ratio: float, adverse: bool) -> None:
    found = disparity([selected("men", 60), selected("women", percent)], "selection_rate", "ratio")
    assert found is not None
    assert found.value == pytest.approx(ratio)
    assert (not found.value + groups.TOLERANCE >= 0.8) is adverse


def selected(name: str, percent: int, rows: int = 100) -> GroupCounts:
    chosen = rows * percent // 100
    return GroupCounts(
        group=name, rows=rows, positives=rows, selected=chosen, true_positives=chosen
    )


def test_the_loan_applications_of_boston() -> None:
    approved = {"white": (1527, 1681), "hispanic": (85, 111), "black": (133, 197)}
    counted = [
        GroupCounts(group=n, rows=rows, positives=yes, selected=yes, true_positives=yes)
        for n, (yes, rows) in approved.items()
    ]
    black = disparity([counted[0], counted[2]], "selection_rate", "ratio")
    hispanic = disparity([counted[0], counted[1]], "selection_rate", "ratio")
    assert black is not None
    assert hispanic is not None
    assert black.value == pytest.approx(0.743213, abs=2e-6)
    assert hispanic.value == pytest.approx(0.842995, abs=2e-6)
    assert black.low < black.value < black.high < 0.85
    assert (black.worst, black.reference) == ("black", "white")


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for seed in range(300):
        pair = [
            GroupCounts(
                group="a",
                rows=400,
                positives=400,
                selected=int(rng.binomial(400, 0.8)),
                true_positives=0,
            ),
            GroupCounts(
                group="b",
                rows=90,
                positives=90,
                selected=int(rng.binomial(90, 0.6)),
                true_positives=0,
            ),
        ]
        found = disparity(pair, "selection_rate", "ratio", draws=800, seed=seed)
        assert found is not None
        covered += found.low <= 0.75 <= found.high
    assert 0.91 <= covered / 300 <= 0.99


def test_missing_values_are_a_group_of_their_own() -> None:
    names = groups.group_names(pd.DataFrame({"male": [1.0, 0.0, None]}))
    assert names.tolist() == ["1", "0", groups.MISSING]


def test_one_group_has_no_disparity() -> None:
    assert disparity([selected("a", 50)], "selection_rate", "ratio") is None
    nobody = GroupCounts(group="b", rows=5, positives=0, selected=0, true_positives=0)
    assert nobody.rate("true_positive_rate") is None
    assert disparity([selected("a", 50), nobody], "true_positive_rate", "ratio") is None


def test_nobody_selected_is_equal() -> None:
    found = disparity([selected("a", 0), selected("b", 0)], "selection_rate", "ratio")
    assert found is not None
    assert found.value == 1.0


@given(st.integers(0, 2**32 - 1), st.sampled_from(["ratio", "difference"]))
def test_the_change_is_zero_for_the_same_model_and_flips_with_the_sides(
    seed: int, comparison: groups.Comparison
) -> None:
    rng = np.random.default_rng(seed)
    truth, base, head = (rng.random(200) < 0.5 for _ in range(3))
    names = pd.Series(np.where(np.arange(200) % 3 == 0, "a", "b"))

    def change(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float, float]:
        found = groups.change_of_disparity(
            truth, one, other, names, rate="selection_rate", comparison=comparison, draws=50
        )
        assert found is not None
        return found

    assert change(base, base)[1:] == (0.0, 0.0, 0.0)
    there, back = change(base, head), change(head, base)
    assert there[1] == pytest.approx(-back[1])
    assert there[2] <= there[3]


def test_mean_error_gap() -> None:
    errors = np.concatenate([np.full(50, 1.0), np.full(60, -0.5)])
    names = pd.Series(["a"] * 50 + ["b"] * 60)
    found = groups.mean_error_gap(errors, names, draws=20)
    assert found is not None
    assert (found.gap, found.low, found.high) == pytest.approx((1.5, 1.5, 1.5))
    assert (found.lowest, found.highest) == ("b", "a")
    assert groups.mean_error_gap(errors[:50], names[:50]) is None
