"""Train a logistic regression on the loan applications, without race and sex, and save it."""

from pathlib import Path

import joblib
import pandas as pd
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

NOT_INPUTS = ["application_id", "race", "male", "approve"]


def main() -> None:
    """Fit on data/train.parquet, write model/model.joblib."""
    train = pd.read_parquet("data/train.parquet")
    model = make_pipeline(
        SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression(C=1.0, max_iter=1000)
    )
    model.fit(train.drop(columns=NOT_INPUTS), train["approve"])
    Path("model").mkdir(exist_ok=True)
    joblib.dump(model, "model/model.joblib")


if __name__ == "__main__":
    main()
