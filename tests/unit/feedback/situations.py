"""Loans, what their model takes, and corrections of it."""

from typing import Any

import pandas as pd

from ci_mlops.dataset.domain import learn
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.feedback import form
from ci_mlops.feedback.contract import Contract
from ci_mlops.feedback.given import Given

DATA = DataSettings(
    test="test.csv", key="id", label="approved", sensitive=("race", "sex"), hidden=("income",)
)
FRAME = pd.DataFrame(
    {
        "income": [100, 2000, 5000],
        "debt": [0.0, None, 60.0],
        "state": ["NY", "TX", "NY"],
        "race": ["black", "white", "white"],
        "told": [f"my words {n}" for n in range(3)],
    }
)
ROW = {"income": "2000", "debt": "", "state": "NY", "race": "black", "told": "a new roof"}


def contract(*, regression: bool = False) -> Contract:
    """Return the contract of a model that takes every column."""
    frame = pd.concat([FRAME] * 20, ignore_index=True)
    frame["told"] = [f"my words {n}" for n in range(len(frame))]
    domain = learn([frame], frame.columns, DATA, ranges={}, categories={})
    classes = () if regression else ("no", "yes")
    return Contract(domain=domain, data=DATA, regression=regression, classes=classes)


def given(**told: Any) -> Given:
    """Return a correction that is right but for what is told."""
    features = {**ROW, **told.pop("features", {})}
    plain: dict[str, Any] = {"features": features, "expected": "no", "issue": 12}
    return Given(**{**plain, **told})


def body(**fields: str) -> str:
    """Return an issue's body as GitHub writes it for the form."""
    told = {
        form.FEATURES: "```text\nincome = 5000\ndebt =\nstate=NY\nrace = white\n```",
        form.PREDICTION: form.EMPTY,
        form.EXPECTED: "no",
        form.TOLERANCE: form.EMPTY,
        form.REASON: "the loan was\nnever repaid",
        form.PERSONAL: "- [X] Nothing names anybody.\n- [x] I may share it.",
    }
    told |= {getattr(form, name.upper()): text for name, text in fields.items()}
    return "\n\n".join(f"### {heading}\n\n{text}" for heading, text in told.items()) + "\n"
