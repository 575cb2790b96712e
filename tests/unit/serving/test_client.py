"""What is noticed about servers that are wrong."""

from contextlib import closing
from pathlib import Path

import pytest

from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Check
from ci_mlops.serving import bundle, conformance
from ci_mlops.serving.client import Client, Unanswered, until_ready
from tests.unit.serving.faulty_server import RECORDED, Faulty, serving


def predictions(server: Faulty, tolerance: float = 1e-6) -> Check:
    with closing(Client(server.url)) as asked:
        return conformance.predictions(asked, model="m", recorded=RECORDED, tolerance=tolerance)


def test_a_server_that_is_right() -> None:
    with serving("good") as server:
        waited = until_ready(server.url, within_s=5, runs=lambda: True)
        found = predictions(server)
    assert conformance.ready(waited, 5).outcome == "passed"
    assert (found.outcome, found.observed, found.rows) == ("passed", 0, 4)
    assert found.message.endswith("got the answer that was judged, to the last bit.")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("wrong probabilities", "4 of 4 recorded rows got another answer"),
        ("wrong classes", "predict of row 0 is 1, judged was 0"),
        ("one row wrong", "1 of 4 recorded rows got another answer"),
        ("fails always", "500, always"),
        ("empty answers", 'an answer without "outputs"'),
        ("no outputs", 'an answer without "outputs"'),
        ("other names", "no output 'predict_proba', but y"),
        ("fewer rows", "predict_proba has 6 values instead of 8"),
        ("texts for numbers", "4 of 4 recorded rows got another answer"),
        ("not json", 'an answer without "outputs"'),
        ("hangs up", "no answer: RemoteDisconnected"),
    ],
)
def test_another_answer_than_was_judged(kind: str, words: str) -> None:
    with serving(kind) as server:
        found = predictions(server)
    assert found.outcome == "failed"
    assert words in found.message


def test_the_tolerance_is_the_limit() -> None:
    with serving("wrong probabilities") as server:
        assert predictions(server, 0.011).outcome == "passed"
        assert predictions(server, 0.009).outcome == "failed"


def test_nobody_there() -> None:
    with serving("never ready") as server:
        assert until_ready(server.url, within_s=0.2, runs=lambda: True) is None
    late = conformance.ready(None, 0.2, printed="out of memory")
    assert (late.outcome, late.observed) == ("failed", None)
    assert late.message == "The server was not ready within 0.2 s. It printed: out of memory"
    with closing(Client(server.url, timeout_s=1)) as gone, pytest.raises(Unanswered, match="Conn"):
        gone.predictions("m", RECORDED.inputs)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "should be an object"),
        ('{"inputs": []}', "outputs: Field required"),
        ('{"inputs": [{"name": "x"}], "outputs": {}}', '"shape" of whole numbers'),
        (
            '{"inputs": [{"name": "x", "shape": [2], "data": 3}], "outputs": {}}',
            '"datatype" and a list',
        ),
        (
            '{"inputs": [{"name": "x", "shape": [2], "datatype": "FP64", "data": [1, 2, 3]}], "outputs": {}}',
            "x does not have a value for each of 2 rows",
        ),
        (
            '{"inputs": [{"name": "x", "shape": [2], "datatype": "FP64", "data": [1, 2]}], "outputs": {"y": [1]}}',
            "y does not have a value for each of 2 rows",
        ),
        ("nonsense", "Invalid JSON"),
    ],
)
def test_recorded_rows_that_are_none_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "rows.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CannotLook) as caught:
        bundle.read_recorded_at(path)
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(path))
    with pytest.raises(CannotLook, match="cannot be read"):
        bundle.read_recorded_at(tmp_path / "gone.json")
