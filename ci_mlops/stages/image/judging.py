"""The image decided: it starts unprivileged, predicts as judged, refuses, ends, and is small."""

import contextlib
import json
from collections.abc import Iterable, Iterator

from ci_mlops.buildah import Buildah
from ci_mlops.containers import Docker, Image
from ci_mlops.errors import CannotLook, OutsideError
from ci_mlops.evidence import (
    Artifact,
    Check,
    Limit,
    Metric,
    Outcome,
    Scalar,
    Table,
    file_sha256,
    write_atomically,
)
from ci_mlops.serving import bundle, in_image
from ci_mlops.serving.in_image import Measured
from ci_mlops.stage import Findings, Workspace
from ci_mlops.stages.image import ImageStage, building
from ci_mlops.stages.image.building import Judged

MB = 1_000_000


def judge(settings: ImageStage, workspace: Workspace) -> Findings:
    """Build the images of both sides and look at them. Raises CannotLook."""
    head = workspace.head
    if head.model is None or head.model.path is None:
        return _skipped("There is no model to serve: the predictions come from files.")
    with contextlib.ExitStack() as stack:
        builder: Docker | Buildah | None
        try:
            builder = stack.enter_context(Docker.connected(workspace.commands.environ))
        except OutsideError as fault:
            builder = Buildah.found(workspace.commands)
            if builder is None:
                return _skipped(f"No image was built, and there is no buildah either: {fault}")
        return _judged(settings, workspace, builder)


def _skipped(message: str) -> Findings:
    check = Check(name="image", outcome="skipped", message=message[:2000])
    return Findings(checks=(check,))


def _judged(settings: ImageStage, workspace: Workspace, docker: Docker | Buildah) -> Findings:
    head = workspace.head
    known = building.judged(head, workspace)
    image = building.build(docker, settings, head, workspace, known)
    found = _look(settings, docker, image, known, whole=True)
    base, missing = _base(settings, workspace, docker)
    checks = [
        _image(image),
        *found.checks,
        *_budgets(settings, found),
        *_growth(settings, found, base, missing),
    ]
    return Findings(
        checks=tuple(checks),
        metrics=tuple(_metrics(found, base)),
        tables=(_table(found, base), _labels(image)),
        artifacts=_artifacts(workspace, known, found),
        tools={type(docker).__name__.lower(): docker.version()},
    )


def _image(image: Image) -> Check:
    return Check(
        name="image",
        outcome="passed",
        observed=image.digest,
        message=f"The image is {image.digest[:19]}.",
    )


def _look(
    settings: ImageStage, docker: Docker | Buildah, image: Image, known: Judged, *, whole: bool
) -> Measured:
    return in_image.look(
        docker,
        image,
        port=settings.port,
        ready_within_s=settings.ready_within_s,
        model=known.model,
        recorded=known.recorded,
        tolerance=settings.tolerance,
        whole=whole,
    )


def _base(
    settings: ImageStage, workspace: Workspace, docker: Docker | Buildah
) -> tuple[Measured | None, str]:
    """Return the base's image as it was seen, or why there is nothing to compare with."""
    side = workspace.base
    if side is None:
        return None, workspace.base_missing
    if side.model is None or side.model.path is None:
        return None, "the base has no model file"
    try:
        known = building.judged(side, workspace)
        image = building.build(docker, settings, side, workspace, known)
        found = _look(settings, docker, image, known, whole=False)
    except CannotLook as fault:
        return None, f"the base's image could not be looked at: {fault}"
    if found.ready_s is None:
        return None, f"the base's image was not ready in time: {found.last_line}"
    return found, ""


# --- checks -------------------------------------------------------------------------------------


