"""A small whole ML project in a git repository: data, training script, model, mlops.yml."""

import sys
from pathlib import Path

from tests.conftest import Repo, clean_environ

MLOPS_YML = """\
version: 1
project: small
prepare:
  - python train.py
data:
  train: data/train.csv
  test: data/test.csv
  key: id
  label: approved
  sensitive: [sex]
model:
  path: model.joblib
  task: binary
  python: {python}
  threshold: 0.5
stages:
  data: {{deepchecks: false}}
  model: {{deepchecks: false}}
  policy: {{packs: [four-fifths, no-regression]}}
"""

TRAIN_PY = """\
import joblib
import pandas as pd
from sklearn.linear_model import LogisticRegression

train = pd.read_csv("data/train.csv")
model = LogisticRegression().fit(train[["income", "debt"]], train["approved"])
joblib.dump(model, "model.joblib")
"""


def data_csv(first: int, rows: int, seed: int) -> str:
    """Return `rows` applicants as CSV; both sexes are approved at about the same rate."""
    import numpy as np

    rng = np.random.default_rng(seed)
    income, debt = rng.normal(50, 10, rows), rng.normal(20, 5, rows)
    approved = (income - 2 * debt + rng.normal(0, 10, rows) > 8).astype(int)
    sex = np.where(np.arange(rows) % 2, "female", "male")
    lines = ["id,income,debt,sex,approved"]
    lines += [
        f"{first + n},{income[n]:.3f},{debt[n]:.3f},{sex[n]},{approved[n]}" for n in range(rows)
    ]
    return "\n".join(lines) + "\n"


def make(repo: Repo) -> str:
    """Fill an empty repository with the project and return its first commit."""
    return repo.commit(
        {
            "mlops.yml": MLOPS_YML.format(python=sys.executable),
            "train.py": TRAIN_PY,
            "data/train.csv": data_csv(0, 900, seed=1),
            "data/test.csv": data_csv(10_000, 500, seed=2),
            ".gitignore": "model.joblib\n",
        },
        message="A small project",
    )


def ci_mlops(folder: Path, *arguments: str, **environ: str) -> tuple[int, str, str]:
    """Run the command line as a user does; return its exit code, output and errors."""
    import subprocess

    done = subprocess.run(
        [sys.executable, "-m", "ci_mlops", *arguments],
        cwd=folder,
        env=clean_environ({"CI": "true", **environ}),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr
