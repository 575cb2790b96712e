"""Which of Deepchecks' checks run, with which limits, and why; nothing here imports Deepchecks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ci_mlops.strict_yaml import did_you_mean

Suite = Literal["data", "model", "drift"]
DOCS = "https://docs.deepchecks.com/stable/tabular/auto_checks"


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One of Deepchecks' checks with its condition and our limit."""

    check: str
    """Class in `deepchecks.tabular.checks`."""
    suite: Suite
    condition: str
    """Method that adds the condition, without `add_condition_`."""
    limits: Mapping[str, float]
    """Arguments of the condition that are limits, with our defaults."""
    why: str
    """Why this limit; Deepchecks' own default cried wolf on clean data where another is said."""
    page: str
    broken: str
    """What it means when it is broken, in a sentence."""
    remedy: str
    tasks: tuple[str, ...] = ("binary", "multiclass", "regression")
    needs_train: bool = False
    grave: bool = True
    """Whether breaking it fails; others warn."""
    min_rows: int = 0
    """Rows of either part below which it is skipped, since chance alone breaks it."""

    @property
    def name(self) -> str:
        """Name of the check in mlops.yml."""
        return "".join(f"_{c.lower()}" if c.isupper() else c for c in self.check).lstrip("_")

    @property
    def title(self) -> str:
        """Name of the check in evidence."""
        return f"deepchecks-{self.name.replace('_', '-')}"


