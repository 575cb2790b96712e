"""Deepchecks' model evaluation, from predictions alone; the model itself never enters it."""

from collections.abc import Mapping

from ci_mlops.evidence import Check
from ci_mlops.stage import Workspace
from ci_mlops.stages.model import ModelStage
from ci_mlops.stages.model.answers import Absent, Pair, train_answers
from ci_mlops.stages.model.slicing import categorical_columns


def evaluate(
    settings: ModelStage, workspace: Workspace, pair: Pair
) -> tuple[tuple[Check, ...], Mapping[str, str]]:
    """Checks and tool versions of the suite; one skipped check where it cannot be asked."""
    name = "deepchecks-model-evaluation"
    if settings.deepchecks is False:
        message = "Deepchecks' model evaluation is turned off in mlops.yml."
        return (Check(name=name, outcome="skipped", message=message),), {}
    train = train_answers(workspace, workspace.head)
    if isinstance(train, Absent):
        message = f"Deepchecks' model evaluation needs training rows: {train.reason}."
        return (Check(name=name, outcome=train.outcome, message=message[:2000]),), {}
    from ci_mlops.deepchecks.suites import inspect_model

    data = workspace.head.data
    # Deepchecks quotes values, so it does not see what may not be shown.
    never = (*data.ignore, data.time, *data.hidden)
    out = [c for c in dict.fromkeys(never) if c in pair.frame.columns and c != data.label]
    key = [data.key] if data.key in pair.frame.columns else []
    test = pair.frame.drop(columns=[*out, *key])
    found = inspect_model(
        train=train[0].drop(columns=[c for c in (*out, *key) if c in train[0].columns]),
        test=test,
        label=data.label,
        task=pair.head.task,
        train_predictions=train[2],
        test_predictions=pair.predictions,
        categorical=categorical_columns(data, test),
        overrides=settings.deepchecks,
        commands=workspace.commands,
        cache=workspace.cache,
        cores=workspace.cores,
    )
    return found.checks, found.tools
