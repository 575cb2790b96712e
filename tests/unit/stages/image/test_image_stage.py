"""What the stage decides from what was measured, and what it does where it cannot look."""

import json
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError

from ci_mlops import layers
from ci_mlops.command import Commands
from ci_mlops.containers import Image, is_root
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.dataset.table import Table
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Subject
from ci_mlops.model.settings import ModelSettings, PredictionFiles
from ci_mlops.serving import bundle
from ci_mlops.serving.in_image import Measured
from ci_mlops.stage import Side, Workspace
from ci_mlops.stages.image import ImageBudgets, ImageStage, building, judging

CASE = Path(__file__).parents[3] / "cases" / "image" / "passes" / "serves-what-was-judged"
NO_BUILDER = {"DOCKER_HOST": "tcp://127.0.0.1:1", "PATH": "/nowhere"}


def image(size_bytes: int = 100_000_000, user: str = "65532") -> Image:
    return Image(
        digest="sha256:" + "a" * 64, size_bytes=size_bytes, user=user, labels={}, layers=()
    )


def measured(**changes: object) -> Measured:
    found = Measured(image=image(), checks=(), ready_s=1.5, memory_bytes=50_000_000)
    return replace(found, **changes)  # type: ignore[arg-type]  # fields of Measured


def space(root: Path, commands: Commands, model: ModelSettings | None = None) -> Workspace:
    leave_out = shutil.ignore_patterns("base")
    shutil.copytree(CASE, root, dirs_exist_ok=True, ignore=leave_out)
    head = Side(
        name="head",
        root=root,
        commit="b" * 40,
        code="",
        data=DataSettings(test="test.csv", label="y", sensitive=("debt",)),
        model=model or ModelSettings(task="binary", path="weight.txt", loader="scorer:load"),
        subjects=tuple(Subject(name=n, sha256="b" * 64) for n in ("model", "data.test", "code")),
    )
    workspace = Workspace(
        head=head,
        base=None,
        base_missing="this is the first commit",
        judge=head,
        commands=commands.adding(NO_BUILDER),
        folder=root / ".mlops",
        cache=root.parent / "cache",
        cores=2,
    )
    frame = pd.read_csv(root / "test.csv")
    table = Table(frame=frame, settings=head.data, place="test.csv")
    workspace.once(("table", "head", "test"), lambda: table)
    return workspace


def test_without_a_builder_it_is_skipped_with_the_reason(
    tmp_path: Path, commands: Commands
) -> None:
    (check,) = ImageStage().run(space(tmp_path, commands)).checks
    assert check.outcome == "skipped"
    assert "no Docker daemon answers" in check.message
    assert "DOCKER_HOST" in check.message


def test_predictions_in_files_are_nothing_to_serve(tmp_path: Path, commands: Commands) -> None:
    files = ModelSettings(task="binary", predictions=PredictionFiles(test="p.csv"))
    (check,) = ImageStage().run(space(tmp_path, commands, files)).checks
    assert (check.outcome, "no model to serve" in check.message) == ("skipped", True)


def test_the_context_holds_the_bundle_and_no_data(tmp_path: Path, commands: Commands) -> None:
    workspace = space(tmp_path / "project", commands)
    commands.run(["git", "init", "-q"], cwd=workspace.head.root)
    workspace = replace(workspace, commands=commands)
    known = building.judged(workspace.head, workspace)
    assert known.model == workspace.project
    assert known.recorded.rows == 32
    assert bundle.digest(known.bundle) == known.digest
    (tmp_path / "ca.pem").write_text("certificates", encoding="utf-8")
    trusting = replace(workspace, commands=commands.adding({"PIP_CERT": str(tmp_path / "ca.pem")}))
    context = tmp_path / "context"
    context.mkdir()
    building._fill(context, ImageStage(), workspace.head, trusting, known.bundle)
    names = {str(one.relative_to(context)) for one in context.rglob("*") if one.is_file()}
    assert names >= {"Dockerfile", "build/ca.pem", "build/serving.txt", "build/requirements.txt"}
    assert {n for n in names if n.startswith("bundle/")} == {
        "bundle/code/requirements.txt",
        "bundle/code/scorer.py",
        "bundle/model/weight.txt",
        "bundle/recorded.json",
        "bundle/serve.json",
    }
    assert bundle.digest(context / "bundle") == known.digest


def test_the_server_in_the_context_is_whole(tmp_path: Path) -> None:
    """What is copied imports nothing of ours that is not, and nothing that is not locked for it."""
    for name in building.SERVER_FILES:
        (tmp_path / "ci_mlops" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(building.PACKAGE / name, tmp_path / "ci_mlops" / name)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import ci_mlops.serving.container as one; "
        "assert one.__file__.startswith(sys.argv[1]), one.__file__; "
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    )
    heavy = {"numpy", "pandas", "psutil", "requests", "docker", "yaml", "scipy", "sklearn"}
    assert not heavy & set(done.stdout.split())


