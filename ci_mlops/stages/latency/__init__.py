"""Stage latency: how long a prediction takes, in turn at base and head in one job."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ci_mlops.stage import Findings, Stage, Workspace
from ci_mlops.values import Many, Value


class Budgets(Value):
    """Absolute limits; they hold for the machine they were set on."""

    p50_ms: Annotated[float, Field(gt=0)] | None = None
    """Median time of one prediction of one row, in milliseconds."""
    p95_ms: Annotated[float, Field(gt=0)] | None = None
    """95th percentile of the time of one prediction of one row, in milliseconds."""
    rows_per_s: Annotated[float, Field(gt=0)] | None = None
    """Rows predicted in a second, in the largest batch."""
    peak_memory_mb: Annotated[float, Field(gt=0)] | None = None
    """Memory that the model's process held at most, in megabytes."""
    file_size_mb: Annotated[float, Field(gt=0)] | None = None
    """Size of the model file or folder, in megabytes."""
    load_s: Annotated[float, Field(gt=0)] | None = None
    """Time for loading the model, imports included, in seconds."""


class LatencyStage(Stage):
    """Times predictions inside the project's interpreter, and the project's own benchmarks."""

    name: ClassVar[Literal["latency"]] = "latency"
    question: ClassVar[str] = "Did predictions get slower?"
    alone: ClassVar[bool] = True
    uses: ClassVar[tuple[str, ...]] = ("data.test", "model", "code")

    max_slowdown_percent: Annotated[float, Field(gt=0, le=1000)] = 5
    """How much slower than at the base the median prediction may become, in percent."""
    batch_sizes: Annotated[Many[Annotated[int, Field(ge=1)]], Field(min_length=1)] = (1, 100)
    """Rows in a prediction; each size is measured."""
    budgets: Budgets = Budgets()
    """Absolute limits."""
    launches: Annotated[int, Field(ge=7, le=100)] = 24
    """Fresh starts of both models at most; it stops earlier once it can tell."""
    blocks: Annotated[int, Field(ge=1, le=500)] = 8
    """Turns of base, head, head, base in each launch."""
    benchmarks: Annotated[str, Field(min_length=1)] | None = None
    """A folder of the project's own pytest-benchmark tests, run by both sides' interpreters."""
    calibrate: bool = False
    """Whether two copies of the base are compared too, which shows this runner's own noise."""
    on_inconclusive: Literal["warn", "fail"] = "warn"
    """What it counts as when the runner is too noisy to tell."""

    @model_validator(mode="after")
    def _one_row_is_measured(self) -> Self:
        for name in ("p50_ms", "p95_ms"):
            if getattr(self.budgets, name) is not None and 1 not in self.batch_sizes:
                raise ValueError(f"`budgets.{name}` is for one row: add 1 to `batch_sizes`")
        return self

    def run(self, workspace: Workspace) -> Findings:
        """Measure, and decide."""
        from ci_mlops.stages.latency import judging

        return judging.judge(self, workspace)
