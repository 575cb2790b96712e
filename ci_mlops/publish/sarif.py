"""The reasons of a verdict as SARIF 2.1.0, for GitHub's code scanning and for editors."""

import json
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import quote

from ci_mlops import __version__
from ci_mlops.evidence import Outcome, Place, text_sha256
from ci_mlops.report.escape import plain
from ci_mlops.verdict import Reason, Verdict

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
HOME = "https://github.com/ci-mlops/ci-mlops"
LEVELS: Mapping[Outcome, Literal["error", "warning", "note"]] = {
    "error": "error",
    "failed": "error",
    "warned": "warning",
    "inconclusive": "warning",
    "skipped": "note",
    "passed": "note",
}


def render(verdict: Verdict, *, config: str) -> str:
    """Return the document; a reason without a place is put at the first line of `config`.

    Code scanning shows only results that have a place.
    """
    rules = dict.fromkeys(_rule(reason) for reason in verdict.reasons)
    numbers = {rule: number for number, rule in enumerate(rules)}
    driver = {
        "name": "ci-mlops",
        "version": __version__,
        "informationUri": HOME,
        "rules": [_described(rule) for rule in rules],
    }
    results = [_result(reason, numbers, config) for reason in verdict.reasons]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _described(rule: str) -> dict[str, Any]:
    """Return what code scanning shows of a rule; it asks for all three texts."""
    stage, _, name = rule.partition("/")
    about = f"Check {name} of {stage}" if stage != "run" else f"The run's {name}"
    more = f"{about}. The report of the pull request says what was observed, and its limit."
    return {
        "id": rule,
        "name": rule,
        "shortDescription": {"text": about},
        "fullDescription": {"text": more},
        "help": {"text": f"{more} See {HOME}#what-is-judged for what each stage looks at."},
    }


def _result(reason: Reason, numbers: Mapping[str, int], config: str) -> dict[str, Any]:
    check = reason.check
    rule = _rule(reason)
    where = (check.place if check else None) or Place(file=config, line=1)
    place = {
        "artifactLocation": {"uri": quote(where.file), "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": where.line or 1},
    }
    remedy = f" {check.remedy}" if check and check.remedy else ""
    identity = f"{rule}/{check.slice if check else ''}"
    return {
        "ruleId": rule,
        "ruleIndex": numbers[rule],
        "level": LEVELS[reason.outcome],
        "message": {"text": plain(f"{reason.text}{remedy}") or reason.outcome},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {"ciMlops/v1": text_sha256(identity)},
    }


def _rule(reason: Reason) -> str:
    return f"{reason.stage or 'run'}/{reason.check.name if reason.check else 'evidence'}"
