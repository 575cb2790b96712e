"""Every kind of rule, judged on rows whose answer is known."""

import copy
import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci_mlops.command import Commands
from ci_mlops.errors import CannotLook, ConfigError
from ci_mlops.evidence import Check, Subject
from ci_mlops.model import card_file
from ci_mlops.stage import Findings, Workspace
from ci_mlops.stages.policy import PolicyStage, Waiver, judging, packs, proxies
from ci_mlops.strict_yaml import read
from tests.unit.stages.policy.workspaces import chosen

TODAY = date(2026, 11, 23)
WORDS = {"reason": "r", "source": "s", "remedy": "Do it"}
RATIO = {"kind": "group_metric", "metric": ["selection_rate"], "compare": "ratio", "at_least": 0.8}


def people(**groups: tuple[int, int]) -> tuple[pd.DataFrame, np.ndarray]:
    """Return rows by race and sex ("white_m"), and decisions, from (selected, rows) by group."""
    rows, decided = [], []
    for name, (selected, size) in groups.items():
        race, _, sex = name.partition("_")
        rows += [{"race": race, "sex": sex, "y": n % 2} for n in range(size)]
        decided += [int(n < selected) for n in range(size)]
    frame = pd.DataFrame(rows)
    frame.index = pd.Index([f"r{n}" for n in range(len(frame))])
    return frame, np.array(decided)


def found(root: Path, workspace: Workspace, *rules: dict[str, Any], **settings: Any) -> Findings:
    """Judge rules that stand in a pack of the project."""
    held = [{"id": f"rule-{n}", **WORDS, **rule} for n, rule in enumerate(rules)]
    pack = {"name": "ours", "title": "t", "description": "d", "rules": held}
    (root / "ours.yml").write_text(json.dumps(pack), encoding="utf-8")
    stage = PolicyStage(packs=("ours.yml",), **settings)
    return judging.judge(stage, workspace, today=TODAY)


def only(findings: Findings) -> Check:
    (check,) = findings.checks
    return check


# --- group metrics ------------------------------------------------------------------------------


def test_intersections_show_what_single_features_hide(tmp_path: Path) -> None:
    frame, decided = people(
        white_m=(80, 100), white_f=(40, 100), black_m=(40, 100), black_f=(80, 100)
    )
    workspace = chosen(tmp_path, frame, decided, sensitive=("race", "sex"))
    singles = found(tmp_path, workspace, RATIO)
    assert {(c.slice, c.outcome) for c in singles.checks} == {("race", "passed"), ("sex", "passed")}
    both = only(found(tmp_path, workspace, {**RATIO, "intersections": True}))
    assert (both.slice, both.outcome, both.observed) == ("race × sex", "failed", 0.5)
    (named,) = found(tmp_path, workspace, RATIO, groups=(("race", "sex"),)).checks
    assert named.observed == 0.5


def test_one_feature_has_no_intersection(tmp_path: Path) -> None:
    workspace = chosen(tmp_path, *people(white=(60, 100), black=(60, 100)))
    check = only(found(tmp_path, workspace, {**RATIO, "intersections": True}))
    assert (check.outcome, "no two sensitive" in check.message) == ("skipped", True)


def test_no_sensitive_feature_is_an_error(tmp_path: Path) -> None:
    workspace = chosen(tmp_path, *people(white=(60, 100)), sensitive=())
    assert only(found(tmp_path, workspace, RATIO)).outcome == "error"


@pytest.mark.parametrize("rule", [RATIO, {"kind": "proxy", "at_most": 0.8}])
def test_a_missing_sensitive_column_is_one_clear_line(tmp_path: Path, rule: dict[str, Any]) -> None:
    frame, decided = people(white=(60, 100), black=(60, 100))
    workspace = chosen(tmp_path, frame, decided, sensitive=("age",), inputs=("sex",))
    with pytest.raises(CannotLook, match="has no column 'age'") as fault:
        found(tmp_path, workspace, rule)
    assert fault.value.place == "data.sensitive"


def test_a_scoring_rate_is_the_share_above_the_median(tmp_path: Path) -> None:
    frame, decided = people(white=(100, 100), black=(100, 100))
    score = np.concatenate([np.linspace(0.6, 0.9, 75), np.linspace(0.1, 0.4, 25)])
    score = np.concatenate([score, np.linspace(0.05, 0.45, 100)])
    workspace = chosen(tmp_path, frame, decided, scores=np.column_stack([1 - score, score]))
    plain, scoring = found(tmp_path, workspace, RATIO, {**RATIO, "above_median_score": True}).checks
    assert plain.observed == 1.0
    expected = float(
        (score[100:] > np.median(score)).sum() / (score[:100] > np.median(score)).sum()
    )
    assert scoring.observed == pytest.approx(expected)
    assert scoring.outcome == "failed"


