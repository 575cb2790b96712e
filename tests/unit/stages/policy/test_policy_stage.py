"""Stage policy on decisions whose rates by group are chosen."""

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
from pydantic import ValidationError

from ci_mlops.command import Commands
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.dataset.table import Table
from ci_mlops.errors import CannotLook, ConfigError
from ci_mlops.evidence import Check
from ci_mlops.model.predictions import Predictions
from ci_mlops.model.settings import ModelSettings
from ci_mlops.stage import Side, Workspace
from ci_mlops.stages.policy import PolicyStage, Waiver, governance, judging, packs, reference

TODAY = date(2026, 11, 23)
ROOT = Path(__file__).parents[4]
Groups = dict[str, tuple[int, int]]


def space(root: Path, head: Groups, base: Groups | None = None) -> Workspace:
    """Return a workspace; groups are given as (selected, rows), the same rows on both sides."""
    names = [name for name, (_, rows) in head.items() for _ in range(rows)]
    frame = pd.DataFrame({"race": names, "approve": np.arange(len(names)) % 2})
    frame.index = pd.Index([f"r{n}" for n in range(len(names))])

    def side(name: Any) -> Side:
        data = DataSettings(test="test.csv", label="approve", sensitive=("race",), positive=1)
        model = ModelSettings(task="binary", path="m")
        return Side(
            name=name, root=root, commit="b" * 40, code="", data=data, model=model, subjects=()
        )

    def answers(groups: Groups) -> Predictions:
        made = np.array([int(n < got) for got, rows in groups.values() for n in range(rows)])
        scores = np.column_stack([1.0 - made, made])
        return Predictions(keys=frame.index, predicted=made, scores=scores, classes=(0, 1))

    one = side("head")
    made = Workspace(
        head=one,
        base=None if base is None else side("base"),
        base_missing="this is the first commit" if base is None else "",
        judge=one,
        commands=Commands(environ={}),
        folder=root,
        cache=root,
        cores=2,
    )
    made.once(("table", "head", "test"), lambda: Table(frame=frame, settings=one.data, place="t"))
    made.once(("predictions", "head", "head", "test"), lambda: answers(head))
    if base is not None:
        made.once(("predictions", "base", "head", "test"), lambda: answers(base))
    return made


def judged(rule: str, workspace: Workspace, **settings: Any) -> list[Check]:
    """Return the checks of one rule."""
    stage = PolicyStage(**{"packs": ("four-fifths", "no-regression"), **settings})
    found = judging.judge(stage, workspace, today=TODAY).checks
    return [check for check in found if check.name == rule]


@pytest.mark.parametrize(
    ("selected", "outcome"), [(48, "passed"), (47, "failed"), (60, "passed"), (0, "failed")]
)
def test_exactly_four_fifths_passes(tmp_path: Path, selected: int, outcome: str) -> None:
    workspace = space(tmp_path, {"white": (60, 100), "black": (selected, 100)})
    (check,) = judged("four-fifths", workspace)
    assert check.outcome == outcome
    assert check.observed == pytest.approx(selected / 60)


def test_a_group_too_small_is_never_fair(tmp_path: Path) -> None:
    workspace = space(tmp_path, {"white": (60, 100), "black": (60, 100), "hispanic": (1, 35)})
    small, whole = judged("four-fifths", workspace)
    assert (small.outcome, small.slice) == ("skipped", "race = hispanic")
    assert whole.outcome == "inconclusive"
    assert "hispanic (n = 35)" in whole.message


def test_a_small_group_leaves_the_comparison_with_the_base_undecided(tmp_path: Path) -> None:
    groups = {"white": (60, 100), "black": (60, 100), "hispanic": (1, 35)}
    found = _regressions(space(tmp_path, groups, groups))
    assert {check.outcome for check in found} == {"inconclusive"}
    assert all("hispanic (n = 35)" in check.message for check in found)


def test_worse_than_the_base_fails_and_equal_passes(tmp_path: Path) -> None:
    fair, unfair = {"a": (150, 300), "b": (150, 300)}, {"a": (150, 300), "b": (60, 300)}
    assert {c.outcome for c in _regressions(space(tmp_path, fair, fair))} == {"passed"}
    assert "failed" in {c.outcome for c in _regressions(space(tmp_path, unfair, fair))}


def test_without_a_base_the_rule_says_why(tmp_path: Path) -> None:
    found = _regressions(space(tmp_path, {"a": (150, 300), "b": (150, 300)}))
    assert found
    assert all(c.outcome == "skipped" and "first commit" in c.message for c in found)


def _regressions(workspace: Workspace) -> list[Check]:
    pack = packs.load("no-regression", workspace.judge.root).pack
    rules = [rule.id for rule in pack.rules if isinstance(rule, packs.Regression)]
    return [check for rule in rules for check in judged(rule, workspace)]


