"""Stage explain: what the model relies on, and which decisions the change turned over."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ci_mlops.dataset.settings import ColumnName
from ci_mlops.stage import Findings, Stage, Workspace
from ci_mlops.values import Many, Share

Percent = Annotated[float, Field(ge=0, le=100)]
UnitName = Annotated[str, Field(min_length=1, max_length=200)]


class ExplainStage(Stage):
    """Importance of features, sensitive ones and their proxies, flipped decisions, dependence."""

    name: ClassVar[Literal["explain"]] = "explain"
    question: ClassVar[str] = "What does the model rely on, and which decisions changed?"

    max_share: Share | None = None
    """The largest share of all importance that one feature may have; more looks like a leak of the
    label. Without it more than 0.8 is warned of."""
    must_matter: Many[UnitName] = ()
    """Features, or names of `together`, that the model must rely on."""
    must_not_matter: Many[UnitName] = ()
    """Features, or names of `together`, that neither its quality nor its answers may hang on."""
    matters_from: Annotated[float, Field(gt=0, le=0.5)] = 0.01
    """The share of all importance from which a feature matters."""
    together: Mapping[UnitName, Annotated[Many[ColumnName], Field(min_length=2)]] = {}
    """Columns that say the same, by a name of yours; their values are exchanged together."""
    on_sensitive: Literal["ignore", "warn", "fail"] = "warn"
    """What it counts as when a sensitive feature, or a proxy of one, matters."""
    proxy_auc: Annotated[float, Field(gt=0.5, le=1)] = 0.8
    """A feature that tells a sensitive group from the others with this area under the ROC curve is
    a proxy of it."""
    groups: Many[Many[ColumnName]] | None = None
    """Features, or combinations of features, by whose groups flipped decisions are counted;
    default: each of `data.sensitive`."""
    max_flipped_percent: Percent | None = None
    """Test rows, in percent, whose decision may differ from the base's; without it all may."""
    on_flipped: Literal["warn", "fail"] = "fail"
    """What more flipped decisions than that count as."""
    flips: Annotated[int, Field(ge=0, le=20)] = 3
    """Flipped decisions that are shown with each feature's contribution, the largest first."""
    dependence: Annotated[int, Field(ge=0, le=10)] = 3
    """The most important features whose partial dependence is drawn."""
    rows: Annotated[int, Field(ge=50, le=10_000_000)] = 3000
    """Rows asked about for each feature; of fewer test rows, each is asked about several times."""
    max_seconds: Annotated[float, Field(gt=0, le=86_400)] = 30
    """Time for asking the models, their loading left out; less time makes fewer rows, and the
    report says so."""
    seed: Annotated[int, Field(ge=0, le=2**31)] = 0
    """Decides which rows are taken and which values are exchanged."""

    @model_validator(mode="after")
    def _nothing_twice(self) -> Self:
        joined = [column for columns in self.together.values() for column in columns]
        named = [*self.must_matter, *self.must_not_matter]
        for what, names in (("together", joined), ("must_matter and must_not_matter", named)):
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                raise ValueError(f"{what}: {twice[0]!r} stands twice")
        return self

    def run(self, workspace: Workspace) -> Findings:
        """Ask both sides' models, and say what they rely on and where they differ."""
        from ci_mlops.stages.explain import judging

        return judging.judge(self, workspace)