def test_a_scoring_rate_needs_scores(tmp_path: Path) -> None:
    workspace = chosen(tmp_path, *people(white=(60, 100), black=(60, 100)))
    with pytest.raises(CannotLook, match="needs scores"):
        found(tmp_path, workspace, {**RATIO, "above_median_score": True})


def test_a_group_below_the_share_is_left_out_and_named(tmp_path: Path) -> None:
    workspace = chosen(tmp_path, *people(white=(60, 100), black=(60, 100), other=(0, 3)))
    left, whole = found(tmp_path, workspace, {**RATIO, "leave_out_below_share": 0.02}).checks
    assert (left.slice, left.outcome) == ("race = other", "skipped")
    assert "3 of 203 rows" in left.message
    assert whole.outcome == "passed"


def test_true_positives_too_few_to_judge_leave_the_rule_undecided(tmp_path: Path) -> None:
    frame, decided = people(white=(60, 100), black=(60, 100))
    frame.loc[frame["race"] == "black", "y"] = 0
    rule = {**RATIO, "metric": ["true_positive_rate"]}
    small, whole = found(tmp_path, chosen(tmp_path, frame, decided), rule).checks
    assert (small.slice, whole.outcome) == ("race = black", "inconclusive")


def test_missing_values_are_shown_and_leave_nothing_open(tmp_path: Path) -> None:
    frame, decided = people(white=(60, 100), black=(60, 100), gone=(1, 10))
    frame["race"] = frame["race"].where(frame["race"] != "gone", None)
    shown, whole = found(tmp_path, chosen(tmp_path, frame, decided), RATIO).checks
    assert (shown.slice, whole.outcome) == ("race = (missing)", "passed")


@pytest.mark.parametrize(
    ("reference", "observed", "outcome"),
    [({"race": "black"}, 1.0, "passed"), ({}, 0.5, "failed"), ({"sex": "f"}, 0.5, "failed")],
)
def test_a_ratio_to_a_named_group(
    tmp_path: Path, reference: dict[str, str], observed: float, outcome: str
) -> None:
    workspace = chosen(tmp_path, *people(white=(80, 100), black=(40, 100), other=(40, 100)))
    check = only(found(tmp_path, workspace, {**RATIO, "reference": reference}))
    assert (check.observed, check.outcome) == (observed, outcome)


def test_a_reference_that_is_not_there_decides_nothing(tmp_path: Path) -> None:
    workspace = chosen(tmp_path, *people(white=(80, 100), black=(40, 100)))
    check = only(found(tmp_path, workspace, {**RATIO, "reference": {"race": "asian"}}))
    assert (check.outcome, "asian" in check.message) == ("inconclusive", True)


def test_a_difference_says_points(tmp_path: Path) -> None:
    workspace = chosen(tmp_path, *people(white=(80, 100), black=(40, 100)))
    rule = {"kind": "group_metric", "metric": ["selection_rate"], "compare": "difference"}
    check = only(found(tmp_path, workspace, {**rule, "at_most": 0.4}))
    assert check.outcome == "passed"
    assert "40 points less often" in check.message
    own = only(found(tmp_path, workspace, {**rule, "at_most": 0.4}, limits={"rule-0": 0.3}))
    assert own.outcome == "failed"


def test_one_group_alone_decides_nothing(tmp_path: Path) -> None:
    workspace = chosen(tmp_path, *people(white=(80, 100)))
    assert only(found(tmp_path, workspace, RATIO)).outcome == "inconclusive"
    against = {"kind": "regression_against_base", "metric": ["selection_rate"], "compare": "ratio"}
    based = chosen(tmp_path, *people(white=(80, 100)), judge=tmp_path)
    assert only(found(tmp_path, based, {**against, "max_drop": 0.1})).outcome == "inconclusive"


def test_an_information_tells_and_never_warns(tmp_path: Path) -> None:
    workspace = chosen(tmp_path, *people(white=(80, 100), black=(40, 100), other=(1, 9)))
    rule = {**RATIO, "severity": "info"}
    checks = found(tmp_path, workspace, rule).checks
    assert {check.outcome for check in checks} == {"skipped", "passed"}
    assert "For information only, beyond the limit" in checks[-1].message
    fair = chosen(tmp_path, *people(white=(80, 100), black=(80, 100), other=(1, 9)))
    assert "undecided" in found(tmp_path, fair, rule).checks[-1].message


