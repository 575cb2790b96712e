"""The image of one side: what is recorded of the model, the build's context, and the build."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ci_mlops.buildah import Buildah
from ci_mlops.containers import Docker, Image
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import text_sha256
from ci_mlops.serving import signature
from ci_mlops.serving.conformance import Recorded
from ci_mlops.serving.served import LogSettings, Served
from ci_mlops.stage import Side, Workspace
from ci_mlops.stages.image import ImageStage

if TYPE_CHECKING:
    from ci_mlops.model.predictions import Predictions

SERVER_FILES = (
    "__init__.py",
    "errors.py",
    "values.py",
    "model/__init__.py",
    "model/host.py",
    "serving/__init__.py",
    "serving/__main__.py",
    "serving/answers.py",
    "serving/metrics.py",
    "serving/prediction_log.py",
    "serving/served.py",
    "serving/server.py",
    "serving/tensors.py",
)
"""What of ci-mlops goes into an image: all that the server imports, and no more."""
CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
INDEXES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the gate knows of one side's model: how it is served, and what it must predict."""

    served: Served
    recorded: Recorded
    python: str
    """The version of the interpreter that was judged, such as 3.11.7."""


def judged(settings: ImageStage, side: Side, workspace: Workspace) -> Judged:
    """Record what one side's model answered for its own test rows. Raises CannotLook."""
    predictions = workspace.predictions(model=side, data=side, part="test")
    frame = workspace.table(side, "test").frame
    train = workspace.table(side, "train").frame if side.data.train else None
    model = side.model
    if model is None or model.path is None:
        raise CannotLook(f"{side.name} has no model file", place="model.path")
    columns = signature.columns(frame, predictions.inputs, train)
    redact = settings.log.redact if settings.log.redact is not None else side.data.sensitive
    served = Served(
        name=settings.model_name,
        version=side.digest("model")[:12] or "unknown",
        digest=side.digest("model"),
        path=model.path,
        loader=model.loader,
        task=model.task,
        scores=predictions.scores is not None,
        classes=tuple(_plain(one) for one in predictions.classes),
        positive=_plain(side.data.positive),
        threshold=model.threshold,
        columns=columns,
        limits=settings.limits,
        log=LogSettings(path=settings.log.path, sample=settings.log.sample, redact=redact),
        drain_s=settings.drain_s,
    )
    places = _sample(settings.rows, len(frame), workspace.seed)
    recorded = Recorded(
        request=signature.request(frame.iloc[places], columns),
        outputs=_outputs(predictions, places),
    )
    return Judged(
        served=served, recorded=recorded, python=predictions.versions.get("python", "3.11")
    )


def _sample(wanted: int, rows: int, seed: int) -> list[int]:
    import numpy as np

    found = np.random.default_rng(seed).choice(rows, size=min(wanted, rows), replace=False)
    return sorted(int(one) for one in found)


def _outputs(predictions: "Predictions", places: list[int]) -> dict[str, list[Any]]:
    found = {"predict": [_plain(predictions.predicted[place]) for place in places]}
    if predictions.scores is not None:
        found["predict_proba"] = [
            float(value) for place in places for value in predictions.scores[place]
        ]
    return found


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def build(
    docker: Docker | Buildah,
    settings: ImageStage,
    side: Side,
    workspace: Workspace,
    known: Judged,
    *,
    evidence: str,
    fresh: bool = False,
) -> Image:
    """Build the image of one side. `evidence` is the digest of its recorded predictions.

    Raises CannotLook with what the builder said.
    """
    labels = {
        "org.opencontainers.image.revision": side.commit,
        "io.ci-mlops.model": side.digest("model"),
        "io.ci-mlops.data": side.digest("data.test"),
        "io.ci-mlops.code": side.digest("code"),
        "io.ci-mlops.evidence": evidence,
    }
    epoch = _epoch(side, workspace)
    if settings.dockerfile is not None:
        if not (side.root / settings.dockerfile).is_file():
            raise CannotLook(f"{settings.dockerfile} is missing", place="stages.image.dockerfile")
        arguments = {"BASE": settings.base} if settings.base else {}
        return docker.build(
            side.root,
            dockerfile=settings.dockerfile,
            target=settings.target,
            arguments=arguments,
            labels=labels,
            epoch=epoch,
            fresh=fresh,
        )
    environ = workspace.commands.environ
    short = ".".join(known.python.split(".")[:2])
    arguments = {"BASE": settings.base or f"python:{short}-slim-bookworm"}
    arguments |= {name: environ[name] for name in INDEXES if environ.get(name)}
    with tempfile.TemporaryDirectory(prefix="ci-mlops-image-") as folder:
        context = Path(folder)
        _fill(context, settings, side, workspace, known.served)
        return docker.build(
            context,
            dockerfile="Dockerfile",
            target="serve",
            arguments=arguments,
            labels=labels,
            epoch=epoch,
            fresh=fresh,
        )