@pytest.mark.parametrize(
    ("expires", "slice_", "outcome"),
    [
        ("2026-11-23", "", "warned"),
        ("2026-11-23", "race", "warned"),
        ("2026-11-22", "", "failed"),
        ("2026-11-23", "male", "failed"),
    ],
)
def test_a_waiver_holds_to_its_last_day_and_slice(
    tmp_path: Path, expires: str, slice_: str, outcome: str
) -> None:
    waiver = Waiver(
        rule="four-fifths",
        slice=slice_,
        reason="The threshold is being replaced.",
        approved_by="Head of risk",
        expires=expires,
    )
    workspace = space(tmp_path, {"white": (60, 100), "black": (20, 100)})
    (check,) = judged("four-fifths", workspace, waivers=(waiver,))
    assert check.outcome == outcome
    assert ("Head of risk" in check.message) == (outcome == "warned")


def test_a_waiver_needs_a_real_day() -> None:
    with pytest.raises(ValidationError):
        Waiver(rule="x", reason="long enough", approved_by="me", expires="2026-13-45")


def test_limits_and_waivers_of_unknown_rules_are_refused(tmp_path: Path) -> None:
    workspace = space(tmp_path, {"white": (60, 100), "black": (60, 100)})
    with pytest.raises(ConfigError, match="four-fifths"):
        judged("four-fifths", workspace, limits={"four-fifhts": 0.5})


def test_every_ready_made_pack_is_read() -> None:
    for name, text in packs.ready_made().items():
        assert packs.parse(text, name).pack.name == name


@given(st.one_of(st.text(), st.binary().map(lambda b: b.decode("utf-8", "replace"))))
def test_no_text_gives_a_traceback(text: str) -> None:
    with pytest.raises(ConfigError):
        packs.parse(text, "ours.yml")


def test_a_pack_outside_of_the_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="outside"):
        packs.load("../ours.yml", tmp_path)


def test_what_is_made_from_the_packs_is_fresh() -> None:
    schema = (ROOT / "ci_mlops/schema/policy.schema.json").read_text(encoding="utf-8")
    assert json.loads(schema) == packs.schema()
    assert (ROOT / "docs/policies.md").read_text(encoding="utf-8") == reference.markdown()


def test_two_different_rules_of_one_name_are_refused(tmp_path: Path) -> None:
    text = packs.ready_made()["four-fifths"]
    (tmp_path / "ours.yml").write_text(
        text.replace("at_least: 0.8", "at_least: 0.9").replace("name: four-fifths", "name: ours")
    )
    workspace = space(tmp_path, {"white": (60, 100), "black": (50, 100)})
    with pytest.raises(ConfigError, match="different rules"):
        judged("four-fifths", workspace, packs=("four-fifths", "ours.yml"))
    (own,) = judged("four-fifths", workspace, packs=("ours.yml",))
    assert own.outcome == "failed"


def test_labels_that_the_model_does_not_know_are_refused(tmp_path: Path) -> None:
    workspace = space(tmp_path, {"white": (60, 100), "black": (60, 100)})
    frame = workspace.table(workspace.head, "test").frame
    frame["approve"] = frame["approve"].astype(str)
    with pytest.raises(CannotLook, match="not among the model's classes"):
        judged("four-fifths", workspace)


def test_the_articles_of_a_law_are_mapped_to_evidence(tmp_path: Path) -> None:
    workspace = space(tmp_path, {"white": (60, 100), "black": (60, 100)})
    stage = PolicyStage(packs=("eu-ai-act-high-risk", "documentation"))
    found = judging.judge(stage, workspace, today=TODAY)
    missing = {check.name: check for check in found.checks if check.outcome == "warned"}
    assert "stage data" in missing["article-10-data-governance"].message
    (table,) = [one for one in found.tables if one.columns[0] == "article"]
    assert ("10: data and data governance", "stage data", "missing") in table.rows


@pytest.mark.parametrize(("inputs", "outcome"), [(("race",), "failed"), (("dep",), "passed")])
def test_a_sensitive_input(tmp_path: Path, inputs: tuple[str, ...], outcome: str) -> None:
    workspace = space(tmp_path, {"white": (60, 100), "black": (60, 100)})
    made = workspace.predictions(model=workspace.head, data=workspace.head, part="test")
    key = ("predictions", "head", "head", "test")
    workspace._made[key] = replace(made, inputs=inputs)
    rule = packs.SensitiveInput(
        id="no-race", kind="sensitive_input", reason="r", source="s", remedy="Drop it"
    )
    (check,) = governance.judge(rule, PolicyStage(), workspace)
    assert check.outcome == outcome


def test_a_card_answers_by_front_matter_and_by_heading() -> None:
    text = "---\nintended_use: loans\n---\n# Limits\n\nBoston only.\n\n# Risks\n"
    assert governance.card_fields(text, "card.md") == {
        "intended use": "loans",
        "limits": "Boston only.",
        "risks": "",
    }
