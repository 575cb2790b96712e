"""Whether a pull request may pass: the gate's requirements held against the evidence."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ci_mlops.errors import EvidenceError
from ci_mlops.evidence import Check, Outcome, Record, Run, Subject
from ci_mlops.values import Many, Value

VerdictOutcome = Literal["passed", "warned", "failed", "error"]
Evidence = Mapping[str, Record | EvidenceError]


class Gate(Value):
    """The `gate` section of mlops.yml: what a pull request must show to pass."""

    require: Many[str] | None = None
    """Stages that must have passed; by default every stage of mlops.yml."""
    on_inconclusive: Literal["warn", "fail"] = "warn"
    """What a check that could not decide counts as."""
    on_no_base: Literal["warn", "fail"] = "warn"
    """What a run without a base commit to compare with counts as."""


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One thing that keeps the verdict from `passed`."""

    stage: str
    """Empty when it concerns the run as a whole."""
    outcome: Outcome
    text: str
    check: Check | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The worst over what the gate requires, with every reason, the worst first."""

    outcome: VerdictOutcome
    reasons: tuple[Reason, ...]
    counts: Mapping[Outcome, int]

    @property
    def exit_code(self) -> int:
        """0 when passed or warned, 1 otherwise."""
        return 0 if self.outcome in {"passed", "warned"} else 1


def decide(gate: Gate, run: Run, records: Evidence, *, partial: bool = False) -> Verdict:
    """Judge the evidence of a run; what is missing, empty or of another subject never passes.

    `records` maps a stage to its record, or to the error that reading it raised. `partial` judges
    only what ran (`--only`, `--skip`) and says that it is no verdict on the whole gate.
    """
    required = gate.require if gate.require is not None else (*run.stages, *run.left_out)
    if partial:
        required = tuple(stage for stage in required if stage in run.stages)
    reasons = [*_run_reasons(gate, run, required, partial=partial)]
    for stage in dict.fromkeys((*required, *run.stages)):
        found = _stage_reasons(gate, run, stage, records.get(stage))
        reasons += found if stage in required else map(_advice, found)
    reasons.sort(key=lambda reason: RANK[reason.outcome])
    counts = Counter(
        check.outcome
        for record in records.values()
        if isinstance(record, Record)
        for check in record.checks
    )
    worst = min((RANK[reason.outcome] for reason in reasons), default=3)
    return Verdict(outcome=VERDICTS[worst], reasons=tuple(reasons), counts=dict(counts))


VERDICTS: tuple[VerdictOutcome, ...] = ("error", "failed", "warned", "passed")
RANK: Mapping[Outcome, int] = {
    "error": 0,
    "failed": 1,
    "warned": 2,
    "inconclusive": 2,
    "skipped": 2,
    "passed": 3,
}


def _advice(reason: Reason) -> Reason:
    """Return the reason as one from a stage that the gate does not require: it may only warn."""
    if RANK[reason.outcome] >= RANK["warned"]:
        return reason
    return Reason(
        stage=reason.stage,
        outcome="warned",
        text=f"{reason.text} (not required by the gate)",
        check=reason.check,
    )


def _run_reasons(
    gate: Gate, run: Run, required: Sequence[str], *, partial: bool
) -> Iterable[Reason]:
    if not required:
        yield Reason(
            stage="", outcome="error", text="the gate requires no stage, so nothing passes"
        )
    if partial:
        absent = ", ".join(run.left_out)
        text = f"this was a partial run without {absent}: no verdict on the whole gate"
        yield Reason(stage="", outcome="warned", text=text)
    if run.base_missing:
        yield Reason(
            stage="",
            outcome="failed" if gate.on_no_base == "fail" else "warned",
            text=f"nothing was compared with a base: {run.base_missing}",
        )


def _stage_reasons(
    gate: Gate, run: Run, stage: str, record: Record | EvidenceError | None
) -> Iterable[Reason]:
    fault = _unusable(run, stage, record)
    if fault or not isinstance(record, Record):
        yield Reason(stage=stage, outcome="error", text=f"stage {stage} {fault}")
        return
    if record.outcome == "skipped":
        text = f"stage {stage} was skipped: {record.checks[0].message}"
        yield Reason(stage=stage, outcome="failed", text=text, check=record.checks[0])
        return
    for check in record.checks:
        outcome = check.outcome
        if outcome == "inconclusive" and gate.on_inconclusive == "fail":
            outcome = "failed"
        if outcome not in {"passed", "skipped"}:
            yield Reason(stage=stage, outcome=outcome, text=check.message, check=check)


def _unusable(run: Run, stage: str, record: Record | EvidenceError | None) -> str:
    """Why a record cannot be judged at all; empty when it can."""
    if record is None:
        left_out = stage in run.left_out
        return "was left out of this run" if left_out else "left no evidence"
    if isinstance(record, EvidenceError):
        return f"left evidence that cannot be read: {record}"
    if record.stage != stage:
        return f"left evidence that belongs to stage {record.stage}"
    if not record.checks:
        return "left evidence without a single check"
    other = _of_another_subject(run.subjects, record.subjects)
    return f"left evidence for another {other}" if other else ""


def _of_another_subject(expected: Iterable[Subject], found: Iterable[Subject]) -> str:
    digests = {subject.name: subject.sha256 for subject in expected}
    wrong = [s.name for s in found if digests.get(s.name) != s.sha256]
    return wrong[0] if wrong else ""