def _epoch(side: Side, workspace: Workspace) -> int:
    """Return the one time of the image: SOURCE_DATE_EPOCH, or that of the commit."""
    given = workspace.commands.environ.get("SOURCE_DATE_EPOCH", "")
    if given.isdecimal():
        return int(given)
    commit = side.commit.removesuffix("+changes")
    arguments = ["git", "show", "--no-patch", "--format=%ct", commit]
    told = workspace.commands.run(arguments, cwd=side.root, timeout_s=60).output.strip()
    return int(told) if told.isdecimal() else 0


def _fill(
    context: Path, settings: ImageStage, side: Side, workspace: Workspace, served: Served
) -> None:
    """Lay the context of our Dockerfile: lock files, the server, the project and the model."""
    lock = side.root / settings.requirements
    if not lock.is_file():
        raise CannotLook(
            f"{settings.requirements} is missing",
            place="stages.image.requirements",
            remedy="Lock the model's environment there, or name its lock file",
        )
    sources = {
        "Dockerfile": shipped("Dockerfile"),
        "build/requirements.txt": lock,
        "build/serving.txt": shipped("requirements/serving.txt"),
        **_certificates(workspace.commands.environ),
        **{f"server/ci_mlops/{name}": PACKAGE / name for name in SERVER_FILES},
        **{f"project/{name}": side.root / name for name in _project(settings, side, workspace)},
    }
    for name, source in sources.items():
        target = context / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
    (context / "serving.json").write_text(served.model_dump_json(indent=1), encoding="utf-8")
    for path in context.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


PACKAGE = Path(__file__).parents[2]


def shipped(name: str) -> Path:
    """Return a file of ours: in the wheel, or at the top of an editable install's repository."""
    path = Path(str(files("ci_mlops").joinpath(*name.split("/"))))
    return path if path.is_file() else PACKAGE.parent / name


def _certificates(environ: Mapping[str, str]) -> dict[str, Path]:
    """Return the certificates that this machine trusts, where its environment names them."""
    named = (environ[name] for name in CERTIFICATES if environ.get(name))
    found = next((Path(one) for one in named if Path(one).is_file()), None)
    return {"build/ca.pem": found} if found else {}


def _project(settings: ImageStage, side: Side, workspace: Workspace) -> list[str]:
    """Name the files of the project that go into the image, relative to the side's root."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = workspace.commands.run(listed, cwd=side.root, timeout_s=60)
    names = {name for name in done.output.split("\0") if name and (side.root / name).is_file()}
    data = {side.data.test, side.data.train}
    kept = {
        path.relative_to(side.root).as_posix()
        for pattern in settings.include
        for path in side.root.glob(pattern)
    }
    model = side.model.path if side.model and side.model.path else ""
    return sorted({name for name in names & kept if name not in data} | {model})


def evidence_of(known: Judged) -> str:
    """Return the digest of what is recorded of a model's predictions."""
    return text_sha256(json.dumps(known.recorded.document(), sort_keys=True))