def test_figures_for_trends_stand_beside_the_checks(tmp_path: Path) -> None:
    workspace = chosen(tmp_path, *people(white=(80, 100), black=(40, 100)))
    findings = found(tmp_path, workspace, RATIO)
    assert [(m.slice, m.value) for m in findings.metrics] == [("race", 0.5)]
    assert [row[0] for row in findings.tables[0].rows] == ["black", "white"]


# --- errors -------------------------------------------------------------------------------------


def _regression(tmp_path: Path, gap: float, **groups: tuple[int, int]) -> Workspace:
    frame, _ = people(**groups)
    frame["y"] = np.resize([-1.0, 1.0], len(frame))
    shift = np.where(frame["race"] == "black", gap, 0.0)
    return chosen(tmp_path, frame, frame["y"].to_numpy() + shift, classes=())


@pytest.mark.parametrize(
    ("gap", "small", "outcome"),
    [(0.1, 0, "passed"), (0.5, 0, "failed"), (-0.5, 0, "failed"), (0.1, 9, "inconclusive")],
)
def test_mean_errors_by_group(tmp_path: Path, gap: float, small: int, outcome: str) -> None:
    workspace = _regression(tmp_path, gap, white=(0, 100), black=(0, 100), other=(0, small))
    rule = {"kind": "mean_error_gap", "at_most_share_of_spread": 0.2}
    check = only(found(tmp_path, workspace, rule))
    assert check.outcome == outcome
    assert check.observed == pytest.approx(abs(gap), rel=0.01)


def test_mean_errors_that_cannot_be_judged(tmp_path: Path) -> None:
    rule = {"kind": "mean_error_gap", "at_most_share_of_spread": 0.2}
    alone = _regression(tmp_path, 0.1, white=(0, 100), black=(0, 9))
    check = only(found(tmp_path, alone, rule))
    assert (check.outcome, "black (n = 9)" in check.message) == ("inconclusive", True)
    classes = chosen(tmp_path, *people(white=(60, 100), black=(60, 100)))
    assert only(found(tmp_path, classes, rule)).outcome == "skipped"
    alone.table(alone.head, "test").frame.loc["r0", "y"] = np.nan
    with pytest.raises(CannotLook, match="missing values"):
        found(tmp_path, alone, rule)


def test_a_regression_has_no_group_rates(tmp_path: Path) -> None:
    workspace = _regression(tmp_path, 0.1, white=(0, 100), black=(0, 100))
    with pytest.raises(CannotLook, match="regression") as fault:
        found(tmp_path, workspace, RATIO)
    assert "mean_error_gap" in fault.value.remedy
    floor = {"kind": "performance_floor", "at_least": 0.6}
    assert only(found(tmp_path, workspace, floor)).outcome == "skipped"


def test_a_useless_model_misses_the_floor(tmp_path: Path) -> None:
    workspace = chosen(tmp_path, *people(white=(100, 100), black=(100, 100)))
    check = only(found(tmp_path, workspace, {"kind": "performance_floor", "at_least": 0.6}))
    assert (check.outcome, check.observed) == ("failed", 0.5)
    # All of one class, none of the other: Wilson of 200 of 200 and of 0 of 200.
    assert check.interval is not None
    assert (check.interval.low, check.interval.high) == pytest.approx((0.4815, 0.5185), abs=1e-4)


# --- inputs -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("noise", "outcome"), [(0.05, "failed"), (50.0, "passed")])
def test_a_proxy_is_found_by_how_well_it_tells_the_groups_apart(
    tmp_path: Path, noise: float, outcome: str
) -> None:
    frame, decided = people(white=(60, 150), black=(60, 150))
    rng = np.random.default_rng(0)
    frame["street"] = (frame["race"] == "black") + noise * rng.normal(size=len(frame))
    frame["colour"] = rng.choice(["red", "blue"], len(frame))
    workspace = chosen(tmp_path, frame, decided, inputs=("street", "colour", "race"))
    check = only(found(tmp_path, workspace, {"kind": "proxy", "at_most": 0.8}))
    assert check.outcome == outcome
    assert check.interval is not None
    assert check.interval.low <= float(check.observed or 0) <= check.interval.high
    assert check.interval.level == 0.95
    assert outcome == "passed" or "most telling: street" in check.message


def test_a_proxy_of_small_groups_is_undecided_and_of_unknown_inputs_skipped(tmp_path: Path) -> None:
    rows = people(white=(60, 100), black=(6, 10))
    rule = {"kind": "proxy", "at_most": 0.8}
    small = chosen(tmp_path, *rows, inputs=("sex",))
    assert only(found(tmp_path, small, rule)).outcome == "inconclusive"
    assert only(found(tmp_path, chosen(tmp_path, *rows), rule)).outcome == "skipped"


