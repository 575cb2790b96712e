"""Evidence by content: the record of a stage whose inputs are the same digests as before."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from ci_mlops import __version__
from ci_mlops.errors import EvidenceError
from ci_mlops.evidence import Record, Subject, file_sha256, read_record, text_sha256, write
from ci_mlops.stage import Stage, Workspace

KEEPABLE = frozenset({"passed", "warned", "failed", "inconclusive", "skipped"})


def used_subjects(stage: Stage, workspace: Workspace) -> tuple[Subject, ...]:
    """Return the digests that a stage depends on, named `head.model`, `base.data.test` ..."""
    return tuple(
        Subject(name=f"{side.name}.{subject.name}", sha256=subject.sha256)
        for side in reversed(workspace.sides())
        for subject in side.subjects
        if any(subject.name == use or subject.name.startswith(f"{use}.") for use in stage.uses)
        or (subject.name.startswith("predictions.") and "model" in stage.uses)
    )


def fingerprint(stage: Stage, workspace: Workspace, upstream: Mapping[str, str]) -> str:
    """Digest everything that a stage's result depends on.

    Settings, the `data` and `model` sections, digests on both sides, whether there is a base, other
    inputs that the stage names, our version and the fingerprints of the stages that it waits for.
    """
    needs_model = "model" in stage.uses
    facts = {
        "stage": stage.name,
        "settings": stage.model_dump(mode="json"),
        "sections": [
            [
                side.name,
                side.data.model_dump(mode="json"),
                side.model.model_dump(mode="json") if side.model and needs_model else None,
            ]
            for side in workspace.sides()
        ],
        "subjects": [[s.name, s.sha256] for s in used_subjects(stage, workspace)],
        "base_missing": workspace.base_missing,
        "inputs": dict(sorted(stage.inputs(workspace).items())),
        "version": __version__,
        "seed": workspace.seed,
        "upstream": dict(sorted(upstream.items())),
    }
    return text_sha256(json.dumps(facts, sort_keys=True, default=str))


def find(cache: Path, key: str, folder: Path) -> Record | None:
    """Return the kept record of a fingerprint, its artifacts restored below `folder`.

    A record or artifact that is damaged, or that tells another fingerprint, is not used.
    """
    kept = cache / "records" / key
    try:
        record = read_record(kept / "record.json")
    except EvidenceError:
        return None
    intact = all(
        (kept / artifact.path).is_file() and file_sha256(kept / artifact.path) == artifact.sha256
        for artifact in record.artifacts
    )
    if record.fingerprint != key or not intact:
        return None
    for artifact in record.artifacts:
        (folder / artifact.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kept / artifact.path, folder / artifact.path)
    return record


def keep(cache: Path, record: Record, folder: Path, commit: str) -> None:
    """Keep a record and its artifacts for later runs; one that could not look is not kept."""
    if record.outcome not in KEEPABLE:
        return
    kept = cache / "records" / record.fingerprint
    for artifact in record.artifacts:
        (kept / artifact.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / artifact.path, kept / artifact.path)
    # Last, so that a record that is there is whole.
    write(kept / "record.json", record.model_copy(update={"reused_from": commit}))
