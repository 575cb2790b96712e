"""What a client notices about servers that are wrong."""

import pytest

from ci_mlops.serving import client
from ci_mlops.serving.client import Client, Unanswered
from tests.unit.serving.faulty_server import RECORDED, SIGNATURE, serving


def test_a_server_that_is_right() -> None:
    with serving("good") as server:
        asked = Client(url=server.url, model="m")
        assert client.ready(asked, 5).outcome == "passed"
        found = client.same_predictions(asked, RECORDED, 1e-6)
        assert (found.outcome, found.observed, found.rows) == ("passed", 0, 4)
        assert client.refuses_wrong_input(asked, SIGNATURE, RECORDED).outcome == "passed"
        assert asked.metadata() == {"ready": True}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("wrong probabilities", "4 of 4 recorded rows got another answer"),
        ("wrong classes", "4 of 4 recorded rows got another answer"),
        ("one row wrong", "1 of 4 recorded rows got another answer"),
        ("fails always", "500, always"),
        ("empty answers", 'an answer without "outputs"'),
        ("no outputs", 'an answer without "outputs"'),
        ("other names", "'probabilities'"),
        ("fewer rows", "6 probabilities instead of 8"),
        ("texts for numbers", "4 of 4 recorded rows got another answer"),
        ("not json", 'an answer without "outputs"'),
        ("hangs up", "no answer: ConnectionError"),
    ],
)
def test_another_answer_than_was_judged(kind: str, words: str) -> None:
    with serving(kind) as server:
        found = client.same_predictions(Client(url=server.url, model="m"), RECORDED, 1e-6)
    assert found.outcome == "failed"
    assert words in found.message


def test_the_tolerance_is_the_limit() -> None:
    with serving("wrong probabilities") as server:
        asked = Client(url=server.url, model="m")
        assert client.same_predictions(asked, RECORDED, 0.011).outcome == "passed"
        assert client.same_predictions(asked, RECORDED, 0.009).outcome == "failed"


def test_a_server_that_takes_anything() -> None:
    with serving("takes anything") as server:
        found = client.refuses_wrong_input(Client(url=server.url, model="m"), SIGNATURE, RECORDED)
    assert found.outcome == "failed"
    assert "no JSON: 200" in found.message
    assert "an unknown input: 200" in found.message


def test_nobody_there() -> None:
    with serving("never ready") as server:
        late = client.ready(Client(url=server.url, model="m"), 0.2)
    assert (late.outcome, late.observed) == ("failed", None)
    gone = Client(url=server.url, model="m", timeout_s=1)
    assert not gone.is_ready()
    with pytest.raises(Unanswered, match="no answer: Connect"):
        gone.metadata()
