"""Keep the labelled predictions of production as data to train on, for prepare.py.

`ci-mlops retrain` runs this, with their file in CI_MLOPS_WINDOW: inputs, what stood beside the
labels (race, male, approve), and each prediction's id and time.
"""

import os
from pathlib import Path

import pandas as pd

FIRST_ID = 1_000_000
"""Where ids of what was not in the survey begin."""


def main() -> None:
    """Write production/labelled.csv."""
    window = pd.read_parquet(os.environ["CI_MLOPS_WINDOW"]).drop(columns=["id", "time"])
    window.insert(0, "application_id", range(FIRST_ID, FIRST_ID + len(window)))
    Path("production").mkdir(exist_ok=True)
    window.to_csv("production/labelled.csv", index=False)


if __name__ == "__main__":
    main()
