"""One namespace of a cluster: objects are read, applied, changed as they were read, and deleted.

What a promoter that was overtaken may not touch carries the number of the ledger that it obeyed
last (FENCE), and is only written as it was read (`resourceVersion`): of two promoters one loses.
"""

import contextlib
import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ci_mlops.errors import OutsideError
from ci_mlops.release.manifests import FENCE, MANAGER, Manifest
from ci_mlops.release.target import Overtaken

OLDER = {"policy/v1": "policy/v1beta1"}
"""What servers before 1.21 call it."""
GONE, CHANGED = 404, 409
"""Statuses of an object that is not there, and of one that is no longer as it was read."""


def _as_it_is(_: Manifest) -> None:
    """Change nothing but the number of the ledger."""


@dataclass(frozen=True, kw_only=True)
class Namespace:
    """One namespace; every method raises OutsideError with what the server says."""

    dynamic: Any
    """The official client's DynamicClient."""
    name: str

    def read(self, api: str, kind: str, name: str) -> Manifest | None:
        """Return an object, or None where there is none."""
        with refused(f"{kind} {name} cannot be read"), _unless(GONE):
            found = self._kind(api, kind).get(name=name, namespace=self.name)
            read: Manifest = found.to_dict()
            return read
        return None

    def listed(self, api: str, kind: str, selector: str) -> list[Manifest]:
        """Return the objects that a label selector finds."""
        with refused(f"{kind}s cannot be listed"):
            found = self._kind(api, kind).get(namespace=self.name, label_selector=selector)
        return [one.to_dict() for one in found.items]

    def apply(self, manifest: Manifest, fence: int | None = None) -> None:
        """Apply a manifest on the server's side, as the one who manages its fields.

        Raises Overtaken where the object obeyed a higher number than `fence`.
        """
        kind = self._kind(manifest["apiVersion"], manifest["kind"])
        name = manifest["metadata"]["name"]
        while True:
            body = {**copy.deepcopy(manifest), "apiVersion": kind.group_version}
            if fence is not None:
                found = self.read(manifest["apiVersion"], manifest["kind"], name)
                _require_not_overtaken(found, fence)
                body["metadata"]["annotations"] = {**annotations(body), FENCE: str(fence)}
                if found is not None:
                    body["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"]
            with refused(f"{manifest['kind']} {name} cannot be applied"), _unless(CHANGED):
                self.dynamic.server_side_apply(
                    kind,
                    body=body,
                    name=name,
                    namespace=self.name,
                    field_manager=MANAGER,
                    force_conflicts=True,
                )
                return

    def change(
        self,
        api: str,
        kind: str,
        name: str,
        fence: int,
        change: Callable[[Manifest], None] = _as_it_is,
    ) -> bool:
        """Change an object under a number of the ledger; False where there is none.

        Raises Overtaken where it obeyed a higher number.
        """
        while True:
            found = self.read(api, kind, name)
            if found is None:
                return False
            _require_not_overtaken(found, fence)
            wanted = copy.deepcopy(found)
            wanted["metadata"]["annotations"] = {**annotations(found), FENCE: str(fence)}
            change(wanted)
            if wanted == found:
                return True
            with refused(f"{kind} {name} cannot be changed"), _unless(CHANGED, GONE):
                self._kind(api, kind).replace(
                    body=wanted, namespace=self.name, field_manager=MANAGER
                )
                return True

    def delete(self, api: str, kind: str, name: str, fence: int) -> None:
        """Delete an object, if it is there. Raises Overtaken where it obeyed a higher number."""
        while True:
            found = self.read(api, kind, name)
            if found is None:
                return
            _require_not_overtaken(found, fence)
            as_read = {name: found["metadata"][name] for name in ("uid", "resourceVersion")}
            options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": as_read}
            with refused(f"{kind} {name} cannot be deleted"), _unless(CHANGED, GONE):
                self._kind(api, kind).delete(name=name, namespace=self.name, body=options)
                return

    def _kind(self, api: str, kind: str) -> Any:
        from kubernetes.dynamic.exceptions import ResourceNotFoundError

        with refused("the cluster does not say what it knows"):
            try:
                return self.dynamic.resources.get(api_version=api, kind=kind)
            except ResourceNotFoundError:
                return self.dynamic.resources.get(api_version=OLDER.get(api, api), kind=kind)


def annotations(manifest: Manifest) -> dict[str, str]:
    """Return the annotations of an object."""
    return manifest["metadata"].get("annotations") or {}


@contextlib.contextmanager
def refused(what: str) -> Iterator[None]:
    """Raise OutsideError with what the cluster says of something that it does not do."""
    import urllib3
    from kubernetes.client.exceptions import ApiException
    from kubernetes.dynamic.exceptions import ResourceNotFoundError, ResourceNotUniqueError

    try:
        yield
    except ApiException as fault:
        raise OutsideError(f"{what}: {fault.status} {_said(fault.body)}") from fault
    except (ResourceNotFoundError, ResourceNotUniqueError, urllib3.exceptions.HTTPError) as fault:
        raise OutsideError(f"{what}: {str(fault).splitlines()[0][:300]}") from fault


@contextlib.contextmanager
def _unless(*statuses: int) -> Iterator[None]:
    """Let a request fail with one of the statuses."""
    from kubernetes.client.exceptions import ApiException

    try:
        yield
    except ApiException as fault:
        if fault.status not in statuses:
            raise


def _require_not_overtaken(found: Manifest | None, fence: int) -> None:
    before = int(annotations(found).get(FENCE, "0")) if found else 0
    if fence < before:
        raise Overtaken(f"entry {before} of the ledger was obeyed before entry {fence}")


def _said(body: Any) -> str:
    """Return the message of the API's Status object."""
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        return str(json.loads(body).get("message", ""))[:400]
    return ""