def test_a_lock_file_that_is_missing_is_named(tmp_path: Path, commands: Commands) -> None:
    workspace = space(tmp_path / "project", commands)
    with pytest.raises(CannotLook, match=r"requirements: gone.txt is missing"):
        building._fill(
            tmp_path, ImageStage(requirements="gone.txt"), workspace.head, workspace, tmp_path
        )


def test_the_time_of_an_image_is_given_or_the_commits(tmp_path: Path, commands: Commands) -> None:
    workspace = space(tmp_path, commands)
    given = replace(workspace, commands=commands.adding({"SOURCE_DATE_EPOCH": "1700000000"}))
    assert building._epoch(workspace.head, given) == 1_700_000_000
    assert building._epoch(workspace.head, replace(workspace, commands=commands)) == 0


def test_a_target_needs_a_dockerfile() -> None:
    with pytest.raises(ValidationError, match="name it in `dockerfile`"):
        ImageStage(target="serve")
    assert ImageStage(target="serve", dockerfile="Dockerfile").target == "serve"


@pytest.mark.parametrize(
    ("budgets", "outcomes"),
    [
        (ImageBudgets(), []),
        (ImageBudgets(size_mb=100, memory_mb=50, start_s=1.5), ["passed"] * 3),
        (ImageBudgets(size_mb=99, memory_mb=49, start_s=1.4), ["failed"] * 3),
    ],
)
def test_budgets_are_limits(budgets: ImageBudgets, outcomes: list[str]) -> None:
    checks = list(judging._budgets(ImageStage(budgets=budgets), measured()))
    assert [one.outcome for one in checks] == outcomes
    assert all(bool(one.remedy) == (one.outcome == "failed") for one in checks)


def test_an_image_that_is_not_ready_has_no_memory_to_judge() -> None:
    found = measured(ready_s=None, memory_bytes=None)
    settings = ImageStage(budgets=ImageBudgets(memory_mb=1, start_s=1))
    assert list(judging._budgets(settings, found)) == []
    assert list(judging._growth(settings, found, None, "")) == []


def test_growth_is_held_against_the_base() -> None:
    grown = measured(image=image(size_bytes=121_000_000), memory_bytes=60_000_000)
    size, memory = judging._growth(ImageStage(), grown, measured(), "")
    assert (size.outcome, memory.outcome) == ("failed", "passed")
    assert size.message == "The size went from 100.0 to 121.0 MB (+21.0 %)."
    size, memory = judging._growth(ImageStage(), grown, None, "this is the first commit")
    assert (size.outcome, memory.outcome) == ("skipped", "skipped")
    assert "nothing to compare with: this is the first commit" in size.message


@pytest.mark.parametrize(
    ("user", "root"),
    [("", True), ("root", True), ("0:0", True), ("65532:65532", False), ("app", False)],
)
def test_who_is_root(user: str, root: bool) -> None:
    assert is_root(user) is root


def saved(mtime: int, created: str) -> bytes:
    """Return an archive as `docker save` writes it: one layer with one file."""
    layer = BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        info = tarfile.TarInfo("opt/model.txt")
        info.mtime, info.size, info.uname = mtime, 5, "builder"
        tar.addfile(info, BytesIO(b"model"))
    config = {
        "created": created,
        "container": created,
        "config": {"User": "65532", "Image": created},
        "history": [{"created": created, "created_by": "COPY"}],
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]},
    }
    manifest = [{"Config": "c.json", "RepoTags": None, "Layers": ["x/layer.tar"]}]
    files = {
        "c.json": json.dumps(config).encode(),
        "manifest.json": json.dumps(manifest).encode(),
        "x/layer.tar": layer.getvalue(),
    }
    archive = BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, BytesIO(data))
    return archive.getvalue()


def timed(data: bytes, below: tuple[str, ...] = ()) -> dict[str, bytes]:
    with (
        layers.with_times([data], epoch=1_700_000_000, below=below) as file,
        tarfile.open(fileobj=file) as tar,
    ):
        read = {one.name: tar.extractfile(one) for one in tar}
        return {name: held.read() for name, held in read.items() if held is not None}


def test_equal_inputs_give_an_equal_digest_at_any_time_of_day() -> None:
    one = timed(saved(1, "2026-01-01T00:00:00Z"))
    other = timed(saved(2, "2026-02-02T00:00:00Z"))
    assert one == other
    (config,) = [json.loads(data) for name, data in one.items() if len(name) == 69]
    assert config["created"] == config["history"][0]["created"] == "2023-11-14T22:13:20Z"
    assert "container" not in config
    assert config["config"] == {"User": "65532"}


def test_the_layers_of_the_base_stay_as_they_are() -> None:
    data = saved(1, "2026-01-01T00:00:00Z")
    kept = timed(data, below=("sha256:" + "0" * 64,))["0/layer.tar"]
    assert kept != timed(data)["0/layer.tar"]
    assert kept in data
