import numpy as np
import pytest

from ci_mlops.serving import answers
from ci_mlops.serving.answers import Unsound
from tests.unit.serving.serving_models import served

REGRESSION = served(task="regression", scores=False, classes=())
LABELS = served(task="multiclass", scores=False, classes=(1, 2, 3))
THREE = served(task="multiclass", classes=("a", "b", "c"))
BINARY = served(classes=(0, 1), threshold=0.7)


def data(found: list[dict[str, object]]) -> list[object]:
    return [one["data"] for one in found]


def test_probabilities_are_put_into_the_order_of_the_gate() -> None:
    found = answers.outputs([[0.1, 0.7, 0.2]], 1, THREE, ["c", "a", "b"])
    assert data(found) == [["a"], [0.7, 0.2, 0.1]]


def test_the_threshold_decides_and_the_positive_class_is_the_named_one() -> None:
    assert data(answers.outputs([[0.31, 0.69], [0.3, 0.7]], 2, BINARY, [0, 1]))[0] == [0, 1]
    turned = served(classes=(0, 1), threshold=0.7, positive=0)
    assert data(answers.outputs([[0.31, 0.69], [0.7, 0.3]], 2, turned, [0, 1]))[0] == [1, 0]


@pytest.mark.parametrize("answer", [[0.25], [[0.25]], np.array([0.25])])
def test_one_probability_is_that_of_the_second_class(answer: object) -> None:
    assert data(answers.outputs(answer, 1, BINARY, None)) == [[0], [0.75, 0.25]]


def test_labels_are_written_as_the_data_writes_them() -> None:
    assert data(answers.outputs(np.array([1.0, 3.0]), 2, LABELS, None)) == [[1, 3]]
    (output,) = answers.outputs(["2"], 1, LABELS, None)
    assert (output["datatype"], output["data"]) == ("INT64", [2])


def test_values_are_numbers() -> None:
    (output,) = answers.outputs(np.array([[1.5], [2.5]]), 2, REGRESSION, None)
    assert (output["datatype"], output["data"]) == ("FP64", [1.5, 2.5])


@pytest.mark.parametrize(
    ("answer", "description"),
    [
        ([float("nan")], REGRESSION),
        (["high"], REGRESSION),
        ([4], LABELS),
        ([[0.5, 0.5]], THREE),
        ([[0.5, float("inf"), 0.1]], THREE),
        (["a"], THREE),
    ],
)
def test_an_answer_of_another_kind_is_not_passed_on(answer: object, description: object) -> None:
    with pytest.raises(Unsound):
        answers.outputs(answer, 1, description, None)  # type: ignore[arg-type]  # a Served


def test_other_classes_than_the_gates_are_not_passed_on() -> None:
    with pytest.raises(Unsound, match="classes"):
        answers.outputs([[0.5, 0.2, 0.3]], 1, THREE, ["a", "b", "z"])