def test_the_error_of_an_area_is_hanley_and_mcneils() -> None:
    # A = 0.75 by hand: of 2 x 2 pairs three are in order; the error follows from the formula.
    scores = np.array([0.1, 0.4, 0.3, 0.8])
    value, error = proxies.area(np.array([0, 0, 1, 1]), np.column_stack([1 - scores, scores]))
    q1, q2 = 0.75 / 1.25, 2 * 0.75**2 / 1.75
    assert value == 0.75
    assert error == pytest.approx(((0.1875 + (q1 - 0.5625) + (q2 - 0.5625)) / 4) ** 0.5)


# --- documents, waivers, packs ------------------------------------------------------------------

CARD = {"kind": "model_card", "fields": ["owner", "limits"]}


@pytest.mark.parametrize(
    ("text", "card", "outcome", "said"),
    [
        ("---\nowner: us\n---\n# Limits\n\nFew.\n", "card.md", "passed", "all 2 questions"),
        ("# Owner\n\nus\n", "card.md", "failed", "does not answer: limits"),
        (None, "card.md", "failed", "card.md is missing"),
        (None, None, "failed", "names none"),
        ("# Owner\n\nus\n", "../card.md", "failed", "is missing"),
    ],
)
def test_the_card_on_disk(
    tmp_path: Path, text: str | None, card: str | None, outcome: str, said: str
) -> None:
    root = tmp_path / "project"
    root.mkdir()
    if text is not None and card is not None:
        (root / card).write_text(text, encoding="utf-8")
    workspace = chosen(root, *people(white=(60, 100)), card=card)
    check = only(found(root, workspace, CARD))
    assert check.outcome == outcome
    assert said in check.message


def test_a_card_that_is_made_must_speak_of_the_model_that_git_holds(
    tmp_path: Path, commands: Commands
) -> None:
    def git(*words: str) -> None:
        assert commands.run(["git", *words], cwd=tmp_path).code == 0

    rule = {**CARD, "fields": ["owner", "evaluation"]}
    (tmp_path / "card.yml").write_text("owner: us\n", encoding="utf-8")
    workspace = chosen(tmp_path, *people(white=(60, 100)), card="card.yml")
    model = workspace.head.model
    assert model is not None
    settings = model.model_copy(update={"path": "m/model.txt", "predictions": None})
    subjects = (*workspace.head.subjects, Subject(name="model", sha256="a" * 64))
    head = replace(workspace.head, model=settings, subjects=subjects)
    workspace = replace(workspace, head=head, commands=commands, stages=("model", "policy"))
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.txt").write_text("1", encoding="utf-8")
    git("init", "-q")
    stage = PolicyStage()
    check = only(found(tmp_path, workspace, rule))
    assert check.outcome == "passed", "of a model that is not in git, each run makes the card"
    git("add", "m/model.txt")
    check = only(found(tmp_path, workspace, rule))
    assert (check.outcome, "no m/MODEL_CARD.md next to the model" in check.message) == (
        "failed",
        True,
    )
    assert "ci-mlops card" in check.remedy
    before = stage.inputs(workspace)
    for digest, outcome in (("a" * 64, "passed"), ("b" * 64, "failed")):
        about = card_file.speaks_of({one.name: one.sha256 for one in subjects}, 0.5)
        text = f"---\nci-mlops: {json.dumps({**about, 'model': digest})}\n---\n"
        (tmp_path / "m" / "MODEL_CARD.md").write_text(text, encoding="utf-8")
        assert only(found(tmp_path, workspace, rule)).outcome == outcome
    assert stage.inputs(workspace) != before
    missing = only(found(tmp_path, workspace, {**CARD, "fields": ["risks"]}))
    assert "does not answer: risks" in missing.message


