"""Trains one model as a project would, in the project's interpreter; prints the file's name.

Called by behaviour_bugs with the kind of model, a CSV of loans, a folder and a seed.
"""

import sys
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

NUMBERS, CATEGORIES = ["income", "debt", "term"], ["state", "race"]


def prepared(model: Any) -> Any:
    """Return a pipeline that encodes the columns for a model."""
    return make_pipeline(
        make_column_transformer(
            (make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), NUMBERS),
            (OneHotEncoder(handle_unknown="ignore"), CATEGORIES),
        ),
        model,
    )


def main(kind: str, data: str, folder: str, seed: int) -> str:
    """Train, save, and return the file's name."""
    frame = pd.read_csv(data)
    x, y = frame[NUMBERS + CATEGORIES], frame["approved"]
    if kind == "xgboost":
        import xgboost

        made = xgboost.XGBClassifier(n_estimators=30, max_depth=4, random_state=seed)
        made.fit(x, y).get_booster().save_model(Path(folder) / "model.ubj")
        return "model.ubj"
    if kind == "onnx":
        from skl2onnx import to_onnx

        pipeline = make_pipeline(
            SimpleImputer(strategy="median"),
            StandardScaler(),
            LogisticRegression(max_iter=500, random_state=seed),
        ).fit(x.to_numpy(dtype="float32"), y)
        graph = to_onnx(
            pipeline, x.to_numpy(dtype="float32")[:1], options={"zipmap": False}
        ).SerializeToString()
        (Path(folder) / "model.onnx").write_bytes(graph)
        return "model.onnx"
    models = {
        "logistic": LogisticRegression(max_iter=500, random_state=seed),
        "forest": RandomForestClassifier(n_estimators=30, random_state=seed),
        "boosting": HistGradientBoostingClassifier(max_iter=30, random_state=seed),
    }
    joblib.dump(prepared(models[kind]).fit(x, y), Path(folder) / "model.joblib")
    return "model.joblib"


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
