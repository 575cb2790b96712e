"""The checks of a run as JUnit XML, the form that most tools for test results read."""

from xml.etree import ElementTree as ET

from ci_mlops.errors import EvidenceError
from ci_mlops.evidence import Check, Record, Run
from ci_mlops.report.escape import plain
from ci_mlops.verdict import Evidence, Reason, Verdict

TAGS = {"failed": "failure", "error": "error", "skipped": "skipped"}


def render(run: Run, records: Evidence, verdict: Verdict) -> bytes:
    """Return the document: a suite for each stage, a case for each check.

    What blocks is a failure, what could not be looked at an error, what does not apply skipped; a
    warning passes and stands in the case's output. The verdict decides, not the check alone: a
    stage that the gate does not require cannot fail.
    """
    top = ET.Element("testsuites", name=run.project)
    totals: dict[str, int] = {}
    for stage in dict.fromkeys((*(r.stage for r in verdict.reasons), *run.stages)):
        suite = _suite(top, run, stage, records.get(stage), verdict)
        for key in ("tests", "failures", "errors"):  # the form has no `skipped` up here
            totals[key] = totals.get(key, 0) + int(suite.get(key, "0"))
    for key, number in totals.items():
        top.set(key, str(number))
    ET.indent(top)
    text = ET.tostring(top, encoding="utf-8", xml_declaration=True)
    return bytes(text) + b"\n"


def _suite(
    top: ET.Element,
    run: Run,
    stage: str,
    record: Record | EvidenceError | None,
    verdict: Verdict,
) -> ET.Element:
    reasons = [reason for reason in verdict.reasons if reason.stage == stage]
    suite = ET.SubElement(top, "testsuite", name=stage or "run", timestamp=run.started)
    by_check = {id(reason.check): reason for reason in reasons if reason.check}
    for check in record.checks if isinstance(record, Record) else ():
        _case(suite, stage, check, by_check.get(id(check)))
    for reason in reasons:
        if reason.check is None:
            case = ET.SubElement(suite, "testcase", classname=stage or "run", name="evidence")
            _say(case, reason.outcome, reason.text)
    if isinstance(record, Record):
        suite.set("time", f"{record.seconds:.3f}")
    suite.set("tests", str(len(suite)))
    for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(key, str(len(suite.findall(f"testcase/{tag}"))))
    return suite


def _case(suite: ET.Element, stage: str, check: Check, reason: Reason | None) -> None:
    name = f"{check.name} [{check.slice}]" if check.slice else check.name
    case = ET.SubElement(suite, "testcase", classname=stage, name=plain(name))
    outcome = reason.outcome if reason else check.outcome
    _say(case, outcome, f"{check.message} {check.remedy}".strip())


def _say(case: ET.Element, outcome: str, text: str) -> None:
    if outcome in TAGS:
        ET.SubElement(case, TAGS[outcome], message=plain(text), type=outcome)
    elif outcome != "passed":
        ET.SubElement(case, "system-out").text = plain(f"{outcome}: {text}")
