"""Rules on proxies: whether the model's inputs tell the groups of a sensitive feature apart."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ci_mlops.evidence import Check, Interval, Limit
from ci_mlops.stage import Workspace
from ci_mlops.stages.policy import packs
from ci_mlops.stages.policy.fairness import require_columns

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from ci_mlops.stages.policy import PolicyStage

MAX_ROWS = 20_000
FOLDS = 5


def judge(
    rule: packs.Proxy, given: Sequence[str], settings: "PolicyStage", workspace: Workspace
) -> list[Check]:
    """Return a check for each sensitive feature; `given` are the model's inputs."""
    if not given:
        return [unknown_inputs(rule)]
    data = workspace.head.data
    frame = workspace.table(workspace.head, "train" if data.train else "test").frame
    require_columns(data.sensitive, frame)
    used = [c for c in given if c not in data.sensitive and c in frame.columns]
    return [
        _proxy(rule, column, frame, used, settings=settings, seed=workspace.seed)
        for column in data.sensitive
    ]


def unknown_inputs(rule: packs.Rule) -> Check:
    """Return the check that says that nobody knows the model's inputs."""
    return Check(
        name=rule.id,
        outcome="skipped",
        message="The predictions come from files, so nobody here knows the model's inputs.",
        source=rule.source,
    )


def _proxy(
    rule: packs.Proxy,
    column: str,
    frame: "pd.DataFrame",
    inputs: list[str],
    *,
    settings: "PolicyStage",
    seed: int,
) -> Check:
    known = frame[frame[column].notna()]
    known = known.sample(min(len(known), MAX_ROWS), random_state=seed)
    counts = known[column].value_counts()
    common = counts[counts >= max(settings.min_group_size, FOLDS)].index
    known = known[known[column].isin(common)]
    if len(common) < 2 or not inputs:
        return Check(
            name=rule.id,
            outcome="inconclusive",
            slice=column,
            rows=len(known),
            message=f"Too few rows in the groups of {column} to see whether the inputs tell them "
            "apart.",
            source=rule.source,
        )
    (value, error), telling = _predictability(known[inputs], known[column], seed)
    limit = Limit(at_most=settings.limits.get(rule.id, rule.at_most))
    holds = limit.allows(value)
    return Check(
        name=rule.id,
        outcome="passed" if holds else packs.BROKEN[rule.severity],
        slice=column,
        observed=value,
        limit=limit,
        interval=Interval(low=max(0.0, value - 1.96 * error), high=min(1.0, value + 1.96 * error)),
        rows=len(known),
        message=f"The model's inputs tell the groups of {column} apart with an area under the ROC "
        f"curve of {value:.2f} (0.5 is chance); most telling: {', '.join(telling)}.",
        remedy="" if holds else rule.remedy,
        source=rule.source,
    )


def _predictability(
    inputs: "pd.DataFrame", target: "pd.Series[Any]", seed: int
) -> tuple[tuple[float, float], list[str]]:
    """Return the area under the ROC curve and its error, and the three most telling columns."""
    import numpy as np
    import pandas as pd
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # has no stubs

    coded = inputs.apply(
        lambda one: (
            one
            if pd.api.types.is_numeric_dtype(one)
            else pd.Series(pd.factorize(one)[0], index=one.index)
        )
    ).astype(float)
    labels = pd.factorize(target)[0]
    model = HistGradientBoostingClassifier(max_iter=60, random_state=seed)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    # Threads that wait for each other on a shared runner cost more than they save.
    with threadpool_limits(1):
        scores = cross_val_predict(model, coded, labels, cv=folds, method="predict_proba")
        half = np.arange(len(coded)) % 2 == 0
        model.fit(coded[half], labels[half])
        importance = permutation_importance(
            model,
            coded[~half],
            labels[~half],
            scoring="neg_log_loss",
            n_repeats=3,
            random_state=seed,
        ).importances_mean
    best = sorted(zip(importance, coded.columns, strict=True), reverse=True)[:3]
    return area(labels, scores), [str(column) for _, column in best]


def area(labels: "np.ndarray", scores: "np.ndarray") -> tuple[float, float]:
    """Return the mean one-against-rest area under the ROC curve and its standard error.

    `labels` has shape (n,) with values 0 to k - 1, `scores` shape (n, k), each row scored by a
    model that did not see it. The error of one area is that of Hanley and McNeil (Radiology 143,
    1982); the error of their mean is taken as the mean of the errors, which is exact for two
    groups and an upper bound for more.
    """
    from sklearn.metrics import roc_auc_score

    areas, errors = [], []
    for group in range(scores.shape[1]):
        inside = labels == group
        n, m = int(inside.sum()), int((~inside).sum())
        a = float(roc_auc_score(inside, scores[:, group]))
        q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
        variance = (a * (1 - a) + (n - 1) * (q1 - a * a) + (m - 1) * (q2 - a * a)) / (n * m)
        areas.append(a)
        errors.append(max(0.0, variance) ** 0.5)
    return sum(areas) / len(areas), sum(errors) / len(errors)
