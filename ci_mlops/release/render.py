"""`ci-mlops render`: a version's manifests as YAML, for those who let a repository be applied."""

from collections.abc import Callable, Mapping

import yaml

from ci_mlops.release import manifests
from ci_mlops.release.manifests import Manifest, Version
from ci_mlops.release.settings import KubernetesTargetSettings


def _plain(version: Version, settings: KubernetesTargetSettings) -> list[Manifest]:
    return [
        *manifests.version_manifests(version, settings),
        *manifests.front_manifests(version.front, settings, version),
    ]


FLAVOURS: Mapping[str, Callable[[Version, KubernetesTargetSettings], list[Manifest]]] = {
    "kubernetes": _plain,
    "kserve": manifests.inference_service,
    "rollouts": manifests.rollout,
}


def render(flavour: str, version: Version, settings: KubernetesTargetSettings) -> str:
    """Return the YAML documents of a version."""
    return yaml.safe_dump_all(
        FLAVOURS[flavour](version, settings), sort_keys=False, explicit_start=True
    )
