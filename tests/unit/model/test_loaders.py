"""Every loader that we promise, with the real library, in an interpreter without ours."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ci_mlops.command import Commands
from ci_mlops.errors import CannotLook
from ci_mlops.model.predict import predict
from ci_mlops.model.predictions import Predictions
from ci_mlops.model.process import ModelProcess, Refused
from ci_mlops.model.settings import ModelSettings
from tests import environments

MAKE = """
import sys
import joblib, lightgbm, mlflow, numpy, onnxruntime, pandas, skl2onnx, skops.io, xgboost
from skl2onnx.common.data_types import FloatTensorType
from sklearn.linear_model import LogisticRegression
rng = numpy.random.default_rng(0)
frame = pandas.DataFrame({"b": rng.normal(size=200), "a": rng.normal(size=200)})
label = (frame["a"] + 0.3 * rng.normal(size=200) > 0).astype(int)
model = LogisticRegression().fit(frame, label)
joblib.dump(model, "m.joblib")
skops.io.dump(model, "m.skops")
plain = LogisticRegression().fit(frame.to_numpy(), label)
types = [("rows", FloatTensorType([None, 2]))]
graph = skl2onnx.to_onnx(plain, initial_types=types, options={id(plain): {"zipmap": False}})
open("m.onnx", "wb").write(graph.SerializeToString())
mapped = skl2onnx.to_onnx(plain, initial_types=types)
open("mapped.onnx", "wb").write(mapped.SerializeToString())
each = [("b", FloatTensorType([None, 1])), ("a", FloatTensorType([None, 1]))]
xgb = xgboost.XGBClassifier(n_estimators=20).fit(frame, label)
xgb.get_booster().save_model("m.ubj")
xgb.get_booster().save_model("m.json")
lightgbm.train({"objective": "binary", "verbose": -1}, lightgbm.Dataset(frame, label), 20).save_model("m.txt")
mlflow.set_tracking_uri("file:" + sys.argv[1] + "/runs")
class Wrapped(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return (model_input["a"] > 0).astype(float) * 0.5 + 0.25
mlflow.pyfunc.save_model("m_mlflow", python_model=Wrapped())
frame.assign(y=label).to_csv("rows.csv", index=False)
"""


@pytest.fixture(scope="session")
def python() -> Path:
    """Return an interpreter with every loader's library."""
    return environments.python("loaders")


@pytest.fixture(scope="session")
def models(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one model for each loader, made by its own library."""
    folder = tmp_path_factory.mktemp("models")
    done = subprocess.run(
        [python, "-W", "ignore", "-c", MAKE, folder],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MLFLOW_ALLOW_FILE_STORE": "true"},
    )
    assert done.returncode == 0, done.stderr
    return folder


def ask(
    python: Path, models: Path, path: str, commands: Commands, loader: str | None = None
) -> Predictions:
    frame = pd.read_csv(models / "rows.csv")
    settings = ModelSettings(
        task="binary", path=path, loader=loader, python=os.path.relpath(python, models)
    )
    return predict(
        settings,
        root=models,
        part="test",
        frame=frame,
        label="y",
        positive=None,
        identity=(path,),
        commands=commands,
        cache=models / "cache",
    )


@pytest.mark.parametrize(
    ("path", "library"),
    [
        ("m.joblib", "sklearn"),
        ("m.skops", "skops"),
        ("m.onnx", "onnxruntime"),
        ("mapped.onnx", "onnxruntime"),
        ("m.ubj", "xgboost"),
        ("m.json", "xgboost"),
        ("m.txt", "lightgbm"),
        ("m_mlflow", "mlflow"),
    ],
)
def test_loader(python: Path, models: Path, commands: Commands, path: str, library: str) -> None:
    found = ask(python, models, path, commands)
    truth = pd.read_csv(models / "rows.csv")["y"].to_numpy()
    assert found.classes == (0, 1)
    assert found.scores is not None
    assert found.scores.shape == (200, 2)
    assert np.mean(found.predicted.astype(int) == truth) > 0.85
    assert library in found.versions


def test_a_missing_package_is_named_with_the_remedy(
    models: Path, commands: Commands, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    from uv import find_uv_bin

    subprocess.run([find_uv_bin(), "venv", "-q", "-p", "3.11", bare], check=True)
    with pytest.raises(
        CannotLook,
        match=r"needs the package skops, which .*bare.* does not have.*pip install skops",
    ):
        ask(bare / "bin" / "python", models, "m.skops", commands)


def test_a_model_without_any_library_gets_dictionaries(
    models: Path, commands: Commands, tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    from uv import find_uv_bin

    subprocess.run([find_uv_bin(), "venv", "-q", "-p", "3.11", bare], check=True)
    (models / "plain_rules.py").write_text(
        "def load(path):\n"
        "    return lambda rows: [0.75 if row['a'] > 0 else 0.25 for row in rows]\n",
        encoding="utf-8",
    )
    found = ask(bare / "bin" / "python", models, "m.txt", commands, loader="plain_rules:load")
    truth = pd.read_csv(models / "rows.csv")["y"].to_numpy()
    assert np.mean(found.predicted.astype(int) == truth) > 0.85


@pytest.mark.parametrize("path", ["m.joblib", "m.ubj", "m.txt"])
def test_shap_values_of_trees_and_linear_models(
    python: Path, models: Path, commands: Commands, path: str
) -> None:
    settings = ModelSettings(task="binary", path=path, python=os.path.relpath(python, models))
    rows = pd.read_csv(models / "rows.csv").drop(columns="y")
    with ModelProcess(settings, root=models, commands=commands) as process:
        process.load()
        found, version = process.shap(rows)
    assert set(found) == {"a", "b"}
    assert found["a"] > 5 * found["b"], "the label hangs on a"
    assert version


def test_a_model_that_shap_does_not_know_is_refused(
    python: Path, models: Path, commands: Commands
) -> None:
    settings = ModelSettings(task="binary", path="m.onnx", python=os.path.relpath(python, models))
    rows = pd.read_csv(models / "rows.csv").drop(columns="y")
    with ModelProcess(settings, root=models, commands=commands) as process:
        process.load()
        with pytest.raises(Refused):
            process.shap(rows)
