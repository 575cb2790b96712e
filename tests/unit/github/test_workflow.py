"""What a workflow run tells about itself."""

from ci_mlops.github import Workflow, escape_command


def test_outside_of_github() -> None:
    assert not Workflow.from_environ({}).tests_a_merge()


def test_pull_request() -> None:
    environ = {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "pull_request"}
    assert Workflow.from_environ(environ).tests_a_merge()


def test_push() -> None:
    environ = {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "push"}
    assert not Workflow.from_environ(environ).tests_a_merge()


def test_commands_cannot_be_injected() -> None:
    assert escape_command("a\n::set-env::b%") == "a%0A::set-env::b%25"
    assert escape_command("a:b,c\r", is_property=True) == "a%3Ab%2Cc%0D"
