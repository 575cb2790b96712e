"""The `release` section of mlops.yml: environments by name, each with its target."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from ci_mlops.values import Many, Value


class VerifySettings(Value):
    """What a candidate must show in place, before the switch and after it."""

    ready_within_s: Annotated[float, Field(gt=0, le=3600)] = 30
    """Time until it is ready."""
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.000_001
    """How far a number may lie from the judged one, relative where it is above 1."""
    requests: Annotated[int, Field(ge=20, le=100_000)] = 300
    """Recorded rows that are replayed, one in a request; up to eight times as many where times or
    memory are undecided. 300 meet an error that comes in 2 % of all requests in 99.8 % of cases."""
    max_errors_percent: Annotated[float, Field(ge=0, le=100)] = 0
    """Requests, in percent, that may go without a right answer."""
    max_slowdown_percent: Annotated[float, Field(gt=0)] | None = 30
    """How much longer answers may take than those of what is live take in turn with them; null for
    no such limit."""
    max_leak_kb: Annotated[float, Field(gt=0)] | None = 2
    """Memory that a request may leave behind, in kilobytes, beside steps of 1 MB; null for no such
    limit. Without `process_resident_memory_bytes` in `/metrics` it is not looked at."""
    max_server_errors_percent: Annotated[float, Field(ge=0, le=100)] = 1
    """Requests of clients, in percent, that may be answered with 5xx while it is held."""


class OnRollback(Value):
    """What a rollback opens on GitHub, in a workflow with a token that may."""

    issue: bool = True
    """One issue for the environment, closed when a release holds again."""
    revert_pull_request: bool = True
    """A pull request that reverts the commit whose release was undone."""


class MlflowMirror(Value):
    """An alias of a registered model in MLflow, moved to the version of what is live."""

    model: Annotated[str, Field(pattern=r"^[^/:'\x22\x00-\x1f]{1,256}$")]
    """The registered model."""
    alias: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,255}$")] | None = None
    """The alias; default: the environment's name."""
    tracking_uri: Annotated[str, Field(pattern=r"^https?://[^\s@]+$")] | None = None
    """The server, such as `https://mlflow.example.org`; default: MLFLOW_TRACKING_URI."""
    create_version: bool = False
    """Where no version carries the tag of what is live, make one, which names it and holds no
    model. Otherwise that is a fault."""


class Mirrors(Value):
    """Copies of what the ledger says, written after it; `ci-mlops ledger sync` rebuilds them."""

    github_deployments: bool = True
    """A deployment for each promotion and rollback, where GITHUB_REPOSITORY and GITHUB_TOKEN are
    set, as in a workflow."""
    oci_tag: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,62}$")] | None = None
    """A tag in `repository` that names the image that is live, such as `production`."""
    mlflow: MlflowMirror | None = None
    """An alias in MLflow's model registry."""


class EnvironmentRules(Value):
    """How a release into an environment is verified, and how long it may take."""

    stage: ClassVar[Literal["serving", "image"]] = "serving"
    """The stage that makes what is released: a bundle, or an image."""

    verify: VerifySettings = VerifySettings()
    """What a candidate must show in place."""
    hold_minutes: Annotated[float, Field(ge=0, le=10_080)] = 0
    """How long a promoted version is watched at the clients' address before the promotion ends,
    with the one before it still warm; the first thing that does not hold goes back to that."""
    abandoned_after_minutes: Annotated[float, Field(gt=0)] = 30
    """A promotion that has not ended for so long is taken back by the next one; it must be longer
    than the hold, and the steps of a canary, each watched twice at the most."""
    on_rollback: OnRollback = OnRollback()
    """What a rollback opens on GitHub."""
    mirrors: Mirrors = Mirrors()
    """Where else it stands what is live."""

    @property
    def watched_minutes(self) -> float:
        """How long a promotion is watched, at the longest."""
        return self.hold_minutes

    @model_validator(mode="after")
    def _ends_before_it_is_abandoned(self) -> Self:
        if not self.abandoned_after_minutes > self.watched_minutes:
            raise ValueError(
                f"a promotion may be watched for {self.watched_minutes:g} minutes (canary and "
                f"hold): `abandoned_after_minutes`, {self.abandoned_after_minutes:g}, must be "
                "longer"
            )
        return self


class CanaryRules(EnvironmentRules):
    """How the traffic is moved to a candidate: at once, or in steps that are watched."""

    canary_percent: Annotated[Many[Annotated[int, Field(ge=1, le=100)]], Field(min_length=1)] = (
        100,
    )
    """Shares of the traffic that a candidate gets one after the other, such as `[10, 50, 100]`;
    the last is 100. The first release of an environment goes there at once."""
    canary_step_minutes: Annotated[float, Field(gt=0, le=1440)] = 5
    """How long each share below 100 is watched, and once more as long where too little was seen."""
    canary_requests: Annotated[int, Field(ge=10, le=1_000_000)] = 50
    """Requests that each side must have answered before a share is judged."""

    @property
    def watched_minutes(self) -> float:
        """How long a promotion is watched, at the longest: each step twice, and the hold."""
        return 2 * (len(self.canary_percent) - 1) * self.canary_step_minutes + self.hold_minutes

    @model_validator(mode="after")
    def _in_steps(self) -> Self:
        percents = self.canary_percent
        if percents[-1] != 100 or list(percents) != sorted(set(percents)):
            raise ValueError("`canary_percent` has to rise from step to step, and to end with 100")
        return self


