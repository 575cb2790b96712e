"""Production's rows as a workspace's test data, so that stage policy's rules can judge them."""

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ci_mlops.dataset.table import Table
from ci_mlops.errors import CannotLook
from ci_mlops.evidence import Check
from ci_mlops.model.predictions import Predictions
from ci_mlops.monitors.reading import answered, as_reference, members, scores
from ci_mlops.stage import Findings, Side, Workspace
from ci_mlops.stages.policy import judging, packs

if TYPE_CHECKING:
    from ci_mlops.monitors.fairness import FairnessMonitor
    from ci_mlops.monitors.production import Watched

KINDS = (packs.GroupMetric, packs.MeanErrorGap, packs.PerformanceFloor)
"""Rules that look at decisions and nothing else."""


def judge(settings: "FairnessMonitor", watched: "Watched") -> Findings:
    """Return the checks of the rules on the window. Raises CannotLook, ConfigError."""
    log = watched.predictions_of(timedelta(days=settings.window_days))
    labels = watched.arrived_labels()
    if labels is None:
        raise CannotLook(
            "fairness needs labels, and none are named",
            place="monitors.labels",
            remedy="Name where they arrive, with the sensitive columns beside them",
        )
    asked = answered(log, watched)
    asked = asked[asked.index.isin(labels.index)]
    if len(asked) < settings.min_labels:
        text = f"{len(asked)} labels have arrived; fewer than {settings.min_labels} decide nothing."
        check = Check(name="labels", outcome="inconclusive", rows=len(asked), message=text)
        return Findings(checks=(check,))
    inner = _workspace(watched, asked, log.inputs.loc[asked.index], labels.loc[asked.index])
    policy = watched.policy
    if settings.packs is not None:
        policy = policy.model_copy(update={"packs": settings.packs})
    found = judging.judge(policy, inner, today=watched.now.date(), kinds=KINDS)
    if not found.checks:
        raise CannotLook(
            f"no rule of {', '.join(policy.packs)} looks at decisions alone",
            place="monitors.fairness.packs",
            remedy="Name a pack with rules of kind group_metric or mean_error_gap",
        )
    return found


def _workspace(
    watched: "Watched", asked: pd.DataFrame, inputs: pd.DataFrame, labels: pd.DataFrame
) -> Workspace:
    """Return a workspace whose head's test rows and predictions are production's."""
    frame, judged = watched.judged()
    side = watched.reference
    label = side.data.label
    known = [name for name in inputs.columns if name in frame.columns and name != label]
    rows = as_reference(inputs[known], frame[known])
    for name in side.data.sensitive:
        if name not in rows.columns:
            if name not in labels.columns:
                raise CannotLook(
                    f"neither the prediction log nor the labels hold the column {name!r}",
                    place="monitors.labels",
                    remedy="Bring it with the labels; the log leaves sensitive columns out",
                )
            rows[name] = as_reference(labels[[name]], frame[[name]])[name]
    answers = _answers(asked, judged)
    if judged.classes:
        rows[label] = _as_classes(labels[watched.head.data.label], judged)
    else:
        rows[label] = pd.to_numeric(labels[watched.head.data.label], errors="coerce")
    kept = (rows[label].notna() & pd.Series(answers).notna().to_numpy()).to_numpy()
    probabilities = scores(asked, len(judged.classes)) if judged.classes else None
    made = Predictions(
        keys=rows.index[kept],
        predicted=answers[kept],
        scores=probabilities[kept] if probabilities is not None else None,
        classes=judged.classes,
        inputs=tuple(known),
    )
    head: Side = replace(side, name="head")
    return Workspace(
        head=head,
        base=None,
        base_missing="production has no other side",
        judge=head,
        commands=watched.commands,
        folder=watched.folder,
        cache=watched.cache,
        cores=watched.cores,
        project=watched.project,
        stages=watched.stages,
        seed=watched.seed,
        _made={
            ("table", "head", "test"): Table(
                frame=rows[kept], settings=side.data, place="the prediction log"
            ),
            ("predictions", "head", "head", "test"): made,
        },
    )


def _as_classes(values: "pd.Series[Any]", judged: Predictions) -> "pd.Series[Any]":
    """Return values as the model writes its classes; what is none of them is missing."""
    positions = members(values, judged.classes)
    return positions.map(lambda at: judged.classes[int(at)] if at == at else None).astype(object)  # noqa: PLR0124 - NaN


def _answers(asked: pd.DataFrame, judged: Predictions) -> np.ndarray:
    if judged.classes:
        return _as_classes(asked["predict"], judged).to_numpy(dtype=object)
    return np.asarray(pd.to_numeric(asked["predict"], errors="coerce"), dtype=float)
