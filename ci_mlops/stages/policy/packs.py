"""Policy packs: YAML files of rules, each with its limit, its reason and its source."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from ci_mlops.errors import ConfigError
from ci_mlops.evidence import Outcome
from ci_mlops.strict_yaml import did_you_mean, read
from ci_mlops.values import Many, Share, Value

Severity = Literal["block", "warn", "info"]
BROKEN: Mapping[str, Outcome] = {"block": "failed", "warn": "warned", "info": "warned"}
"""What breaking a rule does; of an information the warning is taken back when it is reported."""
Rate = Literal[
    "selection_rate",
    "true_positive_rate",
    "false_positive_rate",
    "false_negative_rate",
    "precision",
    "accuracy",
]
Text = Annotated[str, Field(min_length=1, max_length=600)]
RuleId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]


class Rule(Value):
    """What every rule says about itself."""

    id: RuleId
    """Stable name of the rule; its checks are named by it."""
    severity: Severity = "block"
    """What breaking the rule does: block the pull request, warn, or only inform."""
    reason: Text
    """Why the rule is there, for the person whose change it stops."""
    source: Text
    """The law, guideline or paper that it comes from, with the section."""
    remedy: Text
    """What to do about it."""


class GroupMetric(Rule):
    """A rate must be alike for the groups of each sensitive feature."""

    kind: Literal["group_metric"]
    metric: Many[Rate]
    """One or more rates; with several the worst comparison counts, as in equalized odds."""
    compare: Literal["ratio", "difference"]
    at_least: Share | None = None
    """Limit of a ratio of the worst group's rate to the best group's."""
    at_most: Share | None = None
    """Limit of a difference between the best and the worst group's rate."""
    reference: Mapping[str, Text] = {}
    """The group that the others are compared with, by feature, such as `race: white`; without
    one, the group with the highest rate."""
    intersections: bool = False
    """Whether the sensitive features are combined into one, such as race and sex."""
    above_median_score: bool = False
    """Whether "selected" means a score above the median of all rows (a scoring rate)."""
    leave_out_below_share: Share = 0.0
    """Groups with a smaller share of the rows are left out, and named."""


class MeanErrorGap(Rule):
    """A regression's mean error must be alike for the groups of each sensitive feature."""

    kind: Literal["mean_error_gap"]
    at_most_share_of_spread: Share
    """Limit of the gap between group means of prediction - truth, as a share of the label's
    standard deviation."""


class Regression(Rule):
    """No group metric may become worse than it was at the base."""

    kind: Literal["regression_against_base"]
    metric: Many[Rate]
    compare: Literal["ratio", "difference"]
    max_drop: Share
    """How much worse than at the base the comparison may become."""


class SensitiveInput(Rule):
    """A sensitive feature must not be an input of the model."""

    kind: Literal["sensitive_input"]


class Proxy(Rule):
    """A sensitive feature must not be predictable from the model's inputs."""

    kind: Literal["proxy"]
    at_most: Share
    """Limit of the cross-validated area under the ROC curve of a model that predicts it."""


class ModelCardFields(Rule):
    """The model card must be there and answer these questions."""

    kind: Literal["model_card"]
    fields: Annotated[Many[Text], Field(min_length=1)]
    """Fields of the YAML front matter, or headings, that must be there and not be empty."""


class RequiredEvidence(Rule):
    """Evidence of these kinds must be produced by every run."""

    kind: Literal["required_evidence"]
    article: Text | None = None
    """The article of the law that the evidence answers, for the table in the report."""
    stages: Many[Text] = ()
    """Stages that mlops.yml must configure."""
    fields: Many[Text] = ()
    """Fields that the model card must answer."""


class PerformanceFloor(Rule):
    """A model must be useful as well as fair: constant decisions are equal, and worthless."""

    kind: Literal["performance_floor"]
    at_least: Share
    """Limit of the balanced accuracy (mean recall over the classes)."""


AnyRule = Annotated[
    GroupMetric
    | MeanErrorGap
    | Regression
    | SensitiveInput
    | Proxy
    | ModelCardFields
    | RequiredEvidence
    | PerformanceFloor,
    Field(discriminator="kind"),
]


