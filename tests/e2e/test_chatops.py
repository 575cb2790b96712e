"""A command in a comment, by the workflow that the how-to shows."""

import re
from typing import Any

import pytest

from tests.e2e.conftest import Site, project
from tests.e2e.runner import TOP, Ran


def comment(site: Site, login: str, body: str) -> Ran:
    """Comment on a pull request that was judged, and run the workflow of the how-to."""
    page = (TOP / "docs/how-to/chatops.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    file = site.repo.path / ".github" / "workflows" / "chatops.yml"
    file.parent.mkdir(parents=True)
    file.write_text(f"name: chatops\n{shown}", encoding="utf-8")
    site.start(project(), "gate.yml", "publish.yml")
    opened = site.pull_request({"train.py": "1\n"})
    site.gate(opened)
    site.publish(opened)
    site.world.collaborators |= {"anna": "write"}
    said = site.world.comment(1, body, login)
    event: dict[str, Any] = {
        "action": "created",
        "repository": {"full_name": site.world.repository, "default_branch": "main"},
        "issue": {"number": 1, "pull_request": {"url": "https://example.org"}},
        "comment": {"id": said["id"], "body": body, "user": {"login": login, "type": "User"}},
    }
    return site.runner.run(
        site.repo,
        "issue_comment",
        event,
        workflow="chatops.yml",
        api_url=site.github.url,
        token=site.world.token,
    )


@pytest.mark.parametrize(("login", "reruns"), [("anna", [900]), ("mallory", [])])
def test_only_people_who_may_write_are_obeyed(site: Site, login: str, reruns: list[int]) -> None:
    ran = comment(site, login, "/mlops rerun")
    assert ran.jobs() == {"chatops": "success"}, ran.said()
    assert site.world.reruns == reruns
    _report, answer = site.world.own_comments()
    assert ("Judging" in answer) == bool(reruns), answer


def test_a_comment_is_no_code(site: Site) -> None:
    mark = site.runner.artifacts / "marked"
    ran = comment(site, "anna", f"/mlops rerun $(touch {mark}); touch {mark}\n`touch {mark}`\n")
    assert ran.jobs() == {"chatops": "success"}, ran.said()
    assert not mark.exists()


RELEASE = "release:\n  production: {target: process, port: 8080}\n"


@pytest.mark.parametrize(
    ("login", "environment", "said"),
    [
        ("anna", "production", "Rolling back production: [the run]("),
        ("anna", "elsewhere", "has no such environment below `release`"),
        ("mallory", "production", "Only people with write permission"),
    ],
)
def test_a_release_is_started_on_the_default_branch_for_people_who_may_write(
    site: Site, login: str, environment: str, said: str
) -> None:
    """What the pull request itself says of environments and workflows counts for nothing."""
    site.world.workflows["mlops-release.yml"] = ["action", "to", "reason", "id"]
    main = {"mlops.yml": project()["mlops.yml"] + RELEASE}
    site.world.files["main"] = main
    ran = comment(site, login, f"/mlops rollback {environment}")
    assert ran.jobs() == {"chatops": "success"}, ran.said()
    _report, answer = site.world.own_comments()
    assert said in answer
    started = [(one["ref"], one["inputs"]["to"]) for one in site.world.dispatches]
    assert started == ([("main", "production")] if "Rolling back" in said else [])
