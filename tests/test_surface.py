"""The rules of what GitHub runs: actions, reusable workflows, starters."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ci_mlops import REPOSITORY, __version__
from ci_mlops.cli import parser
from tests.conftest import clean_environ

TOP = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
FORMS = sorted((TOP / "workflows" / "forms").glob("*.yml"))
STARTERS = sorted((TOP / "workflows").glob("*.yml"))
WORKFLOWS = [*sorted((TOP / ".github" / "workflows").glob("*.yml")), *STARTERS]
ACTIONS = [TOP / "action.yml", *sorted((TOP / "actions").glob("*/action.yml"))]
REUSABLE = (
    "dashboard.yml",
    "feedback.yml",
    "monitor.yml",
    "pipeline.yml",
    "publish.yml",
    "release.yml",
    "retrain.yml",
)
EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}", re.DOTALL)


def name(file: Path) -> str:
    return file.relative_to(TOP).as_posix()


def read(file: Path) -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as true; a base loader leaves every scalar a text.
    document = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    assert isinstance(document, dict)
    return document


def steps(file: Path) -> list[dict[str, Any]]:
    document = read(file)
    jobs = document.get("jobs", {"action": document.get("runs", {})})
    return [step for job in jobs.values() for step in job.get("steps", [])]


def zizmor(*flags: str) -> tuple[int, str]:
    command = ["zizmor", "--offline", "--persona", "auditor", "--format", "plain", *flags]
    done = subprocess.run(
        [*command, TOP, *STARTERS],
        executable=BIN / "zizmor",
        env=clean_environ({"NO_COLOR": "1"}),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_auditor_finds_nothing() -> None:
    code, output = zizmor()
    assert code == 0, output
    assert "No findings to report" in output
    assert "(1 ignored)" in output


def test_what_the_auditor_was_told_to_ignore_is_one_thing_with_a_reason() -> None:
    _, output = zizmor("--no-ignores")
    assert "1 finding:" in output
    assert "error[dangerous-triggers]" in output
    (line,) = [
        line
        for file in (*WORKFLOWS, *ACTIONS)
        for line in file.read_text(encoding="utf-8").splitlines()
        if "zizmor: ignore" in line
    ]
    assert re.search(r"ignore\[dangerous-triggers\] \w+ .*", line)


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", WORKFLOWS),
        ("vendor.github-actions", ACTIONS),
        ("vendor.github-issue-forms", FORMS),
    ],
)
def test_the_schemas_hold(schema: str, files: list[Path]) -> None:
    command = [str(BIN / "check-jsonschema"), "--builtin-schema", schema, *map(str, files)]
    done = subprocess.run(command, env=clean_environ(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("file", [*WORKFLOWS, *ACTIONS], ids=name)
def test_what_others_wrote_is_pinned_by_its_commit_and_says_its_version(file: Path) -> None:
    for line in file.read_text(encoding="utf-8").splitlines():
        found = re.search(r"uses: (\S+)(.*)", line)
        if not found or found[1].startswith(("$/", "./", f"{REPOSITORY}@", f"{REPOSITORY}/")):
            continue
        assert re.fullmatch(r"[\w-]+/[\w/-]+@[0-9a-f]{40}", found[1]), line
        assert re.fullmatch(r" # v\d+\.\d+\.\d+", found[2]), line


@pytest.mark.parametrize("file", [*WORKFLOWS, *ACTIONS], ids=name)
def test_inputs_reach_a_shell_through_its_environment_alone(file: Path) -> None:
    for step in steps(file):
        assert "${{" not in step.get("run", ""), step
        assert not {"github-script"} & set(step.get("uses", "").split("/")), "no script in YAML"


@pytest.mark.parametrize("file", [*WORKFLOWS, *ACTIONS], ids=name)
def test_yaml_holds_no_logic(file: Path) -> None:
    for step in steps(file):
        lines = step.get("run", "").strip().splitlines()
        assert len(lines) <= 2, step
        assert not re.search(r"\b(if|for|while|case)\b|&&|\|\|", step.get("run", "")), step


@pytest.mark.parametrize("file", WORKFLOWS, ids=name)
def test_a_workflow_grants_nothing_on_top_and_little_below(file: Path) -> None:
    workflow = read(file)
    assert workflow["permissions"] == {}
    if "workflow_dispatch" not in workflow["on"]:
        assert set(workflow["concurrency"]) == {"group", "cancel-in-progress"}
    for key, job in workflow["jobs"].items():
        assert job["name"], key
        assert "uses" in job or job["timeout-minutes"], key
        for scope, level in job.get("permissions", {}).items():
            assert level == "read" or (file.name, scope) in MAY_WRITE, (key, scope)
        for step in job.get("steps", []):
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] == "false"


MAY_WRITE = {
    (file, scope) for file in ("publish.yml", "single.yml") for scope in ("checks", "pull-requests")
} | {
    *(
        (file, scope)
        for file in ("feedback.yml", "monitor.yml", "release.yml")
        for scope in ("contents", "issues", "pull-requests")
    ),
    *((file, "deployments") for file in ("monitor.yml", "release.yml")),
    *(("dashboard.yml", scope) for scope in ("id-token", "pages")),
    *(("retrain.yml", scope) for scope in ("contents", "pull-requests")),
}


@pytest.mark.parametrize("file", ACTIONS, ids=name)
def test_an_action_can_be_listed(file: Path) -> None:
    action = read(file)
    assert action["name"]
    assert action["author"]
    assert len(action["description"]) <= 125, "the Marketplace cuts it there"
    for kind in ("inputs", "outputs"):
        assert all(one["description"] for one in action.get(kind, {}).values())
    assert all(step.get("shell") == "bash" for step in steps(file) if "run" in step)


def test_the_action_at_the_top_passes_everything_on() -> None:
    top, run = read(TOP / "action.yml"), read(TOP / "actions" / "run" / "action.yml")
    assert top["branding"] == {"icon": "check-circle", "color": "green"}
    assert top["inputs"] == run["inputs"]
    (step,) = top["runs"]["steps"]
    assert step["uses"] == "$/actions/run"
    assert step["with"] == {one: f"${{{{ inputs.{one} }}}}" for one in run["inputs"]}
    assert set(top["outputs"]) == set(run["outputs"]) == {"verdict", "report", "evidence"}


@pytest.mark.parametrize("file", [*WORKFLOWS, *ACTIONS], ids=name)
def test_every_flag_that_is_used_exists(file: Path) -> None:
    for step in steps(file):
        called = re.search(r'"\$CI_MLOPS" (\w+)(.*)', step.get("run", ""))
        if called:
            known = {flag for flag, _ in parser.FLAGS[called[1]]}
            assert set(re.findall(r"--[a-z-]+", called[2])) <= known, step


@pytest.mark.parametrize("file", [*WORKFLOWS, *ACTIONS], ids=name)
def test_every_input_that_is_passed_or_read_exists(file: Path) -> None:
    document = read(file)
    known = set(called(document).get("inputs", {}))
    text = file.read_text(encoding="utf-8")
    for expression in EXPRESSION.findall(text):
        assert set(re.findall(r"\binputs\.([\w-]+)", expression)) <= known
    jobs = document.get("jobs", {})
    for step in [*steps(file), *(job for job in jobs.values() if "uses" in job)]:
        target = ours(step.get("uses", ""))
        if target is not None:
            assert set(step.get("with", {})) <= set(called(read(target))["inputs"]), step


def called(document: dict[str, Any]) -> dict[str, Any]:
    """Return what holds the inputs of an action, or of a workflow that is called or dispatched."""
    triggers = document.get("on", {})
    if "on" not in document or not isinstance(triggers, dict):
        return document if "on" not in document else {}
    found: dict[str, Any] = triggers.get("workflow_call") or triggers.get("workflow_dispatch") or {}
    return found


def ours(uses: str) -> Path | None:
    """Return the file that a `uses:` of our own names; it must exist."""
    path = re.fullmatch(rf"(?:\$|{REPOSITORY})/?([^@]*)(?:@.*)?", uses)
    if not path:
        return None
    file = TOP / path[1]
    return file if file.suffix == ".yml" else file / "action.yml"


@pytest.mark.parametrize("file", STARTERS, ids=name)
def test_a_starter_is_short_and_calls_what_we_release(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 25
    mentions = re.findall(rf"uses: {REPOSITORY}(\S*)@(\S+)", text)
    assert len(mentions) == 1
    assert mentions[0][1] == f"v{__version__}"


def test_a_caller_grants_what_the_reusable_workflow_asks_for() -> None:
    for starter, reusable in (
        ("gate.yml", "pipeline.yml"),
        ("publish.yml", "publish.yml"),
        ("release.yml", "release.yml"),
        ("monitor.yml", "monitor.yml"),
        ("retrain.yml", "retrain.yml"),
        ("feedback.yml", "feedback.yml"),
        ("dashboard.yml", "dashboard.yml"),
    ):
        (caller,) = read(TOP / "workflows" / starter)["jobs"].values()
        asked: dict[str, str] = {}
        for job in read(TOP / ".github" / "workflows" / reusable)["jobs"].values():
            for scope, level in job["permissions"].items():
                asked[scope] = max(level, asked.get(scope, ""))  # "read" comes before "write"
        assert caller["permissions"] == asked


def test_the_readme_shows_the_starter_that_init_writes() -> None:
    (shown,) = re.findall(
        r"```yml\n(.*?)```", (TOP / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert shown == (TOP / "workflows" / "gate.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        (TOP / ".github/workflows/pipeline.yml", r"Of the reusable workflow.*?\n\n(.*?)\n\nOf the"),
        (TOP / "action.yml", r"Of the action.*?\n\n(.*?)\n\nIts outputs"),
    ],
    ids=["pipeline", "action"],
)
def test_every_input_is_in_the_documentation(file: Path, pattern: str) -> None:
    page = (TOP / "docs" / "how-to" / "add.md").read_text(encoding="utf-8")
    (table,) = re.findall(pattern, page, re.DOTALL)
    listed = {
        found
        for line in table.splitlines()
        for found in re.findall(r"`([\w-]+)`", line.split("|")[1])
    }
    assert listed == set(called(read(file))["inputs"])


def test_only_a_pull_request_restores_and_only_for_itself() -> None:
    for file in (*WORKFLOWS, *ACTIONS):
        for step in steps(file):
            if "actions/cache" in step.get("uses", ""):
                assert name(file) == "actions/run/action.yml"
                assert "github.event_name == 'pull_request'" in step["if"]
                assert step["with"]["key"].startswith("pull-request-")


def test_the_job_that_may_write_runs_nothing_of_the_pull_request() -> None:
    for file in (TOP / ".github/workflows/publish.yml", TOP / "actions/publish/action.yml"):
        assert not [s for s in steps(file) if s.get("uses", "").startswith("actions/")]


SCHEDULED = (["Look"], ["Retrain"], ["Record"], ["Draw"], ["Propose"])


def test_only_the_step_that_publishes_gets_the_token() -> None:
    for file in ACTIONS:
        holders = [
            step["name"]
            for step in steps(file)
            if "token" in str(step).lower() and not step.get("uses", "").startswith("$/")
        ]
        assert holders in ([], ["Publish"], ["Obey"], ["Promote"], ["Roll back"], *SCHEDULED), file
    run = {step["name"]: step for step in steps(TOP / "actions" / "run" / "action.yml")}
    secret = run["Publish"]["env"]["GITHUB_TOKEN"]
    assert secret == "${{ inputs.publish == 'true' && inputs.token || '' }}"


def test_no_page_installs_from_where_we_are_not() -> None:
    for file in (*TOP.glob("*.md"), *(TOP / "docs").rglob("*.md")):
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"(pipx?|uv|uvx)( \w+)* install ci-mlops", text), file
        for release in re.findall(rf"{REPOSITORY}[\w/.-]*@(\S+)", text):
            assert release == f"v{__version__}", file


def test_our_name_stands_in_one_place() -> None:
    owner = re.compile(r"(?:github\.com/|uses: |uses: \[?)([\w.-]+/ci-mlops)\b")
    for file in (*WORKFLOWS, *TOP.glob("*.md"), *(TOP / "docs").rglob("*.md")):
        for found in owner.findall(file.read_text(encoding="utf-8")):
            assert found == REPOSITORY, file
