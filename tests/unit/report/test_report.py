"""The report: signal first, everything escaped, never too long. UPDATE_GOLDEN=1 rewrites goldens."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from ci_mlops import report
from ci_mlops.errors import EvidenceError
from ci_mlops.evidence import (
    Change,
    Chart,
    Check,
    Interval,
    Limit,
    Line2D,
    Metric,
    Place,
    Record,
    Run,
    Subject,
    Table,
    worst_outcome,
)
from ci_mlops.report import figures, html, markdown
from ci_mlops.report.escape import code
from ci_mlops.report.escape import markdown as escaped
from ci_mlops.verdict import Gate, decide
from tests.records import record, run

GOLDEN = Path(__file__).parent / "golden"
Records = Mapping[str, Record | EvidenceError]


def made(stage: str, *checks: Check, **changes: Any) -> Record:
    outcome = worst_outcome(check.outcome for check in checks)
    return record(stage=stage, checks=checks, outcome=outcome, **changes)


PASSED = Check(name="contract", outcome="passed", message="Every column keeps the contract.")
RACE = Check(
    name="four-fifths",
    slice="race",
    outcome="failed",
    observed=0.7412,
    base=0.931,
    limit=Limit(at_least=0.8),
    interval=Interval(low=0.66, high=0.83),
    message="Group black (n = 60) is selected at 0.74 of the rate of group white (n = 512).",
    remedy="Look at the threshold that came with this change",
    source="29 CFR 1607.4 D",
    rows=572,
)
RECALL = Check(
    name="recall-against-base",
    slice="dep >= 3",
    outcome="warned",
    observed=0.86,
    base=0.91,
    limit=Limit(at_least=-0.03, of="change"),
    interval=Interval(low=-0.11, high=0.01, of="change"),
    message="Worst of 14 slices.",
    rows=71,
    place=Place(file="mlops.yml", line=14),
)
CHART = Chart(
    title="Times",
    labels=("0.1", "0.2"),
    lines=(Line2D(name="base", values=(1, 2)), Line2D(name="head", values=(None, 4))),
    x_title="ms",
    y_title="share",
)
TABLE = Table(
    title="Groups", columns=("group", "rate"), rows=(("a|b", 0.5), ("c", None)), left_out=3
)


def red() -> tuple[Run, Records]:
    subjects = [
        Subject(
            name=f"{side}.{name}", sha256=("b" if (side, name) == ("head", "model") else "a") * 64
        )
        for side in ("head", "base")
        for name in ("model", "data.test")
    ]
    circumstances = run(
        stages=["data", "model", "policy"],
        subjects=subjects,
        reused=["data"],
        subject_changes=[
            Change(
                what="model.threshold",
                base="0.5",
                head="0.8",
                place=Place(file="mlops.yml", line=14),
            )
        ],
        gate_changes=[Change(what="stages.policy.limits", base="(not set)", head="{}")],
    )
    records = {
        "data": made("data", PASSED, reused_from="d" * 40),
        "model": made("model", RECALL, charts=(CHART,), notes=("31 of 597 decisions changed.",)),
        "policy": made(
            "policy", RACE, tables=(TABLE,), metrics=(Metric(name="ratio", value=0.74, base=0.93),)
        ),
    }
    return circumstances, records


def rendered(circumstances: Run, records: Records, **changes: Any) -> str:
    return markdown.render(
        circumstances, records, decide(Gate(), circumstances, records), **changes
    )


SITUATIONS: dict[str, tuple[Run, Records]] = {
    "red": red(),
    "green": (run(), {"data": record("passed", "skipped")}),
    "could-not-judge": (run(), {"data": EvidenceError("is torn", place="data.json")}),
    "no-base": (
        run(base="", base_missing="HEAD is the first commit", judged_by="head"),
        {"data": record("passed")},
    ),
}


@pytest.mark.parametrize("name", sorted(SITUATIONS))
def test_golden(name: str) -> None:
    text = rendered(*SITUATIONS[name])
    path = GOLDEN / f"{name}.md"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_green_is_three_lines_above_the_fold() -> None:
    above = rendered(*SITUATIONS["green"]).partition("<details>")[0]
    assert len([line for line in above.splitlines() if line]) == 3


def test_could_not_judge_stands_first() -> None:
    lines = rendered(*SITUATIONS["could-not-judge"]).splitlines()
    assert lines[1].startswith("## ⛔ loans: could not judge: stage data left evidence")


def test_five_hundred_red_stages_fit_and_each_is_named() -> None:
    stages = [f"s{n}" for n in range(500)]
    long = "@org/team <b>" * 140
    records = {
        stage: made(stage, Check(name=f"check-{stage}", slice=long, outcome="failed", message=long))
        for stage in stages
    }
    text = rendered(run(stages=stages[:100]), records)
    assert len(text) <= 65_536
    whole = run(stages=stages[:100])
    for stage in whole.stages:
        assert stage in text
    assert "did not fit" in text
    assert_sound(text)


def assert_sound(text: str) -> None:
    """Check that nothing is left open and nothing of the fields is live."""
    assert text.count("<details>") == text.count("</details>")
    assert len(re.findall(r"^```", text, re.MULTILINE)) % 2 == 0
    columns = 0
    for token in MarkdownIt("commonmark", {"html": True}).enable("table").parse(text):
        if token.type == "tr_open":
            columns = 0
        columns += token.type in {"td_open", "th_open"}
        for child in token.children or ():
            assert child.type not in {"link_open", "image"}, child
            if child.type == "html_inline":
                assert child.content in {"<b>", "</b>", "<sub>", "</sub>", "<code>", "</code>"}, (
                    child.content
                )
            if child.type == "text":
                assert not re.search(r"(?<![\w`])@[A-Za-z0-9]", child.content), child.content
                assert not re.search(r"(?<![&\w])#\d", child.content), child.content


FIELD = st.text(max_size=120) | st.sampled_from(
    [
        "@org/team",
        "</details>",
        "``` \n```",
        "| a | b |",
        "<script>alert(1)</script>",
        "<!-- ci-mlops:loans -->",
        "![x](http://x.y/z)",
        "[x](javascript:1)",
        "fixes #1, GH-2, owner/repo#3",
        "\u202etxt\u2066\u200b",
        "1. one\n2. two",
        "# heading\n---",
        "https://example.org",
        "\x00\x1b[31m",
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(FIELD, FIELD, FIELD, FIELD.filter(bool))
def test_any_text_in_any_field_is_shown_and_does_nothing(a: str, b: str, c: str, name: str) -> None:
    check = Check(name=name, slice=a, outcome="failed", observed=b, message=c, remedy=a, source=b)
    table = Table(title=name, columns=(a, b), rows=((c, a), (b, None)))
    chart = Chart(title=name, labels=(a, b), lines=(Line2D(name=name, values=(1, None)),))
    bad = made("data", check, tables=(table,), charts=(chart,), notes=(a, c))
    change = Change(what=name, base=a, head=b, place=Place(file=name))
    circumstances = run(subject_changes=[change], gate_changes=[change], notes=[c], tools={name: a})
    text = rendered(circumstances, {"data": bad})
    assert len(text) <= 65_536
    assert text.count("<!--") == 1
    assert_sound(text)
    page = html.render(circumstances, {"data": bad}, decide(Gate(), circumstances, {"data": bad}))
    assert "<script" not in page
    assert page.count("<details") == page.count("</details>")


@given(st.integers(700, 65_536))
def test_any_room_is_kept(limit: int) -> None:
    circumstances, records = red()
    text = rendered(circumstances, records, limit=max(limit, 4000))
    assert len(text) <= max(limit, 4000)
    assert_sound(text)


def test_the_page_is_whole_and_asks_for_nothing(tmp_path: Path) -> None:
    circumstances, records = red()
    decided = decide(Gate(), circumstances, records)
    comment, page = report.write(tmp_path, circumstances, records, decided)
    assert comment.read_text(encoding="utf-8") == rendered(circumstances, records)
    text = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.search(r"(?:src|href)=", text)
    for words in (
        "four-fifths",
        "29 CFR 1607.4 D",
        "<svg",
        "31 of 597",
        "mlops.yml:14",
        "3 more rows",
    ):
        assert words in text, words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.933, "0.933"),
        (0.8, "0.80"),
        (-0.05, "−0.05"),
        (0.0244, "0.024"),
        (3.14159, "3.14"),
        (597, "597"),
        (12345.6, "12,346"),
        (123456, "123,456"),
        (0.00454, "0.00454"),
        (1e9, "1.00e+09"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert figures.number(value) == text


def test_figures() -> None:
    space = figures.SPACE
    assert figures.observed(RACE) == "0.931 → 0.741"
    assert figures.limit(RACE.limit) == f"≥{space}0.80"
    assert (
        figures.limit(Limit(at_least=0, at_most=1), "ms")
        == f"≥{space}0{space}ms and ≤{space}1{space}ms"
    )
    assert figures.change(RECALL) == "−0.05"
    assert figures.interval(RECALL.interval) == f"95{space}%: −0.11 to +0.01"
    assert figures.interval(None) == figures.limit(None) == figures.change(RACE) == ""
    assert figures.observed(PASSED) == ""
    assert [figures.seconds(s) for s in (1.25, 38, 125)] == [
        f"1.2{space}s",
        f"38{space}s",
        f"2{space}min 5{space}s",
    ]


def test_escapes() -> None:
    assert escaped("a|b") == "a&#124;b"
    assert "@org" not in escaped("@org")
    assert escaped("1. x") == "1&#46; x"
    assert escaped("0.93") == "0.93"
    assert escaped("x" * 500, 10) == "x" * 9 + "…"
    assert code("<a`b") == "<code>&lt;a&#96;b</code>"
    assert code("") == ""
    assert "1234567" not in escaped("1234567abc")


def test_a_data_change_is_said_above_the_fold_with_its_risk() -> None:
    change = Check(
        name="change",
        slice="train",
        outcome="passed",
        observed="high risk",
        message="900 → 800 rows, +0 −100 ~0 rows by id. 100 of 900 rows are gone (11.1 %).",
    )
    found = {"data": record("passed", checks=[change])}
    whole = run()
    text = markdown.render(whole, found, decide(Gate(), whole, found))
    assert "Data, train: high risk. 900 → 800 rows" in text.partition("<details>")[0]
    same = {"data": record("passed")}
    assert "Data, " not in markdown.render(whole, same, decide(Gate(), whole, same))


def test_what_monitors_see_is_told_in_their_words_and_not_in_a_pull_requests() -> None:
    seen = run(stages=["drift"], environment="production", base="", judged_by="head")
    found = {"drift": record("failed", stage="drift")}
    verdict = decide(Gate(), seen, found)
    for text in (markdown.render(seen, found, verdict), html.render(seen, found, verdict)):
        assert "judged → now" in text
        assert "ci-mlops monitor" in text
        assert "production, looked at from" in text
        for other in ("base → head", "No base", "ci-mlops run", "Judged by"):
            assert other not in text
