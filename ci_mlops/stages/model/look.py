"""One look at the model: answers gathered once, then every check on them."""

from ci_mlops.evidence import Check
from ci_mlops.stage import Findings, Workspace
from ci_mlops.stages.model import (
    ModelStage,
    compare,
    evaluation,
    imported,
    pictures,
    slicing,
    useful,
)
from ci_mlops.stages.model.answers import Absent, Pair, gather
from ci_mlops.stats.bootstrap import Resampled, resample


def look(settings: ModelStage, workspace: Workspace) -> Findings:
    """Findings on the head's model. Raises CannotLook when it gives no answers at all."""
    pair = gather(workspace)
    settings.rules(pair.head.task)
    spreads = _spreads(settings, pair, workspace.seed)
    figures, moved, notes = pictures.decisions_changed(pair)
    whole = slicing.slices_of(settings, workspace.head.data, pair.frame)
    shared = slicing.slices_of(settings, workspace.head.data, pair.shared_frame)
    changed, worst_changes = slicing.change_check(settings, pair, shared)
    lowest, worst_levels = slicing.floor_check(settings, pair.head, whole)
    floor = useful.floor_check(settings, pair.head, spreads.get(useful.skill_metric(pair.head)))
    others = imported.imported(settings, workspace)
    suite, tools = evaluation.evaluate(settings, workspace, pair)
    checks: tuple[Check, ...] = (
        useful.constant_check(pair.head),
        *((floor,) if floor else ()),
        *compare.metric_checks(settings, pair, spreads),
        changed,
        lowest,
        useful.over_fit_check(settings, workspace, pair),
        *others.checks,
        *suite,
    )
    return Findings(
        checks=checks,
        metrics=(*compare.metric_figures(pair), *figures, *others.metrics),
        tables=(*moved, *pictures.tables(pair), *worst_changes, *worst_levels),
        charts=pictures.charts(pair),
        notes=(*pair.notes, *notes),
        tools=tools,
    )


def _spreads(settings: ModelStage, pair: Pair, seed: int) -> dict[str, Resampled]:
    names = useful.spreads_needed(settings, pair.head)
    compared = None if isinstance(pair.base, Absent) or pair.identical() else pair.base
    whole = len(pair.shared.truth) == len(pair.head.truth)
    if compared is None or whole:
        return dict(resample(pair.head, compared, names, seed=seed))
    # Base answered some of the rows only: head's own intervals rest on all of them.
    of_head = resample(pair.head, None, names, seed=seed)
    of_both = resample(pair.shared, compared, names, seed=seed)
    return {
        name: Resampled(
            head=of_head[name].head, base=of_both[name].base, change=of_both[name].change
        )
        for name in names
    }
