"""Columns that are hidden make no slice and are no category that anybody names."""

import pandas as pd

from ci_mlops.dataset.settings import DataSettings
from ci_mlops.stages.model.slicing import categorical_columns


def test_a_hidden_column_is_no_category_of_the_model_stage() -> None:
    frame = pd.DataFrame({"sex": ["f", "m"], "region": ["n", "s"], "plan": ["a", "b"], "y": [0, 1]})
    data = {"test": "t.csv", "label": "y", "sensitive": ["sex"]}
    assert categorical_columns(DataSettings.model_validate(data), frame) == (
        "sex",
        "region",
        "plan",
    )
    hidden = DataSettings.model_validate({**data, "hidden": ["region", "sex"]})
    assert categorical_columns(hidden, frame) == ("plan",)
