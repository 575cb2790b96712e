"""A card says what the evidence and people said, the same bytes for the same evidence."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from ci_mlops.card import files, markdown
from ci_mlops.card.content import Card
from ci_mlops.errors import CannotLook, ConfigError, EvidenceError
from ci_mlops.evidence import Check, Interval, Metric, Record, Subject, Table
from ci_mlops.model import human
from ci_mlops.model.human import Human
from ci_mlops.model.settings import ModelSettings
from ci_mlops.verdict import Gate, decide
from tests.records import SHA, record, run

MODEL = ModelSettings(task="binary", path="model/m.joblib", card="model_card.yml")
PEOPLE = Human(owner="us | them", intended_use="To lend.\n\nTo small firms.", tags=("finance",))
STAGES = ("data", "model", "policy", "latency", "serving", "behaviour")


def made(**changes: Any) -> Card:
    records: dict[str, Record | EvidenceError] = {
        "data": record("passed", metrics=[Metric(name="rows", value=1392, slice="train")]),
        "model": record(
            stage="model",
            outcome="warned",
            checks=[
                Check(
                    name="better-than-trivial",
                    outcome="passed",
                    observed=0.5,
                    interval=Interval(low=0.36, high=0.63),
                    rows=597,
                    message="It is.",
                ),
                Check(name="over-fit", outcome="warned", message="Waived until 2027: why."),
            ],
            metrics=[
                Metric(name="roc_auc", value=0.75231, base=0.75),
                Metric(name="decisions_changed", value=2.0, unit="%"),
                Metric(name="roc_auc", value=0.7, slice="part"),
            ],
        ),
        "policy": record(
            "passed",
            stage="policy",
            tables=[
                Table(
                    title="Groups by race", columns=("group", "rate"), rows=(("black", 0.93333),)
                ),
                Table(
                    title="Groups by race: 95 % intervals",
                    columns=("group", "rate"),
                    rows=(("black", "0.841 to 0.974"),),
                ),
            ],
        ),
        "serving": record(
            "passed", stage="serving", metrics=[Metric(name="bundle-size", value=3.5, unit="MB")]
        ),
        "latency": EvidenceError("cannot be read", place="latency.json"),
    }
    records |= changes.pop("records", {})
    circumstances = run(
        stages=STAGES,
        subjects=(
            Subject(name="head.model", sha256="1" * 64),
            Subject(name="head.data.train", sha256="2" * 64),
            Subject(name="head.data.test", sha256="3" * 64),
            Subject(name="base.model", sha256=SHA),
        ),
    )
    return Card(
        project="loans",
        settings=MODEL,
        human=changes.pop("human", PEOPLE),
        run=circumstances,
        records=records,
        verdict=decide(Gate(), circumstances, records),
        test="data/test.csv",
        **changes,
    )


def test_the_header_is_what_the_hub_reads() -> None:
    found = yaml.safe_load(markdown.render(made()).split("---\n")[1])
    assert found["tags"] == ["finance", "ci-mlops"]
    (entry,) = found["model-index"]
    (result,) = entry["results"]
    assert entry["name"] == "loans"
    assert result["task"] == {"type": "tabular-classification"}
    assert result["dataset"] == {"type": "loans", "name": "data/test.csv", "revision": "3" * 64}
    assert result["metrics"] == [{"type": "roc_auc", "value": 0.75231}]
    assert found["ci-mlops"]["model"] == "1" * 64
    assert "license" not in found
    licensed = yaml.safe_load(markdown.render(made(human=Human(license="mit"))).split("---\n")[1])
    assert licensed["license"] == "mit"


def test_it_says_what_was_measured_and_what_was_not() -> None:
    text = markdown.render(made())
    assert text == markdown.render(made())
    for part in (
        "| owner | us &#124; them |",
        "To lend.\n\nTo small firms.",
        "| train | 1392 | sha256:222",
        "| test | not counted | sha256:333",
        "| roc auc | 0.752 | 0.75 |",
        "| better-than-trivial | 0.50, 95\N{NO-BREAK SPACE}%: 0.36 to 0.63 | 597 |",
        "| black | 0.841 to 0.974 |",
        "| bundle, with model and code | 3.5",
        "*Not measured: stage `latency` left no record.*",
        "*Not measured: stage `behaviour` left no record.*",
        "*Not answered. Fill in `risks` in the human part of the card.*",
        "| model · over-fit | Waived until 2027: why. |",
        "| ⛔ latency | ",
    ):
        assert part in text, part


def test_without_figures_it_says_so() -> None:
    gone = EvidenceError("is missing", place="x")
    text = markdown.render(made(records={"model": gone, "policy": gone, "serving": gone}))
    for stage in ("model", "policy"):
        assert f"*Not measured: stage `{stage}` left no record.*" in text
    assert "neither stage `serving` nor `image`" in text
    assert "## Waivers\n\nNone." in text
    assert yaml.safe_load(text.split("---\n")[1])["model-index"][0]["results"] == []


def test_the_page_runs_nothing_that_people_wrote() -> None:
    odd = Human(intended_use="<script>alert(1)</script> [x](javascript:alert(1))")
    card = made(human=odd)
    page = markdown.page(markdown.render(card), card.title)
    assert "<script" not in page
    assert 'href="javascript' not in page
    assert '<div class="scroll"><table>' in page
    assert "ci-mlops:" not in page, "the header is for the Hub"


def test_it_is_written_and_told_to_be_stale(tmp_path: Path) -> None:
    card = made()
    assert files.trouble(tmp_path, card.speaks_of()).endswith("MODEL_CARD.md is missing")
    assert [one.name for one in files.write(tmp_path, card)] == ["MODEL_CARD.md", "MODEL_CARD.html"]
    assert files.trouble(tmp_path, card.speaks_of()) == ""
    other = {**card.speaks_of(), "model": "9" * 64}
    assert files.trouble(tmp_path, other).endswith("speaks of another model")
    moved = {**card.speaks_of(), "threshold": "0.8"}
    assert files.trouble(tmp_path, moved).endswith("speaks of another threshold")
    more = {**card.speaks_of(), "data.new": "7" * 64}
    assert files.trouble(tmp_path, more).endswith("speaks of another data.new")
    for text in ("# By hand\n", "---\nlicense: mit\n---\n", "---\n[\n---\n"):
        (tmp_path / "MODEL_CARD.md").write_text(text, encoding="utf-8")
        assert "speaks of another data.test" in files.trouble(tmp_path, card.speaks_of())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ownr: us\n", 'ownr: unknown field, did you mean "owner"?'),
        ("owner: [1]\n", "owner: "),
        ("owner: [\n", "model_card.yml"),
        ("- a\n", "model_card.yml"),
    ],
)
def test_a_human_part_that_is_wrong_is_one_line(text: str, said: str) -> None:
    with pytest.raises(CannotLook) as fault:
        human.parse(text, "model_card.yml")
    assert said in str(fault.value)
    assert "\n" not in str(fault.value)


def test_the_human_part_must_be_named_and_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model.card: names no human part"):
        files.human_part(tmp_path, MODEL.model_copy(update={"card": "card.md"}))
    with pytest.raises(ConfigError, match=r"model_card.yml: cannot be read: No such file"):
        files.human_part(tmp_path, MODEL)
    (tmp_path / "model_card.yml").write_text("owner: us\n", encoding="utf-8")
    assert files.human_part(tmp_path, MODEL).answers() == {"owner": "us"}
