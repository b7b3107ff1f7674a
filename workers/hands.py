"""Who has a result in memory: a few at once, where results come faster than storage takes them.

A thread waits for each edit, so without a bound a process with 500 places would hold 500 results (1.6 GB of PNGs).
The bound gives way before the address of a result does: what is paid for is fetched, whatever the others wait for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

AT_ONCE = 32
"""About three times as many as one core can store at once."""
KEPT_PATIENCE_S = 60.0
"""What lies on the disk can wait, and still be looked at again soon."""
LOOK_S = 0.5
"""Who waits looks so often whether a shutdown has begun."""


class Hands:
    """The results that threads of a process have in memory. Any number of threads may ask."""

    def __init__(self, stopping: threading.Event, at_once: int = AT_ONCE) -> None:
        """`stopping` is set when a shutdown begins."""
        self._stopping = stopping
        self._free = threading.Semaphore(at_once)

    @contextmanager
    def holding(self, patience_s: float) -> Iterator[bool | None]:
        """Hold a result while the body runs; yield whether it is one of the few.

        None says that a shutdown began first: then it is not to be fetched, as there is time for those few only.

        Args:
            patience_s: seconds to wait for that at most, before it is held all the same.
        """
        one_of_few = self._waited(patience_s)
        try:
            yield one_of_few
        finally:
            if one_of_few:
                self._free.release()

    def _waited(self, patience_s: float) -> bool | None:
        until = time.monotonic() + patience_s
        while not self._free.acquire(timeout=max(min(until - time.monotonic(), LOOK_S), 0.0)):
            if time.monotonic() >= until:
                return False
            if self._stopping.is_set():
                return None
        return True
