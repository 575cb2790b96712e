"""Maps of articles: what passed answers, and nothing else does."""

import json
from pathlib import Path

import pytest

from ci_mlops.card import compliance
from ci_mlops.card.compliance import Map
from ci_mlops.errors import ConfigError, EvidenceError
from tests.records import record
from tests.unit.card.test_card import made

ROW = """\
name: law
title: A law
source: Somewhere
articles:
  - {article: "1", asks: testing, needs: [{stage: data, checks: [c0]}], otherwise: test it}
  - {article: "2", asks: purpose and risks, needs: [{card: intended use}, {card: risks}], otherwise: say it}
  - {article: "3", asks: a signature, otherwise: sign it}
"""


def parsed(tmp_path: Path, text: str = ROW) -> Map:
    path = tmp_path / "law.yml"
    path.write_text(text, encoding="utf-8")
    return compliance.parse(path)


def test_a_row_is_answered_partly_or_a_hole(tmp_path: Path) -> None:
    card = made()
    found = compliance.judged(parsed(tmp_path), card)
    assert [one.state for one in found.answers] == ["answered", "partly", "hole"]
    text = compliance.render([found], card)
    assert "This is no legal advice" in text.splitlines()[2]
    assert "1 answered, 1 partly, 1 hole." in text
    assert "Missing: model card: risks." in text
    assert "sign it" in text
    assert "test it" not in text, "an answered row asks for nothing"
    rows = found.plain()["articles"]
    assert [one["otherwise"] for one in rows] == ["", "say it", "sign it"]


@pytest.mark.parametrize("outcome", ["failed", "error", "skipped", "inconclusive"])
def test_what_did_not_pass_answers_nothing(tmp_path: Path, outcome: str) -> None:
    card = made(records={"data": record(outcome)})  # type: ignore[arg-type]
    found = compliance.judged(parsed(tmp_path), card)
    assert found.answers[0].state == "hole"


def test_one_that_failed_beside_one_that_passed_is_no_whole_answer(tmp_path: Path) -> None:
    every = ROW.replace("checks: [c0]", 'checks: ["c*"]')
    card = made(records={"data": record("passed", "failed")})
    (one, *_) = compliance.judged(parsed(tmp_path, every), card).answers
    assert one.state == "hole"
    assert one.missing[0].endswith("not so: c1")


@pytest.mark.parametrize("gone", [None, EvidenceError("is missing", place="data.json")])
def test_a_stage_without_a_record_is_a_hole(tmp_path: Path, gone: EvidenceError | None) -> None:
    card = made(records={"data": gone})
    (one, *_) = compliance.judged(parsed(tmp_path), card).answers
    assert (one.state, one.missing) == ("hole", ("stage data left no record",))


def test_the_maps_that_come_along_are_whole() -> None:
    maps = compliance.load()
    assert [one.name for one in maps] == ["eu-ai-act", "nist-ai-rmf", "nyc-local-law-144"]
    articles = {one.article for one in maps[0].articles}
    assert {"11", "12", "13", "14"} <= articles
    assert {f"Annex IV {n}" for n in (1, 3, 4, 5, 6, 9)} <= articles
    card = made()
    for one in maps:
        states = {answer.state for answer in compliance.judged(one, card).answers}
        assert "hole" in states, "no map is answered by a gate alone"


def test_an_unknown_or_damaged_map_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no map 'nist' .known: eu-ai-act, nist-ai-rmf"):
        compliance.load("nist")
    with pytest.raises(ConfigError, match=r"articles.0.needs.0: .*either `stage` or `card`"):
        parsed(tmp_path, ROW.replace("{stage: data, checks: [c0]}", "{}"))


def test_it_is_written_as_markdown_and_as_a_page(tmp_path: Path) -> None:
    card = made()
    found = [compliance.judged(parsed(tmp_path), card)]
    text, page = compliance.write(tmp_path / "law.md", found, card)
    assert (text.name, page.name) == ("law.md", "law.html")
    assert "<h2>A law</h2>" in page.read_text(encoding="utf-8")
    assert json.loads(json.dumps(found[0].plain()))["name"] == "law"
