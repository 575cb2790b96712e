"""Clients that ask a released model without a pause, and what they got."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from ci_mlops.serving.client import Answer, Client, Unanswered

SEEN_WITHIN_S = 60.0


@dataclass(kw_only=True)
class Traffic:
    """Each client asks over one connection, from entering to leaving."""

    url: str
    """Where `/v2` stands."""
    model: str
    inputs: Sequence[Mapping[str, Any]]
    clients: int = 4
    pause_s: float = 0.005
    answers: list[Answer] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    @property
    def versions(self) -> list[str]:
        """Who answered, in order."""
        return [one.version for one in self.answers]

    def next(self, count: int) -> list[Answer]:
        """Return the answers that come next."""
        begun = len(self.answers)
        deadline = time.monotonic() + SEEN_WITHIN_S
        while len(self.answers) < begun + count:
            assert time.monotonic() < deadline, self.failed
            time.sleep(0.01)
        return self.answers[begun : begun + count]

    def shares(self, count: int) -> Counter[str]:
        """Return how many of the answers that come next each version gives."""
        return Counter(one.version for one in self.next(count))

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._client) for _ in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _client(self) -> None:
        with contextlib.closing(Client(self.url)) as asked:
            while not self._over.is_set():
                try:
                    self.answers.append(asked.answer(self.model, self.inputs))
                except Unanswered as fault:
                    self.failed.append(str(fault))
                time.sleep(self.pause_s)
