"""The house rules that can be tests."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ci_mlops import cli, config
from ci_mlops.cli import parser
from ci_mlops.monitors import MONITORS
from ci_mlops.stages import STAGES
from ci_mlops.stages.policy import packs
from tests.conftest import clean_environ

TOP = Path(__file__).parents[1]


def tracked(pattern: str = "*") -> list[Path]:
    """Return the files that git tracks."""
    done = subprocess.run(
        ["git", "ls-files", "-z", pattern],
        cwd=TOP,
        env=clean_environ(),
        check=True,
        capture_output=True,
        text=True,
    )
    return [TOP / name for name in done.stdout.split("\0") if name and (TOP / name).is_file()]


@pytest.mark.parametrize("stage", STAGES, ids=lambda one: one.name)
def test_every_stage_is_whole(stage: type) -> None:
    name = stage.name  # type: ignore[attr-defined]  # a Stage
    assert stage.__doc__
    page = TOP / "docs" / "stages" / f"{name}.md"
    assert f"<!-- settings:{name} -->" in page.read_text(encoding="utf-8")
    assert f"stages/{name}.md" in (TOP / "mkdocs.yml").read_text(encoding="utf-8")
    for kind in ("passes", "fails"):
        assert list((TOP / "tests" / "cases" / name / kind).glob("*/mlops.yml")), kind


@pytest.mark.parametrize("stage", STAGES, ids=lambda one: one.name)
def test_every_setting_is_described(stage: type) -> None:
    schema = stage.model_json_schema()  # type: ignore[attr-defined]  # a Stage
    for model in (schema, *schema.get("$defs", {}).values()):
        for name, field in model.get("properties", {}).items():
            assert field.get("description"), f"{model.get('title')}.{name}"


def test_schemas_are_fresh() -> None:
    folder = TOP / "ci_mlops" / "schema"
    fresh = config.schemas()
    assert {file.name for file in folder.glob("*.json")} == set(fresh)
    for name, schema in fresh.items():
        assert json.loads((folder / name).read_text(encoding="utf-8")) == schema, (
            "run `make schema`"
        )


def test_verbs_flags_and_modules_agree() -> None:
    assert set(cli.VERBS) == set(parser.VERBS) == set(parser.FLAGS)


@pytest.mark.parametrize("name", sorted(packs.ready_made()))
def test_every_pack_is_valid_and_named_like_its_file(name: str) -> None:
    pack = packs.load(name, TOP).pack
    assert pack.name == name
    assert f"`{name}`" in (TOP / "docs" / "policies.md").read_text(encoding="utf-8")


def test_examples_and_the_readme_are_valid_configurations() -> None:
    for file in (TOP / "examples").glob("*/mlops.yml"):
        config.load(file)
    readme = (TOP / "README.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    config.parse(block, "README.md")


def test_the_first_pages_name_everything_that_looks_and_what_follows() -> None:
    looks = [f"stages/{one.name}.md" for one in STAGES]
    looks += [f"monitors/{one.name}.md" for one in MONITORS]
    verbs = ("release", "chatops", "monitor", "retrain", "feedback", "dashboard")
    readme = (TOP / "README.md").read_text(encoding="utf-8")
    index = (TOP / "docs" / "index.md").read_text(encoding="utf-8")
    for page in (*looks, *(f"how-to/{one}.md" for one in verbs)):
        assert f"](docs/{page})" in readme, page
        assert f"]({page})" in index, page


def test_no_page_waits_for_a_figure() -> None:
    for file in (TOP / "docs").rglob("*.md"):
        assert not re.search(r"^[A-Z]+(_[A-Z]+)+$", file.read_text("utf-8"), re.MULTILINE), file


def test_links_in_the_readme_lead_somewhere() -> None:
    for file in ("README.md", "CONTRIBUTING.md"):
        text = (TOP / file).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (TOP / target).exists(), f"{file}: {target}"


MACHINE = re.compile(r"(?<![\w.])/(?:work|farm|root)/|\.\./shared|https?://(?:pypi|files\.python)")


def test_nothing_names_one_machine_or_registry() -> None:
    for file in tracked():
        if file.suffix in {".png", ".parquet", ".joblib"} or file == Path(__file__):
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        assert not MACHINE.search(text), file


def test_lock_files_have_hashes() -> None:
    for file in [*(TOP / "requirements").glob("*.txt"), *(TOP / "examples").glob("*/*.txt")]:
        text = file.read_text(encoding="utf-8")
        pins = re.findall(r"^[a-zA-Z0-9_.-]+==", text, re.MULTILINE)
        assert pins, file
        assert text.count("--hash=sha256:") >= len(pins), file


def test_the_wheel_holds_what_an_editable_install_finds(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=TOP,
        env=clean_environ(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for pack in packs.ready_made():
        assert f"ci_mlops/policies/{pack}.yml" in names
    for starter in (TOP / "workflows").glob("*.yml"):
        assert f"ci_mlops/workflows/{starter.name}" in names
    assert "ci_mlops/requirements/deepchecks.txt" in names
    assert "ci_mlops/requirements/serving.txt" in names
    assert "ci_mlops/Dockerfile" in names
    assert "ci_mlops/schema/mlops.schema.json" in names
    assert "ci_mlops/model/host.py" in names
