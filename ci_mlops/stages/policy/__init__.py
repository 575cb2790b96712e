"""Stage policy: ethics and governance rules, written as code with their reasons and sources."""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from ci_mlops.evidence import text_sha256
from ci_mlops.stage import Findings, Stage, Workspace
from ci_mlops.values import Many, Share, Value


class Waiver(Value):
    """A rule that may be broken for a while, by somebody's decision, for a reason."""

    rule: Annotated[str, Field(min_length=1)]
    """The id of the rule."""
    slice: str = ""
    """Only for this feature or group; empty for all."""
    reason: Annotated[str, Field(min_length=10)]
    """Why it may be broken."""
    approved_by: Annotated[str, Field(min_length=1)]
    """Who decided."""
    expires: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d$")]
    """The last day on which it holds, as YYYY-MM-DD (UTC)."""

    @field_validator("expires")
    @classmethod
    def _is_a_day(cls, value: str) -> str:
        date.fromisoformat(value)
        return value

    def holds(self, rule: str, slice_: str, today: date) -> bool:
        """Whether the waiver covers a check of `rule` on `slice_` today."""
        covers = self.rule == rule and self.slice in {"", slice_}
        return covers and today <= date.fromisoformat(self.expires)


class PolicyStage(Stage):
    """Judges decisions by group, inputs, documentation and evidence against policy packs."""

    name: ClassVar[Literal["policy"]] = "policy"
    question: ClassVar[str] = "Does the model keep the rules we set for fairness and governance?"

    packs: Annotated[Many[str], Field(min_length=1)] = ("no-regression",)
    """Ready-made packs by name, or YAML files of your own by path, read from the base commit."""
    groups: Many[Many[str]] | None = None
    """Features, or combinations of features, to form groups by; default: each of
    `data.sensitive`. Example: `[[race], [race, male]]`."""
    min_group_size: Annotated[int, Field(ge=2)] = 50
    """Groups with fewer rows are too small to judge: at 50 rows a rate is known to ±14 points at
    best (95 %)."""
    min_positives: Annotated[int, Field(ge=1)] = 20
    """Fewer rows that a rate rests on (such as true positives' rows for a true positive rate) are
    too few to judge."""
    limits: Mapping[str, Share] = {}
    """Other limits for single rules, by rule id."""
    waivers: Many[Waiver] = ()
    """Rules that may be broken for a while; from the base commit only."""

    def inputs(self, workspace: Workspace) -> Mapping[str, str]:
        """Digests of the packs and the card, the configured stages, and the day, for waivers."""
        from ci_mlops.stages.policy import judging

        return {
            **judging.pack_digests(self, workspace),
            "card": text_sha256(judging.card_text(workspace.head) or ""),
            "made card": text_sha256(judging.made_card_text(workspace.head)),
            "stages": ",".join(workspace.stages),
            "today": str(_today()) if self.waivers else "",
        }

    def run(self, workspace: Workspace) -> Findings:
        """Judge every rule of every pack."""
        from ci_mlops.stages.policy import judging

        return judging.judge(self, workspace, today=_today())


def _today() -> date:
    return datetime.now(UTC).date()