def _budgets(settings: ImageStage, found: Measured) -> Iterator[Check]:
    budgets = settings.budgets
    memory = None if found.memory_bytes is None else found.memory_bytes / MB
    figures = (
        ("budget-size", "size_mb", budgets.size_mb, found.image.size_bytes / MB, "MB"),
        ("budget-memory", "memory_mb", budgets.memory_mb, memory, "MB"),
        ("budget-start", "start_s", budgets.start_s, found.ready_s, "s"),
    )
    for name, setting, limit, observed, unit in figures:
        if limit is None or observed is None:
            continue
        inside = observed <= limit
        yield Check(
            name=name,
            outcome="passed" if inside else "failed",
            observed=observed,
            limit=Limit(at_most=limit),
            unit=unit,
            message=f"{observed:.3g} {unit}, {'within' if inside else 'over'} the budget of "
            f"{limit:g} {unit}.",
            remedy="" if inside else f"Leave out what is not needed, or raise `budgets.{setting}`",
        )


def _growth(
    settings: ImageStage, found: Measured, base: Measured | None, missing: str
) -> Iterator[Check]:
    if found.ready_s is None:
        return
    figures: Iterable[tuple[str, float | None, float | None]] = (
        ("size", found.image.size_bytes, base.image.size_bytes if base else None),
        ("memory", found.memory_bytes, base.memory_bytes if base else None),
    )
    for name, after, before in figures:
        if before is None or after is None:
            message = (
                f"The {name} is {(after or 0) / MB:.1f} MB; nothing to compare with: {missing}."
            )
            yield Check(name=f"{name}-growth", outcome="skipped", message=message)
            continue
        percent = 100 * (after / before - 1)
        limit = settings.max_growth_percent
        inside = percent <= limit
        outcome: Outcome = "passed" if inside else "failed"
        yield Check(
            name=f"{name}-growth",
            outcome=outcome,
            observed=percent,
            limit=Limit(at_most=limit),
            unit="%",
            message=f"The {name} went from {before / MB:.1f} to {after / MB:.1f} MB "
            f"({percent:+.1f} %).",
            remedy=""
            if inside
            else "See what was added; if it is right, raise `max_growth_percent`",
        )


# --- the report ---------------------------------------------------------------------------------


def _metrics(found: Measured, base: Measured | None) -> Iterator[Metric]:
    before = base.image.size_bytes / MB if base else None
    yield Metric(name="image size", value=found.image.size_bytes / MB, base=before, unit="MB")
    if found.ready_s is not None:
        yield Metric(
            name="time until ready",
            value=found.ready_s,
            base=base.ready_s if base else None,
            unit="s",
        )
    if found.memory_bytes is not None:
        held = base.memory_bytes if base else None
        yield Metric(
            name="server memory",
            value=found.memory_bytes / MB,
            base=held / MB if held is not None else None,
            unit="MB",
        )


def _table(found: Measured, base: Measured | None) -> Table:
    rows: list[tuple[Scalar, ...]] = [
        (
            name,
            one.image.digest,
            round(one.image.size_bytes / MB, 1),
            None if one.ready_s is None else round(one.ready_s, 2),
            None if one.memory_bytes is None else round(one.memory_bytes / MB, 1),
        )
        for name, one in (("base", base), ("head", found))
        if one is not None
    ]
    columns = ("side", "digest", "size MB", "ready after s", "memory MB")
    return Table(title="The images", columns=columns, rows=tuple(rows))


def _labels(image: Image) -> Table:
    rows = tuple((name, value) for name, value in sorted(image.labels.items()))
    return Table(title="Labels of the image", columns=("label", "value"), rows=rows[:200])


def _artifacts(workspace: Workspace, known: Judged, found: Measured) -> tuple[Artifact, ...]:
    """Keep the recorded predictions and the digest: what a release verifies in place."""
    folder = workspace.artifacts("image")
    told = {
        "digest": found.image.digest,
        "bundle": known.digest,
        "labels": dict(found.image.labels),
    }
    documents = {
        bundle.RECORDED: (known.bundle / bundle.RECORDED).read_bytes(),
        "image.json": json.dumps(told, sort_keys=True, indent=1).encode(),
    }
    kept = []
    for name, data in documents.items():
        write_atomically(folder / name, data)
        kept.append(Artifact(path=f"image/{name}", sha256=file_sha256(folder / name)))
    return tuple(kept)
