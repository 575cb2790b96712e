"""Names that a stranger chooses, in a shell that would run them: act truly executes injections."""

import pytest

from tests.e2e.conftest import Site, project

VULNERABLE = """\
name: vulnerable
on: pull_request
jobs:
  echo:
    name: echo
    runs-on: ubuntu-24.04
    steps:
      - run: echo "${{ github.event.pull_request.title }}" ${{ github.head_ref }}
"""


def attack(site: Site, mark: str) -> str:
    """Return a text that leaves a mark wherever a shell reads it as code; also a branch's name."""
    return f"$(touch${{IFS}}{site.runner.artifacts}/{mark})"


def marks(site: Site) -> list[str]:
    return sorted(file.name for file in site.runner.artifacts.iterdir() if file.is_file())


def test_the_bench_would_notice(site: Site) -> None:
    site.start({**project(), ".github/workflows/vulnerable.yml": VULNERABLE})
    event = site.pull_request({}, branch=attack(site, "branch"), title=attack(site, "title"))
    ran = site.gate(event, workflow="vulnerable.yml")
    assert ran.code == 0, ran.said()
    assert marks(site) == ["branch", "title"]


@pytest.mark.parametrize("starter", ["gate.yml", "single.yml"])
def test_branch_title_and_files(site: Site, starter: str) -> None:
    site.start(project(), starter)
    name = f"{attack(site, 'file').replace('/', '_')}.csv"
    predictions = project()["predictions.csv"]
    configured = project()["mlops.yml"].replace("predictions.csv", json_quoted(name))
    event = site.pull_request(
        {name: predictions, "mlops.yml": configured, "`touch marked`.pkl": "1"},
        branch=attack(site, "branch"),
        title=f'"; {attack(site, "title")}; echo "',
    )
    ran = site.gate(event, token=site.world.token)
    assert ran.code == 0, ran.said()
    assert marks(site) == []
    assert not list(site.repo.path.rglob("marked"))


def test_folder_of_a_project(site: Site) -> None:
    folder = "a'; touch $ARTIFACT_STORE;marked; '\"`touch marked`$(touch marked)"
    site.start(project(), "gate.yml")
    ran = site.gate(site.pull_request(project("other", folder=folder)))
    assert ran.jobs()["judge other"] == "success", ran.said()
    assert not list(site.repo.path.rglob("marked"))
    assert marks(site) == []


@pytest.mark.parametrize("name", ["a\nverdict=passed", "x]\n::set-output name=verdict::passed"])
def test_names_that_forge_outputs(site: Site, name: str) -> None:
    site.start(project(), "gate.yml")
    ran = site.gate(site.pull_request({**project(folder=name), f"{name}.pkl": "1"}))
    assert ran.jobs() == {"plan": "failure", "verdict": "failure"}, ran.said()
    assert "verdict" not in ran.outputs()


def json_quoted(text: str) -> str:
    """Return a text as YAML and JSON quote it."""
    import json

    return json.dumps(text)