def test_front_matter_that_is_no_yaml_is_told(tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text("---\nowner: [\n---\n", encoding="utf-8")
    workspace = chosen(tmp_path, *people(white=(60, 100)), card="card.md")
    with pytest.raises(CannotLook) as fault:
        found(tmp_path, workspace, CARD)
    assert fault.value.place.startswith("card.md")


def test_an_expired_waiver_counts_for_nothing_and_is_named(tmp_path: Path) -> None:
    workspace = chosen(tmp_path, *people(white=(80, 100), black=(40, 100)))
    waiver = Waiver(rule="rule-0", reason="long enough", approved_by="Risk", expires="2026-11-22")
    findings = found(tmp_path, workspace, RATIO, waivers=(waiver,))
    assert only(findings).outcome == "failed"
    assert "expired on 2026-11-22" in findings.notes[0]


def test_a_changed_pack_is_named_and_the_bases_judges(tmp_path: Path) -> None:
    head, base = tmp_path / "head", tmp_path / "base"
    head.mkdir()
    base.mkdir()
    workspace = chosen(head, *people(white=(80, 100), black=(40, 100)), judge=base)
    stage = PolicyStage(packs=("ours.yml", "documentation"))
    found(head, workspace.__class__(**{**_fields(workspace), "judge": workspace.head}), RATIO)
    unchanged = found(base, workspace, RATIO)
    assert unchanged.notes == ()
    before = stage.inputs(workspace)
    text = (base / "ours.yml").read_text(encoding="utf-8")
    (head / "ours.yml").write_text(text.replace("0.8", "0.3"), encoding="utf-8")
    changed = found(base, workspace, RATIO)
    assert only(changed).outcome == "failed"
    assert "changes the policy pack ours.yml" in changed.notes[0]
    after = stage.inputs(workspace)
    assert [name for name in after if before[name] != after[name]] == ["head-pack:ours.yml"]


def _fields(workspace: Workspace) -> dict[str, Any]:
    names = ("head", "base", "base_missing", "commands", "folder", "cache", "cores", "_made")
    return {name: getattr(workspace, name) for name in names}


def test_inputs_follow_the_card_the_day_and_an_unknown_pack(tmp_path: Path) -> None:
    workspace = chosen(tmp_path, *people(white=(60, 100)), card="card.md")
    waiver = Waiver(rule="x", reason="long enough", approved_by="Risk", expires="2026-11-22")
    stage = PolicyStage(packs=("four-fifth",), waivers=(waiver,))
    before = stage.inputs(workspace)
    assert "four-fifths" in before["pack:four-fifth"]
    assert before["today"]
    (tmp_path / "card.md").write_text("# Owner\n\nus\n", encoding="utf-8")
    assert stage.inputs(workspace)["card"] != before["card"]
    with pytest.raises(ConfigError, match="did you mean"):
        stage.run(workspace)


def test_stages_that_the_gate_lacks_are_missing_evidence(tmp_path: Path) -> None:
    workspace = chosen(tmp_path, *people(white=(60, 100)))
    rule = {"kind": "required_evidence", "stages": ["data"]}
    assert only(found(tmp_path, workspace, rule)).outcome == "failed"
    with_data = workspace.__class__(
        **{**_fields(workspace), "judge": workspace.head, "stages": ("data",)}
    )
    assert only(found(tmp_path, with_data, rule)).message == "All evidence is set up: stage data."


VALID = read(packs.ready_made()["nyc-local-law-144"], "nyc").value
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)


@given(
    rule=st.integers(0, len(VALID["rules"]) - 1),
    key=st.sampled_from([*VALID["rules"][0], *VALID["rules"][1], "reference", "at_most", "x"]),
    value=st.none() | JSON,
    top=st.booleans(),
)
def test_a_pack_that_is_nearly_right_is_read_or_refused(
    rule: int, key: str, value: Any, top: bool
) -> None:
    pack = copy.deepcopy(VALID)
    (pack if top else pack["rules"][rule])[key] = value
    try:
        loaded = packs.parse(json.dumps(pack), "ours.yml")
    except ConfigError as fault:
        assert fault.place.startswith("ours.yml:")
    else:
        assert loaded.pack.rules


@given(data=st.binary(max_size=200))
def test_a_file_of_any_bytes_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    root = tmp_path_factory.getbasetemp()
    (root / "bytes.yml").write_bytes(data)
    with pytest.raises(ConfigError):
        packs.load("bytes.yml", root)


@pytest.mark.parametrize("name", ["gone.yml", "../out.yml", "a\0b.yml", "folder.yml"])
def test_a_pack_that_is_no_file_here_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.yml").mkdir()
    with pytest.raises(ConfigError):
        packs.load(name, tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "group_metrics"}, "did you mean"),
        ({"at_leest": 0.8}, "at_leest"),
        ({"at_least": 3}, "at_least"),
        ({"metric": ["selection"]}, "metric"),
    ],
)
def test_a_wrong_rule_is_named_in_one_line(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    workspace = chosen(tmp_path, *people(white=(60, 100), black=(60, 100)))
    with pytest.raises(ConfigError, match=said) as fault:
        found(tmp_path, workspace, {**RATIO, **change})
    assert "\n" not in str(fault.value)
