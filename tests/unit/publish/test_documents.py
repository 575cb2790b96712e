"""SARIF and JUnit: what other tools read."""

import gzip
import json
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft4Validator

from ci_mlops.errors import EvidenceError
from ci_mlops.evidence import Place
from ci_mlops.publish import junit, sarif
from ci_mlops.verdict import Gate, decide
from tests.unit.publish.situations import check, record, run

SCHEMAS = Path(__file__).parent / "schemas"
"""What others hold such documents to; see the LICENSE there for where each comes from."""
SARIF = Draft4Validator(
    json.loads(gzip.decompress((SCHEMAS / "sarif-2.1.0-rtm.5.json.gz").read_bytes())),
    format_checker=Draft4Validator.FORMAT_CHECKER,
)
RECORDS: dict[str, Any] = {
    "data": record(
        check("failed"),
        check("error", name="schema", place=None),
        check("warned", name="drift", place=Place(file="data/a b.csv")),
        check("inconclusive", name="power"),
        check("skipped", name="text"),
        check("passed", name="nulls"),
    ),
    "model": EvidenceError("is torn", place="model.json"),
    "extra": record(check("failed"), stage="extra"),
}
RUN = run(stages=["data", "model", "extra"])
GATE = Gate(require=("data", "model"))


def in_sarif(records: Any = RECORDS) -> Any:
    return json.loads(sarif.render(decide(GATE, RUN, records), config="one/mlops.yml"))


def in_junit(records: Any = RECORDS) -> ET.Element:
    return ET.fromstring(junit.render(RUN, records, decide(GATE, RUN, records)))


def test_sarif_keeps_the_schema_of_the_standard() -> None:
    assert list(SARIF.iter_errors(in_sarif())) == []
    assert list(SARIF.iter_errors(in_sarif({}))) == []
    broken = in_sarif()
    broken["runs"][0]["results"][0]["level"] = "fatal"
    assert [one.json_path for one in SARIF.iter_errors(broken)] == ["$.runs[0].results[0].level"]


def test_sarif_has_what_code_scanning_asks_for_and_no_schema_says() -> None:
    # SARIF 2.1.0, sections 3.14 (run), 3.19 (toolComponent), 3.27 (result); GitHub's "SARIF
    # support for code scanning" wants three texts of each rule.
    document = in_sarif()
    assert document["version"] == "2.1.0"
    (made,) = document["runs"]
    driver = made["tool"]["driver"]
    assert driver["name"] == "ci-mlops"
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(ids) == len(set(ids))
    for rule in driver["rules"]:
        assert all(rule[one]["text"] for one in ("shortDescription", "fullDescription", "help"))
    for result in made["results"]:
        assert ids[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in {"none", "note", "warning", "error"}
        assert result["message"]["text"]
        (place,) = result["locations"]
        physical = place["physicalLocation"]
        assert physical["region"]["startLine"] >= 1
        assert " " not in physical["artifactLocation"]["uri"]


def test_sarif_says_what_blocks_and_where() -> None:
    results = {one["ruleId"]: one for one in in_sarif()["runs"][0]["results"]}
    assert {rule: one["level"] for rule, one in results.items()} == {
        "data/four-fifths": "error",
        "data/schema": "error",
        "model/evidence": "error",
        "data/drift": "warning",
        "data/power": "warning",
        "extra/four-fifths": "warning",
    }

    def place(rule: str) -> tuple[str, int]:
        physical = results[rule]["locations"][0]["physicalLocation"]
        return unquote(physical["artifactLocation"]["uri"]), physical["region"]["startLine"]

    assert place("data/four-fifths") == ("mlops.yml", 3)
    assert place("data/schema") == ("one/mlops.yml", 1)
    assert place("data/drift") == ("data/a b.csv", 1)


def test_a_result_keeps_its_fingerprint_when_its_figures_change() -> None:
    def fingerprint(**changes: Any) -> str:
        found = in_sarif({"data": record(check(**changes))})["runs"][0]["results"]
        (one,) = [one for one in found if one["ruleId"] == "data/four-fifths"]
        return str(one["partialFingerprints"]["ciMlops/v1"])

    assert fingerprint(observed=0.1, message="x") == fingerprint()
    assert fingerprint(slice="sex") != fingerprint()


def test_junit_keeps_the_schema_of_jenkins(tmp_path: Path) -> None:
    hostile = {"data": record(check("failed", name="\x01]]>", slice='<&"', message="\ufffe\x00"))}
    for number, records in enumerate((RECORDS, hostile, {})):
        made = tmp_path / f"{number}.xml"
        made.write_bytes(junit.render(RUN, records, decide(GATE, RUN, records)))
        held = subprocess.run(
            ["xmllint", "--noout", "--nonet", "--schema", str(SCHEMAS / "junit-10.xsd"), str(made)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert held.returncode == 0, held.stderr


def test_junit_tells_failures_errors_and_skips_apart() -> None:
    top = in_junit()
    cases = {
        (one.get("classname"), one.get("name")): [child.tag for child in one]
        for one in top.iter("testcase")
    }
    assert cases == {
        ("data", "four-fifths [race]"): ["failure"],
        ("data", "schema [race]"): ["error"],
        ("data", "drift [race]"): ["system-out"],
        ("data", "power [race]"): ["system-out"],
        ("data", "text [race]"): ["skipped"],
        ("data", "nulls [race]"): [],
        ("model", "evidence"): ["error"],
        ("extra", "four-fifths [race]"): ["system-out"],
    }
    counts = {key: top.get(key) for key in ("tests", "failures", "errors")}
    assert counts == {"tests": "8", "failures": "1", "errors": "2"}
    (data,) = [one for one in top if one.get("name") == "data"]
    assert (data.get("tests"), data.get("skipped")) == ("6", "1")


def test_an_undecided_check_fails_where_the_gate_says_so() -> None:
    records = {"data": record(check("inconclusive"))}
    gate = Gate(on_inconclusive="fail")
    top = ET.fromstring(junit.render(run(), records, decide(gate, run(), records)))
    assert top.get("failures") == "1"


@given(st.text(max_size=200), st.text(min_size=1, max_size=200))
def test_any_text_makes_whole_documents(text: str, name: str) -> None:
    hostile = check(name=name, slice=text, message=text, remedy=text, place=Place(file=name))
    records = {"data": record(hostile)}
    in_sarif(records)
    assert in_junit(records).get("failures") == "1"
