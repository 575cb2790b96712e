"""A GitHub on loopback for tests: state, GitHub's own description of its API, faults on demand."""

from tests.fake_github.server import FakeGitHub, serving
from tests.fake_github.world import Artifact, Fault, Pull, WorkflowRun, World

__all__ = ["Artifact", "FakeGitHub", "Fault", "Pull", "WorkflowRun", "World", "serving"]