class CommandTargetSettings(CanaryRules):
    """The project's own program, which starts, switches and stops what a digest names."""

    target: Literal["command"]
    command: Annotated[str, Field(min_length=1)]
    """Shell words before the verb, such as `./deploy.sh production`."""
    timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """How long each call may take."""


class DockerTargetSettings(CanaryRules):
    """Containers on one Docker host, by digest, and HAProxy in front of them."""

    stage: ClassVar[Literal["serving", "image"]] = "image"

    target: Literal["docker"]
    port: Annotated[int, Field(ge=1, le=65_535)]
    """The clients' port on the host."""
    host: str = "127.0.0.1"
    """The clients' address on the host; `0.0.0.0` for every one."""
    daemon: Annotated[str, Field(min_length=1)] | None = None
    """The host's Docker daemon, such as `ssh://deploy@models.example.org`; default: DOCKER_HOST, or
    the local one."""
    repository: Annotated[str, Field(min_length=1)] | None = None
    """Where images are pushed and pulled, such as `registry.example.org/team/loans`; default: they
    go from daemon to daemon."""
    proxy: Annotated[str, Field(min_length=1)] = "haproxy:3.2"
    """The image of HAProxy, 2.4 or newer; name it with its digest."""
    container_port: Annotated[int, Field(ge=1, le=65_535)] = 8080
    """The port that the server in the image listens on."""
    memory_mb: Annotated[int, Field(ge=16)] | None = None
    """Memory that a container may hold."""
    cpus: Annotated[float, Field(gt=0)] | None = None
    """Processors that a container may use."""
    environment: Mapping[str, str] = {}
    """Variables of each container, such as CI_MLOPS_LOG_SAMPLE. They are no place for secrets."""
    log_predictions: bool = True
    """Whether each prediction is written to the container's output (CI_MLOPS_LOG=-)."""


class KubernetesTargetSettings(CanaryRules):
    """A Deployment for each version in one namespace, and a Service that selects the live one."""

    stage: ClassVar[Literal["serving", "image"]] = "image"

    target: Literal["kubernetes"]
    repository: Annotated[str, Field(min_length=1)]
    """Where images are pushed and the cluster pulls them: `registry.example.org/team/loans`."""
    namespace: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")] = "default"
    """The namespace, which must exist."""
    context: Annotated[str, Field(min_length=1)] | None = None
    """The context of KUBECONFIG; default: its current one, or the cluster that this runs in."""
    port: Annotated[int, Field(ge=1, le=65_535)] = 80
    """The Service's port."""
    container_port: Annotated[int, Field(ge=1, le=65_535)] = 8080
    """The port that the server in the image listens on."""
    replicas: Annotated[int, Field(ge=1, le=1000)] = 2
    """Pods of a version, at the least."""
    max_replicas: Annotated[int, Field(ge=1, le=1000)] = 4
    """Pods of a version, at the most, as the HorizontalPodAutoscaler decides."""
    cpu_percent: Annotated[int, Field(ge=1, le=100)] = 80
    """The share of the requested processor time at which pods are added."""
    cpus: Annotated[float, Field(gt=0)] = 0.25
    """Processors that a pod requests."""
    memory_mb: Annotated[int, Field(ge=16)] | None = None
    """Memory that a pod requests, and half of what it may hold; default: 1.5 times what stage image
    measured, or 512."""
    environment: Mapping[str, str] = {}
    """Variables of each pod, such as CI_MLOPS_LOG_SAMPLE. They are no place for secrets."""
    log_predictions: bool = True
    """Whether each prediction is written to the pod's output (CI_MLOPS_LOG=-)."""


class ProcessTargetSettings(EnvironmentRules):
    """Processes on this host, one that answers and the one before it, still warm."""

    target: Literal["process"]
    port: Annotated[int, Field(ge=1, le=65_535)]
    """The clients' port."""
    host: str = "127.0.0.1"
    """The clients' address."""
    folder: Annotated[str, Field(min_length=1)] = ".mlops/release"
    """Where bundles, sockets and logs are kept, relative to mlops.yml. On a runner, which empties
    its checkout, an absolute path."""
    log_predictions: bool = True
    """Whether each prediction is kept in `predictions/` below the folder."""
    log_without: Many[str] = ()
    """Columns whose values are not kept there, beside those of `data.sensitive`."""


EnvironmentSettings = Annotated[
    ProcessTargetSettings | DockerTargetSettings | KubernetesTargetSettings | CommandTargetSettings,
    Field(discriminator="target"),
]
