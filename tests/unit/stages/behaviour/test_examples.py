"""What an example shows of a row."""

import pandas as pd

from ci_mlops.dataset.domain import Domain
from ci_mlops.dataset.settings import DataSettings
from ci_mlops.stages.behaviour.examples import Shown


def test_nothing_of_a_hidden_column_is_shown_whatever_was_configured() -> None:
    data = {"test": "t.csv", "label": "y", "categorical": ["sex", "region"], "sensitive": ["sex"]}
    view = Shown(
        DataSettings.model_validate({**data, "hidden": ["region"]}),
        Domain(columns={}),
        {"region": ("north",)},
    )
    assert view.cell("sex", "f") == "f", "its categories were configured"
    assert view.cell("region", "north") == "(sensitive)"
    said = view.text("no region north", pd.DataFrame({"region": ["north"]}))
    assert said == "no region (sensitive)"
