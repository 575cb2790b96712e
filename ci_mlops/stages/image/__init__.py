"""Stage image: whether the model, in the image to be released, still does what was judged."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ci_mlops.stage import Findings, Stage, Workspace
from ci_mlops.values import Value

Name = Annotated[str, Field(min_length=1)]


class ImageBudgets(Value):
    """Absolute limits."""

    size_mb: Annotated[float, Field(gt=0)] | None = None
    """Size of the image, uncompressed, in megabytes."""
    memory_mb: Annotated[float, Field(gt=0)] | None = None
    """Memory that the running server holds after its checks, in megabytes."""
    start_s: Annotated[float, Field(gt=0)] | None = None
    """Time from the start of the container until it is ready, in seconds."""


class ImageStage(Stage):
    """Builds the serving image, starts it by digest, and asks it what the gate asked the model."""

    name: ClassVar[Literal["image"]] = "image"
    question: ClassVar[str] = "Does the image that would be released predict what was judged?"
    alone: ClassVar[bool] = True
    uses: ClassVar[tuple[str, ...]] = ("data.train", "data.test", "model", "code")

    dockerfile: Name | None = None
    """The project's own Dockerfile, built with the folder of mlops.yml as context; by default ours,
    with FastAPI and the Open Inference Protocol."""
    target: Name | None = None
    """The stage of the project's own Dockerfile to build; default: the last one."""
    base: Name | None = None
    """The image to build on (build argument `BASE`), with Python 3.11 or newer; default:
    `python:<version that was judged>-slim-bookworm`."""
    requirements: Name = "requirements.txt"
    """The lock file of the model's environment, as pip reads it; for our Dockerfile."""
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    """The port that the server in the image listens on."""
    ready_within_s: Annotated[float, Field(gt=0, le=3600)] = 60
    """How long the server may take until it is ready."""
    tolerance: Annotated[float, Field(ge=0, le=1)] = 1e-9
    """How far a number may lie from the judged one, relative where it is above 1."""
    max_growth_percent: Annotated[float, Field(gt=0, le=10_000)] = 20
    """How much larger than at the base the image and its memory may become, in percent."""
    budgets: ImageBudgets = ImageBudgets()
    """Absolute limits of the image and its server."""

    @model_validator(mode="after")
    def _target_of_a_dockerfile(self) -> Self:
        if self.target is not None and self.dockerfile is None:
            raise ValueError("`target` is a stage of your own Dockerfile: name it in `dockerfile`")
        return self

    def inputs(self, workspace: Workspace) -> Mapping[str, str]:
        """Digest what builds the image beside the project: our Dockerfile and the server's lock."""
        from ci_mlops import bundling
        from ci_mlops.evidence import file_sha256
        from ci_mlops.stages.image import building

        files = (building.shipped("Dockerfile"), building.shipped("requirements/serving.txt"))
        return {file.name: file_sha256(file) for file in files} | dict(
            bundling.inputs(*workspace.sides())
        )

    def run(self, workspace: Workspace) -> Findings:
        """Build, start, ask, and end."""
        from ci_mlops.stages.image import judging

        return judging.judge(self, workspace)
