"""The `model` section of mlops.yml: where the model is and how it is loaded and asked."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from ci_mlops.values import Share, Value

Task = Literal["binary", "multiclass", "regression"]


class PredictionFiles(Value):
    """Files of predictions in place of a model, by the same keys as the data.

    Columns: the key, then `prediction`, and for classes one `score_<class>` column per class
    (binary tasks: a single `score` column, the probability of the positive class, is enough).
    """

    test: Annotated[str, Field(min_length=1)]
    """Predictions for `data.test`."""
    train: Annotated[str, Field(min_length=1)] | None = None
    """Predictions for `data.train`; checks that need them are said to be missing without."""


class ModelSettings(Value):
    """The model that is judged; loaded only in a child process of the project's interpreter."""

    task: Task
    """What the model predicts."""
    path: Annotated[str, Field(min_length=1)] | None = None
    """The model file or folder."""
    predictions: PredictionFiles | None = None
    """Files of predictions in place of a model."""
    loader: Annotated[str, Field(min_length=1)] | None = None
    """joblib, skops, onnx, xgboost, lightgbm, mlflow, or `package.module:function`, which is called
    with the path and returns an object with `predict` or a callable; by default from the suffix."""
    python: Annotated[str, Field(min_length=1)] | None = None
    """The interpreter that can load the model, relative to mlops.yml; default: the one that runs
    ci-mlops."""
    threshold: Share = 0.5
    """Binary tasks: the positive class is predicted from this probability on."""
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 300
    """Time for loading, and for each answer."""
    memory_mb: Annotated[int, Field(ge=64)] = 4096
    """Memory that the model's process, with its children, may hold."""
    recorded_rows: Annotated[int, Field(ge=1, le=1000)] = 32
    """Test rows that a bundle or an image's evidence holds with the answers that were judged, for
    every later verification. Whoever can read it can read them."""
    out_of_contract: Literal["count", "refuse"] = "count"
    """What the served model does with values that the data contract does not allow: ranges and
    categories of `stages.data.contract`, or else those of the training and test data."""
    card: Annotated[str, Field(min_length=1)] | None = None
    """The model card: `model_card.yml`, the human part of a card that `ci-mlops card` makes of
    evidence; or a card in Markdown, with YAML front matter for fields that policies ask for."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.path is None) == (self.predictions is None):
            raise ValueError("give either `path` or `predictions`")
        return self
