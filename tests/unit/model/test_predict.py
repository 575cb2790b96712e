"""One way to a model: real child processes, good and bad."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LogisticRegression

from ci_mlops.command import Commands
from ci_mlops.errors import CannotLook
from ci_mlops.model import digest
from ci_mlops.model.predict import predict
from ci_mlops.model.predictions import Predictions
from ci_mlops.model.process import ModelProcess
from ci_mlops.model.settings import ModelSettings, PredictionFiles

FRAME = pd.DataFrame(
    {"x": [1.0, 2.0, 3.0, 4.0], "y": [0, 1, 0, 1]}, index=pd.Index(["a", "b", "c", "d"])
)

Ask = Callable[..., Predictions]


@pytest.fixture
def ask(tmp_path: Path, commands: Commands) -> Ask:
    """Return a function that asks a model of models.py about the small frame."""
    shutil.copy(Path(__file__).with_name("models.py"), tmp_path / "models.py")
    (tmp_path / "m").write_text("x", encoding="utf-8")

    def asked(
        loader: str | None, *, frame: pd.DataFrame = FRAME, identity: str = "1", **changes: Any
    ) -> Predictions:
        values: dict[str, Any] = {"task": "binary", "path": "m", "loader": loader, "timeout_s": 30}
        positive = changes.pop("positive", None)
        return predict(
            ModelSettings(**{**values, **changes}),
            root=tmp_path,
            part="test",
            frame=frame,
            label="y",
            positive=positive,
            identity=(identity,),
            commands=commands,
            cache=tmp_path / "cache",
        )

    return asked


def test_scores_become_classes_by_the_threshold(ask: Ask) -> None:
    found = ask("models:plain", threshold=0.75)
    assert list(found.keys) == ["a", "b", "c", "d"]
    assert found.classes == (0, 1)
    assert found.scores is not None
    assert found.scores.tolist() == [[0.25, 0.75]] * 4
    assert found.predicted.tolist() == [1, 1, 1, 1]
    assert ask("models:plain", threshold=0.76).predicted.tolist() == [0, 0, 0, 0]
    assert found.versions["python"].startswith("3.")
    assert found.inputs == ("x",)


def test_the_positive_class_may_be_named(ask: Ask) -> None:
    assert ask("models:plain", positive=0, threshold=0.3).predicted.tolist() == [1] * 4
    with pytest.raises(CannotLook, match="data.positive: 7 is not among the classes"):
        ask("models:plain", positive=7)


def test_other_shapes_of_answers(ask: Ask) -> None:
    assert ask("models:probability").predicted.tolist() == [0, 1, 0, 1]
    found = ask("models:values", task="regression")
    assert found.predicted.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert found.scores is None
    words = FRAME.assign(y=["yes", "no", "yes", "no"])
    found = ask("models:labels", frame=words)
    assert found.predicted.tolist() == ["yes", "no", "yes", "no"]
    assert found.scores is None
    letters = FRAME.assign(y=["a", "b", "c", "a"])
    found = ask("models:multiclass", frame=letters, task="multiclass")
    assert found.classes == ("a", "b", "c")
    assert found.scores is not None
    assert found.scores[0].tolist() == [0.2, 0.1, 0.7]
    assert found.predicted.tolist() == ["c"] * 4


def test_prints_do_not_touch_the_answer(ask: Ask) -> None:
    assert ask("models:prints").predicted.tolist() == [1] * 4


def test_a_forked_child_neither_answers_nor_keeps_us_waiting(ask: Ask) -> None:
    found = ask("models:forks")
    assert found.scores is not None
    assert found.scores.tolist() == [[0.25, 0.75]] * 4


@pytest.mark.parametrize(
    ("loader", "words", "changes"),
    [
        (
            "models:exits_when_loaded",
            r"could not be loaded: its code called sys.exit\('no licence'\)",
            {},
        ),
        ("models:exits", r"could not answer: its code called sys.exit\(3\)", {}),
        ("models:dies", r"ended its process \(exit code 9\)", {}),
        ("models:forks_and_dies", r"ended its process \(exit code 7\)", {}),
        ("models:hangs", "took longer than 1 s", {"timeout_s": 1}),
        ("models:segfaults", "was killed by SIGSEGV", {}),
        ("models:hogs", "more than 300 MB", {"memory_mb": 300}),
        (
            "models:huge",
            "more than 300 MB|200000000 rows when it was asked about 4",
            {"memory_mb": 300},
        ),
        ("models:raises", "could not answer: ZeroDivisionError: division by zero", {}),
        ("models:imports", "Install no_such_package for", {}),
        ("models:short", "answered 1 rows when it was asked about 4", {}),
        ("models:ragged", "different lengths", {}),
        ("models:not_a_number", "answered 4 times NaN", {}),
        ("models:not_a_probability", "not probabilities", {}),
        ("models:three_classes", "3 scores a row for 2 classes", {}),
        ("models:objects", "answered a object where a number or a label belongs", {}),
        ("models:unknown_labels", "answered the class 'maybe', which the labels do not have", {}),
        ("models:writes_to_pipes", "answered with a header of", {}),
        ("models:nowhere", "module models has no function nowhere", {}),
        ("no_such_module:load", "needs the package no_such_module", {}),
        ("nonsense", "loader 'nonsense' is not known", {}),
        (None, "the suffix of m names no loader", {}),
        ("models:plain", "the interpreter gone/python is missing", {"python": "gone/python"}),
    ],
)
def test_a_bad_model_is_one_clear_line(ask: Ask, loader: str, words: str, changes: Any) -> None:
    with pytest.raises(CannotLook, match=words) as caught:
        ask(loader, **changes)
    assert "\n" not in str(caught.value)


def test_a_hanging_model_leaves_no_process(ask: Ask, commands: Commands) -> None:
    with pytest.raises(CannotLook):
        ask("models:hangs", timeout_s=0.5)
    assert commands._running == {}


def test_the_model_is_asked_once_for_the_same_rows(ask: Ask, tmp_path: Path) -> None:
    for threshold in (0.5, 0.2):
        ask("models:counting", threshold=threshold, path="calls")
    ask("models:counting", threshold=0.5, path="calls")
    assert (tmp_path / "calls").read_text(encoding="utf-8") == "called\n"
    ask("models:counting", path="calls", identity="2")
    assert (tmp_path / "calls").read_text(encoding="utf-8") == "called\ncalled\n"


@pytest.mark.parametrize("damage", [b"", b"junk", b"PK\x05\x06" + b"\0" * 18])
def test_a_damaged_cache_is_made_again(ask: Ask, tmp_path: Path, damage: bytes) -> None:
    ask("models:counting", path="calls")
    (kept,) = (tmp_path / "cache" / "predictions").iterdir()
    kept.write_bytes(damage)
    assert ask("models:counting", path="calls").predicted.tolist() == [0] * 4
    assert (tmp_path / "calls").read_text(encoding="utf-8") == "called\ncalled\n"


def test_labels_survive_the_cache(ask: Ask) -> None:
    words = FRAME.assign(y=["yes", "no", "yes", "no"])
    first, second = (ask("models:labels", frame=words) for _ in range(2))
    assert first.predicted.tolist() == second.predicted.tolist() == ["yes", "no", "yes", "no"]


def test_columns_arrive_with_their_types(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "looks.py").write_text(
        "def load(path):\n"
        "    def answer(frame):\n"
        "        open(path, 'w').write('\\n'.join(str(t) for t in frame.dtypes) + '\\n' + frame.to_csv())\n"
        "        return [0.5] * len(frame)\n"
        "    return answer\n",
        encoding="utf-8",
    )
    frame = pd.DataFrame(
        {
            "i": np.array([1, 2], dtype="int32"),
            "f": [0.5, np.nan],
            "b": [True, False],
            "c": pd.Categorical(["u", None], categories=["v", "u"], ordered=True),
            "t": pd.to_datetime(pd.Series(["2026-01-01", None])),
            "z": pd.to_datetime(pd.Series(["2026-01-01", None]), utc=True),
            "n": pd.array([1, None], dtype="Int64"),
            "s": ["é", None],
            "y": [0, 1],
        }
    )
    ask("looks:load", frame=frame, path="seen")
    lines = (tmp_path / "seen").read_text(encoding="utf-8").splitlines()
    assert lines[:4] == ["int32", "float64", "bool", "category"]
    assert lines[4].startswith("datetime64")
    assert lines[6] == "Int64"
    assert lines[9:] == [
        "0,1,0.5,True,u,2026-01-01,2026-01-01,1,é",
        "1,2,,False,,,,,",
    ]


def test_a_column_that_no_model_can_be_given(ask: Ask) -> None:
    with pytest.raises(CannotLook, match="column 'x' holds a list"):
        ask(
            "models:plain",
            frame=FRAME.assign(x=pd.Series([[1], [2], [3], [4]], index=FRAME.index, dtype=object)),
        )


# --- scikit-learn -------------------------------------------------------------------------------


def _dump(model: object, path: Path) -> None:
    import joblib

    joblib.dump(model, path)


def test_joblib_model_gets_its_columns_in_its_order(ask: Ask, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"b": rng.normal(size=50), "a": rng.normal(size=50)})
    frame["y"] = (frame["a"] > 0).astype(int)
    model = LogisticRegression().fit(frame[["a", "b"]], frame["y"])
    _dump(model, tmp_path / "m.joblib")
    found = ask(None, frame=frame, path="m.joblib")
    assert found.inputs == ("a", "b")
    assert found.scores is not None
    np.testing.assert_array_equal(found.scores, model.predict_proba(frame[["a", "b"]]))
    with pytest.raises(CannotLook, match="expects the column 'a', which the data does not have"):
        ask(None, frame=frame.drop(columns=["a"]), path="m.joblib", identity="2")


def test_regression_and_pickle_without_names(ask: Ask, tmp_path: Path) -> None:
    import pickle

    rng = np.random.default_rng(0)
    rows, target = rng.normal(size=(60, 2)), rng.normal(size=60)
    model = RandomForestRegressor(n_estimators=3, random_state=0).fit(rows, target)
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(model))
    frame = pd.DataFrame(rows, columns=["u", "v"]).assign(y=target)
    found = ask(None, frame=frame, path="m.pkl", task="regression")
    np.testing.assert_array_equal(found.predicted, model.predict(rows))


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", r"empty \(0 bytes\)"), (b"not a model", "could not be loaded"), (None, "could not be")],
)
def test_files_that_are_no_model(ask: Ask, tmp_path: Path, content: bytes, words: str) -> None:
    if content is not None:
        (tmp_path / "m.joblib").write_bytes(content)
    with pytest.raises(CannotLook, match=words):
        ask(None, path="m.joblib")


def test_times_are_taken_inside_the_process(tmp_path: Path, commands: Commands) -> None:
    shutil.copy(Path(__file__).with_name("models.py"), tmp_path / "models.py")
    settings = ModelSettings(task="binary", path="m", loader="models:plain")
    with ModelProcess(settings, root=tmp_path, commands=commands) as process:
        assert process.load().seconds > 0
        process.keep_rows(FRAME[["x"]])
        process.freeze()
        times = process.time(20)
        assert process.pid > 0
        process.predict(FRAME[["x"]])
    assert len(times.wall_ns) == len(times.cpu_ns) == 20
    assert min(times.wall_ns) > 0


# --- files of predictions -----------------------------------------------------------------------


def from_file(ask: Ask, tmp_path: Path, text: str, **changes: Any) -> Predictions:
    (tmp_path / "p.csv").write_text(text, encoding="utf-8")
    return ask(None, path=None, predictions=PredictionFiles(test="p.csv"), **changes)


def test_predictions_are_joined_by_key_not_by_position(ask: Ask, tmp_path: Path) -> None:
    found = from_file(ask, tmp_path, "id,score\nd,0.9\nc,0.1\nb,0.8\na,0.2\n")
    assert found.predicted.tolist() == [0, 1, 0, 1]
    assert found.inputs == ()
    found = from_file(
        ask, tmp_path, "id,score_1,score_0\nd,0.9,0.1\nc,0.1,0.9\nb,0.8,0.2\na,0.2,0.8\n"
    )
    assert found.predicted.tolist() == [0, 1, 0, 1]
    found = from_file(ask, tmp_path, "id,prediction\nd,1\nc,0\nb,1\na,0\n")
    assert found.predicted.tolist() == [0, 1, 0, 1]
    assert found.scores is None
    found = from_file(ask, tmp_path, "id,prediction\nd,4.5\nc,3\nb,2\na,1\n", task="regression")
    assert found.predicted.tolist() == [1.0, 2.0, 3.0, 4.5]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,score\na,0.1\n", "1 predictions for 4 rows: 3 rows without one, 0 without a row.*'b'"),
        ("id,score\na,.1\nb,.1\nc,.1\nd,.1\ne,.1\n", "1 without a row.*'e' is not in the data"),
        ("id,score\na,.1\na,.1\nc,.1\nd,.1\n", "key 'a' more than once"),
        ("id,score\na,.1\nb,\nc,.1\nd,.1\n", "missing or not finite"),
        ("id,score\na,.1\nb,x\nc,.1\nd,.1\n", "not a number"),
        ("id,prediction\na,1\nb,\nc,1\nd,1\n", "1 rows without a prediction"),
        ("id,other\na,1\nb,1\nc,1\nd,1\n", "neither a column"),
        ("id\na\n", "needs a key column"),
        ("", "cannot be read"),
    ],
)
def test_prediction_files_are_held_to_the_keys(
    ask: Ask, tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(CannotLook, match=words):
        from_file(ask, tmp_path, text)


def test_prediction_files_that_are_not_there(ask: Ask, tmp_path: Path) -> None:
    with pytest.raises(CannotLook, match="gone.csv is missing"):
        ask(None, path=None, predictions=PredictionFiles(test="gone.csv"))
    (tmp_path / "p.txt").write_text("x", encoding="utf-8")
    with pytest.raises(CannotLook, match="not a .csv, .parquet or .jsonl file"):
        ask(None, path=None, predictions=PredictionFiles(test="p.txt"))


# --- digests ------------------------------------------------------------------------------------


def test_digests(tmp_path: Path) -> None:
    settings = ModelSettings(task="binary", path="m")
    with pytest.raises(CannotLook, match="m is missing"):
        digest.digest(settings, tmp_path)
    (tmp_path / "m").write_bytes(b"1")
    first = digest.digest(settings, tmp_path)
    (tmp_path / "m").write_bytes(b"2")
    assert digest.digest(settings, tmp_path) != first
    folder = ModelSettings(task="binary", path="f")
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a").write_bytes(b"1")
    before = digest.digest(folder, tmp_path)
    (tmp_path / "f" / "a").rename(tmp_path / "f" / "b")
    assert digest.digest(folder, tmp_path) != before
    files = ModelSettings(task="binary", predictions=PredictionFiles(test="m", train="f/b"))
    assert set(digest.digest(files, tmp_path)) == {"predictions.test", "predictions.train"}


def test_a_model_or_predictions_but_not_both() -> None:
    with pytest.raises(ValueError, match="either `path` or `predictions`"):
        ModelSettings(task="binary")
