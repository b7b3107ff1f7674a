"""What a process cannot reach just now, so that whoever follows a batch is told why nothing moves.

It decides nothing: jobs wait by themselves. One failure between many answers is no outage, and one that nobody has
seen for a while may be over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

LASTING_S = 3.0
STALE_S = 90.0
"""Longer than any pause between two tries."""


class Away:
    """Remembers, for each part by its name, since when it has only failed. Any thread may tell it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failing: dict[str, tuple[float, float, str]] = {}

    def failed(self, part: str, why: str) -> None:
        """Note that a part did not answer."""
        with self._lock:
            since = self._failing.get(part, (self._clock(),))[0]
            self._failing[part] = since, self._clock(), why

    def answered(self, part: str) -> None:
        """Note that a part did answer."""
        with self._lock:
            self._failing.pop(part, None)

    def lasting(self) -> Mapping[str, str]:
        """Return the parts that have done nothing but fail for some seconds, and why."""
        now = self._clock()
        with self._lock:
            return {
                part: why
                for part, (since, latest, why) in self._failing.items()
                if now - since >= LASTING_S and now - latest <= STALE_S
            }
