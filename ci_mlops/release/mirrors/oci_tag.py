"""A tag in the repository of images, which names the very manifest that is live.

Registries have no compare-and-swap for tags, so whoever writes reads the ledger again afterwards;
see `mirrors.sync`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ci_mlops.errors import OutsideError
from ci_mlops.registry import Manifest, Registry
from ci_mlops.release.history import SHOWN
from ci_mlops.release.mirrors.mirror import History, Said


@dataclass(frozen=True, kw_only=True)
class OciTag:
    """The tag of an environment."""

    tag: str
    registry: Registry
    push: Callable[[str], bool]
    """Push an image under its digest, where a daemon here has it; False where none has."""
    name: str = "oci-tag"

    def sync(self, history: History, *, dry_run: bool) -> Iterator[Said]:
        """Let the tag name what is live, if anything is; see `mirror.Mirror`."""
        if history.live is None:
            return
        digest = history.live.intent.to
        where = f"{self.registry.address}:{self.tag}"
        judged = self.registry.manifest(digest.removeprefix("sha256:"))
        if judged is None and dry_run:
            yield Said(text=f"{where} would name {digest[:SHOWN]}, which is to be pushed first")
            return
        judged = judged or self._pushed(digest)
        if digest not in {judged.config(), judged.digest}:
            raise OutsideError(
                f"the tag {digest[7:SHOWN]} names another image, {judged.config()[:SHOWN]}",
                place=self.registry.address,
                remedy="Somebody has moved it: remove it, and push the image again",
            )
        if self._names(judged):
            return
        if not dry_run:
            self.registry.tag(judged, self.tag)
            if not self._names(judged):
                raise OutsideError(f"{where} names something else than what was written")
        yield Said(text=f"{where} names {digest[:SHOWN]}, manifest {judged.digest[:SHOWN]}")

    def _names(self, judged: Manifest) -> bool:
        there = self.registry.manifest(self.tag)
        return there is not None and there.digest == judged.digest

    def _pushed(self, digest: str) -> Manifest:
        tag = digest.removeprefix("sha256:")
        found = self.registry.manifest(tag) if self.push(digest) else None
        if found is None:
            raise OutsideError(
                f"{digest[:SHOWN]} is not in {self.registry.address}",
                remedy="Run `ci-mlops ledger sync` on the host that runs it, which pushes it",
            )
        return found