CONDITIONS: tuple[Condition, ...] = (
    Condition(
        check="SpecialCharacters",
        suite="data",
        condition="ratio_of_special_characters_less_or_equal",
        limits={"max_ratio": 0.01},
        why="Deepchecks' 0.1 %; 1 % lets single odd values pass.",
        page=f"{DOCS}/data_integrity/plot_special_chars.html",
        broken="Values that hold nothing but special characters stand for something else.",
        remedy="Write what is unknown as empty, and mend the rest where the data comes from",
        grave=False,
    ),
    Condition(
        check="MixedNulls",
        suite="data",
        condition="different_nulls_less_equal_to",
        limits={"max_allowed_null_types": 1},
        why="Deepchecks' default.",
        page=f"{DOCS}/data_integrity/plot_mixed_nulls.html",
        broken="A column writes missing values in several ways.",
        remedy="Write each missing value the same way, best as empty",
        grave=False,
    ),
    Condition(
        check="StringLengthOutOfBounds",
        suite="data",
        condition="ratio_of_outliers_less_or_equal",
        limits={"max_ratio": 0.01},
        why="Deepchecks' 0; 1 % lets single long texts pass.",
        page=f"{DOCS}/data_integrity/plot_string_length_out_of_bounds.html",
        broken="Some texts are far shorter or longer than the others of their column.",
        remedy="Look at the longest and shortest texts: cut-off or joined rows look like this",
        grave=False,
    ),
    Condition(
        check="FeatureLabelCorrelation",
        suite="data",
        condition="feature_pps_less_than",
        limits={"threshold": 0.8},
        why="Deepchecks' default.",
        page=f"{DOCS}/data_integrity/plot_feature_label_correlation.html",
        broken="A column alone predicts the label.",
        remedy="Check whether it is known before the decision; if not, drop it",
    ),
    Condition(
        check="FeatureFeatureCorrelation",
        suite="data",
        condition="max_number_of_pairs_above_threshold",
        limits={"threshold": 0.95, "n_pairs": 5},
        why="Deepchecks' 0.9 and 0 pairs; correlated features are usual and harm little.",
        page=f"{DOCS}/data_integrity/plot_feature_feature_correlation.html",
        broken="Pairs of columns say nearly the same.",
        remedy="Drop one of each pair",
        grave=False,
    ),
    Condition(
        check="NewLabelTrainTest",
        suite="data",
        condition="new_labels_number_less_or_equal",
        limits={"max_new": 0},
        why="Deepchecks' default.",
        page=f"{DOCS}/train_test_validation/plot_new_label.html",
        broken="The test data has classes that the model was never trained on.",
        remedy="Add rows of them to the training data, or take them out of the task",
        tasks=("binary", "multiclass"),
        needs_train=True,
    ),
    Condition(
        check="StringMismatchComparison",
        suite="data",
        condition="no_new_variants",
        limits={},
        why="Deepchecks' default.",
        page=f"{DOCS}/train_test_validation/plot_string_mismatch_comparison.html",
        broken="The test data spells a category in a way that the training data does not.",
        remedy="Spell it as the training data does, or train again",
        needs_train=True,
        grave=False,
    ),
    Condition(
        check="DatasetsSizeComparison",
        suite="data",
        condition="test_train_size_ratio_greater_than",
        limits={"ratio": 0.01},
        why="Deepchecks' default.",
        page=f"{DOCS}/train_test_validation/plot_datasets_size_comparison.html",
        broken="The test data is very small beside the training data.",
        remedy="Hold back more rows for the test",
        needs_train=True,
    ),
    Condition(
        check="FeatureLabelCorrelationChange",
        suite="data",
        condition="feature_pps_difference_less_than",
        limits={"threshold": 0.3},
        why="Deepchecks' 0.2 failed clean splits of 2,000 rows.",
        page=f"{DOCS}/train_test_validation/plot_feature_label_correlation_change.html",
        broken="A column predicts the label in one part and not in the other.",
        remedy="Check how the column was made in each part: a leak looks like this",
        needs_train=True,
        min_rows=200,
    ),
    Condition(
        check="MultivariateDrift",
        suite="data",
        condition="overall_drift_value_less_than",
        limits={"max_drift_value": 0.25},
        why="Deepchecks' default.",
        page=f"{DOCS}/train_test_validation/plot_multivariate_drift.html",
        broken="A classifier tells test rows from training rows: columns moved, alone or together.",
        remedy="Compare the parts column by column, then in pairs; train on data like the test's",
        needs_train=True,
    ),
    Condition(
        check="PredictionDrift",
        suite="model",
        condition="drift_score_less_than",
        limits={"max_allowed_drift_score": 0.2},
        why="Deepchecks' 0.15 lies within reach of chance for 500 test rows.",
        page=f"{DOCS}/model_evaluation/plot_prediction_drift.html",
        broken="The model's answers are distributed differently in the test data.",
        remedy="Find out what moved: the data (stage data says) or the model",
        needs_train=True,
    ),
    Condition(
        check="TrainTestPerformance",
        suite="model",
        condition="train_test_relative_degradation_less_than",
        limits={"threshold": 0.5},
        why="Deepchecks' 0.1 for every class failed clean splits; stage model judges over-fitting.",
        page=f"{DOCS}/model_evaluation/plot_train_test_performance.html",
        broken="The model is far worse on the test data than on the data it was trained on.",
        remedy="Regularise it, or train on more rows: it learned its rows by heart",
        needs_train=True,
        grave=False,
    ),
    Condition(
        check="SimpleModelComparison",
        suite="model",
        condition="gain_greater_than",
        limits={"min_allowed_gain": 0.0},
        why="Deepchecks' 0.1 for every class failed clean splits; stage model judges the gain.",
        page=f"{DOCS}/model_evaluation/plot_simple_model_comparison.html",
        broken="The model is no better than always giving the most frequent answer.",
        remedy="Check its features and label, then its training",
        needs_train=True,
        grave=False,
    ),
    Condition(
        check="MultivariateDrift",
        suite="drift",
        condition="overall_drift_value_less_than",
        limits={"max_drift_value": 0.25},
        why="Deepchecks' default.",
        page=f"{DOCS}/train_test_validation/plot_multivariate_drift.html",
        broken="A classifier tells production from the judged data: inputs moved, alone or "
        "together.",
        remedy="Compare them input by input, then in pairs; retrain on data like it",
        needs_train=True,
        grave=False,
    ),
    Condition(
        check="PredictionDrift",
        suite="drift",
        condition="drift_score_less_than",
        limits={"max_allowed_drift_score": 0.2},
        why="Deepchecks' 0.15 lies within reach of chance for 500 rows.",
        page=f"{DOCS}/model_evaluation/plot_prediction_drift.html",
        broken="The model's answers are distributed differently in production.",
        remedy="Find out what moved in the inputs",
        needs_train=True,
        grave=False,
    ),
)


def chosen(suite: Suite, task: str) -> tuple[Condition, ...]:
    """Return the checks that are expected of a suite for a task; each must leave a result."""
    return tuple(one for one in CONDITIONS if one.suite == suite and task in one.tasks)


def unknown(suite: Suite, overrides: Mapping[str, Mapping[str, float | bool]]) -> str:
    """Return what is wrong with the names in overrides of a suite; empty when nothing is."""
    known = {one.name: one.limits for one in CONDITIONS if one.suite == suite}
    for name, limits in overrides.items():
        if name not in known:
            return f"unknown check {name!r}{did_you_mean(name, known)}"
        for limit in limits:
            if limit not in known[name]:
                return f"{name}: unknown limit {limit!r}{did_you_mean(limit, known[name])}"
    return ""


def with_overrides(
    conditions: tuple[Condition, ...], overrides: Mapping[str, Mapping[str, float | bool]]
) -> list[tuple[Condition, dict[str, float]]]:
    """Return each condition with its limits; the overrides' names are known to be right."""
    return [
        (one, {**one.limits, **{k: float(v) for k, v in overrides.get(one.name, {}).items()}})
        for one in conditions
    ]