class Pack(Value):
    """A policy pack, one YAML file."""

    name: RuleId
    title: Text
    description: Text
    rules: Annotated[Many[AnyRule], Field(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class LoadedPack:
    """A pack with the text it was read from, for its digest."""

    pack: Pack
    text: str
    place: str


def load(name: str, root: Path) -> LoadedPack:
    """Load a ready-made pack by name, or a file below `root` by path.

    Raises ConfigError with file, line, fault and remedy.
    """
    if is_file(name):
        return _load_file(root, name)
    shipped = ready_made()
    if name not in shipped:
        raise ConfigError(
            f"policy pack {name!r} is not known{did_you_mean(name, shipped)}",
            place="stages.policy.packs",
            remedy="Use a known pack, or the path of a YAML file",
        )
    return parse(shipped[name], name)


def is_file(name: str) -> bool:
    """Whether a pack is named by the path of a user's own file."""
    return name.endswith((".yml", ".yaml"))


def parse(text: str, place: str) -> LoadedPack:
    """Check the text of a pack against its JSON Schema. Raises ConfigError."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match
    from pydantic import ValidationError

    document = read(text, place)
    fault = best_match(Draft202012Validator(schema()).iter_errors(document.value))
    if fault is not None:
        fault = _of_its_kind(fault)
        path = ".".join(str(part) for part in fault.absolute_path)
        raise ConfigError(
            f"{path or 'the pack'}: {_said(fault)}", place=f"{place}:{document.line(path)}"
        )
    try:
        pack = Pack.model_validate(document.value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(part) for part in first["loc"])
        line = document.line(path)
        raise ConfigError(f"{path}: {first['msg']}", place=f"{place}:{line}") from error
    return LoadedPack(pack=pack, text=text, place=place)


def schema() -> dict[str, Any]:
    """Return the JSON Schema of a pack."""
    return _schema()


@cache
def _schema() -> dict[str, Any]:
    made: dict[str, Any] = TypeAdapter(Pack).json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://ci-mlops.github.io/ci-mlops/schema/policy.schema.json",
        **made,
    }


def ready_made() -> Mapping[str, str]:
    """Return the texts of the packs that come with ci-mlops, by name."""
    folder = files("ci_mlops").joinpath("policies")
    if not folder.is_dir():
        # An editable install: the packs stand at the top of the repository.
        folder = Path(__file__).parents[3] / "policies"
    return {
        entry.name.removesuffix(".yml"): entry.read_text(encoding="utf-8")
        for entry in sorted(folder.iterdir(), key=lambda one: one.name)
        if entry.name.endswith(".yml")
    }


def _load_file(root: Path, name: str) -> LoadedPack:
    path = root / name
    if "\0" in name or not path.resolve().is_relative_to(root.resolve()):
        raise ConfigError("lies outside of the project", place=name)
    try:
        return parse(path.read_text(encoding="utf-8"), name)
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(
            f"cannot be read: {fault.__class__.__name__}",
            place=name,
            remedy="Name a policy file that the base commit has, or a ready-made pack",
        ) from fault


def _of_its_kind(fault: Any) -> Any:
    """Return what is wrong with a rule of a known kind, instead of that no kind fits it."""
    from jsonschema.exceptions import best_match

    while fault.validator == "oneOf" and isinstance(fault.instance, dict):
        kind = fault.instance.get("kind")
        index = next((n for n, known in enumerate(_kinds()) if known == kind), None)
        inner = best_match([one for one in fault.context if one.schema_path[0] == index])
        if inner is None:
            return fault
        fault = inner
    return fault


def _kinds() -> list[str]:
    return [rule.model_fields["kind"].annotation.__args__[0] for rule in _KINDS]


def _said(fault: Any) -> str:
    if fault.validator in {"additionalProperties", "unevaluatedProperties"}:
        known = fault.schema.get("properties", {})
        unknown = [name for name in fault.instance if name not in known]
        if unknown:
            return f"unknown setting {unknown[0]!r}{did_you_mean(unknown[0], known)}"
    if fault.validator == "oneOf" and isinstance(fault.instance, dict):
        kind = str(fault.instance.get("kind"))
        return f"unknown kind {kind!r}{did_you_mean(kind, _kinds())}"
    message: str = fault.message
    return message if len(message) <= 300 else f"{message[:297]}..."


_KINDS: tuple[Any, ...] = (
    GroupMetric,
    MeanErrorGap,
    Regression,
    SensitiveInput,
    Proxy,
    ModelCardFields,
    RequiredEvidence,
    PerformanceFloor,
)
