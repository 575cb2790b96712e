"""The image of one side: its bundle, the build's context, and the build."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ci_mlops import bundling
from ci_mlops.buildah import Buildah
from ci_mlops.containers import Docker, Image
from ci_mlops.errors import CannotLook
from ci_mlops.serving import bundle
from ci_mlops.serving.bundle import Recorded
from ci_mlops.stage import Side, Workspace
from ci_mlops.stages.image import ImageStage

SERVER_FILES = (
    "__init__.py",
    "errors.py",
    "evidence.py",
    "values.py",
    "model/__init__.py",
    "model/host.py",
    "model/settings.py",
    "serving/__init__.py",
    "serving/app.py",
    "serving/bundle.py",
    "serving/container.py",
    "serving/loaded.py",
    "serving/prediction_log.py",
    "serving/rows.py",
    "serving/signature.py",
    "serving/worker.py",
)
"""What of ci-mlops goes into an image: all that the server imports, and no more."""
RECORDED_LAYER = f"ARG BASE\nFROM ${{BASE}}\nCOPY {bundle.RECORDED} /srv/bundle/{bundle.RECORDED}\n"
CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
INDEXES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL")


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What the gate knows of one side's model: its bundle, and the interpreter it was judged by."""

    bundle: Path
    digest: str
    """The bundle's."""
    python: str
    """The version of the interpreter that was judged, such as 3.11.7."""

    @property
    def model(self) -> str:
        """The name under which the model is asked."""
        return bundle.read_serve(self.bundle).signature.name

    @property
    def recorded(self) -> Recorded:
        """Rows with the answers that were judged."""
        return bundle.read_recorded(self.bundle)


def judged(side: Side, workspace: Workspace) -> Judged:
    """Return what is known of one side's model. Raises CannotLook."""
    folder, digest = bundling.make(workspace, side)
    predictions = workspace.predictions(model=side, data=side, part="test")
    return Judged(bundle=folder, digest=digest, python=predictions.versions.get("python", "3.11"))


def build(
    docker: Docker | Buildah,
    settings: ImageStage,
    side: Side,
    workspace: Workspace,
    known: Judged,
    *,
    fresh: bool = False,
) -> Image:
    """Build the image of one side. Raises CannotLook with what the builder said."""
    labels = {
        "org.opencontainers.image.revision": side.commit,
        "io.ci-mlops.model": side.digest("model"),
        "io.ci-mlops.data": side.digest("data.test"),
        "io.ci-mlops.code": side.digest("code"),
        "io.ci-mlops.bundle": known.digest,
    }
    epoch = _epoch(side, workspace)
    if settings.dockerfile is not None:
        if not (side.root / settings.dockerfile).is_file():
            raise CannotLook(f"{settings.dockerfile} is missing", place="stages.image.dockerfile")
        arguments = {"BASE": settings.base} if settings.base else {}
        own = docker.build(
            side.root,
            dockerfile=settings.dockerfile,
            target=settings.target,
            arguments=arguments,
            labels={},
            epoch=epoch,
            fresh=fresh,
        )
        return _with_recorded(docker, own, known, labels, epoch)
    environ = workspace.commands.environ
    short = ".".join(known.python.split(".")[:2])
    arguments = {"BASE": settings.base or f"python:{short}-slim-bookworm"}
    arguments |= {name: environ[name] for name in INDEXES if environ.get(name)}
    with tempfile.TemporaryDirectory(prefix="ci-mlops-image-") as folder:
        context = Path(folder)
        _fill(context, settings, side, workspace, known.bundle)
        return docker.build(
            context,
            dockerfile="Dockerfile",
            target="serve",
            arguments=arguments,
            labels=labels,
            epoch=epoch,
            fresh=fresh,
        )


def _with_recorded(
    docker: Docker | Buildah, own: Image, known: Judged, labels: Mapping[str, str], epoch: int
) -> Image:
    """Put the recorded answers into an image of the project's own, as ours has them."""
    with tempfile.TemporaryDirectory(prefix="ci-mlops-image-") as folder:
        context = Path(folder)
        (context / "Dockerfile").write_text(RECORDED_LAYER, encoding="utf-8")
        shutil.copyfile(known.bundle / bundle.RECORDED, context / bundle.RECORDED)
        (context / bundle.RECORDED).chmod(0o644)
        return docker.build(
            context,
            dockerfile="Dockerfile",
            target=None,
            arguments={"BASE": own.digest},
            labels=labels,
            epoch=epoch,
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
    context: Path, settings: ImageStage, side: Side, workspace: Workspace, made: Path
) -> None:
    """Lay the context of our Dockerfile: lock files, the server and the bundle."""
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
        "bundle": made,
    }
    for name, source in sources.items():
        target = context / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
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
