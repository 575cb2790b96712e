"""A target that the user's own program runs: a few verbs, one line of JSON, three kinds of end.

The program is called as `PROGRAM live`, `PROGRAM start DIGEST FENCE`, `PROGRAM switch DIGEST FENCE`
and `PROGRAM stop DIGEST FENCE`, in the folder of mlops.yml. The last line that it prints is JSON:
`{"digest": "sha256:…", "url": "http://…"}` for `live` (or `{}` when nothing is), `{"url": "http://…"}`
for `start` and `switch`. It ends with 0 when it is done, with 75 when it has obeyed a higher fence
before, and with anything else when it refuses; then its last line of error output is told.

`live` may also say `"own": "http://…"`, the address at which the live digest answers alone, without
a proxy in front. For a canary, which needs that, the program is called as
`PROGRAM share DIGEST PERCENT FENCE` too, and prints `{"percent": 12}` where it can only do another
percentage.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from ci_mlops.command import Commands
from ci_mlops.errors import EvidenceError, OutsideError
from ci_mlops.evidence import validated
from ci_mlops.release.entry import Digest
from ci_mlops.release.settings import CommandTargetSettings
from ci_mlops.release.target import Overtaken, Slot
from ci_mlops.values import Value

OVERTAKEN = 75
"""EX_TEMPFAIL of sysexits.h, so that no ordinary failure of a program looks like it."""

Url = Annotated[str, Field(pattern=r"^(https?://\S{1,500})?$")]


class _Answer(Value):
    digest: Digest | None = None
    url: Url = ""
    own: Url = ""
    percent: Annotated[int, Field(ge=0, le=100)] | None = None


@dataclass(frozen=True, kw_only=True)
class CommandTarget:
    """Speaks to the program; `root` is the folder of mlops.yml."""

    settings: CommandTargetSettings
    root: Path
    commands: Commands

    def live(self) -> Slot | None:
        """Return what traffic goes to; see `target.Target`."""
        found = self._ask("live")
        if found.digest is None:
            return None
        return Slot(digest=found.digest, url=_url(found, "live"))

    def start(self, digest: str, fence: int) -> Slot:
        """Start a digest beside what is live; see `target.Target`."""
        return Slot(digest=digest, url=_url(self._ask("start", digest, str(fence)), "start"))

    def switch(self, digest: str, fence: int) -> Slot:
        """Send the traffic to a digest; see `target.Target`."""
        return Slot(digest=digest, url=_url(self._ask("switch", digest, str(fence)), "switch"))

    def stop(self, digest: str, fence: int) -> None:
        """End a digest that idles; see `target.Target`."""
        self._ask("stop", digest, str(fence))

    def share(self, digest: str, percent: int, fence: int) -> int:
        """Send a part of the traffic to a digest; see `target.Sharing`."""
        told = self._ask("share", digest, str(percent), str(fence)).percent
        return percent if told is None else told

    def own(self, digest: str) -> str:
        """Return where what is live answers alone, as `live` says; see `target.Target`."""
        found = self._ask("live")
        return found.own if found.digest == digest else ""

    def _ask(self, *words: str) -> _Answer:
        shell = ["sh", "-e", "-c", f'{self.settings.command} "$@"', "release", *words]
        done = self.commands.run(shell, cwd=self.root, timeout_s=self.settings.timeout_s)
        told = f"`{self.settings.command} {words[0]}`"
        if done.timed_out:
            raise OutsideError(f"{told} took over {self.settings.timeout_s:.0f} s")
        if done.code == OVERTAKEN:
            raise Overtaken(f"{told}: {done.last_line()}")
        if done.code:
            raise OutsideError(f"{told} refused: {done.last_line()}")
        last = (done.output.strip().splitlines() or ["{}"])[-1]
        if words[0] == "stop":
            return _Answer()
        try:
            return validated(_Answer, last.encode(), told)
        except EvidenceError as fault:
            raise OutsideError(
                f"its last line is no answer: {fault.fault}",
                place=told,
                remedy='Print {"digest": "sha256:…", "url": "http://…"} there',
            ) from fault


def _url(answer: _Answer, verb: str) -> str:
    if not answer.url:
        raise OutsideError(f"`{verb}` did not say the url", remedy='Print {"url": "http://…"} last')
    return answer.url
