"""Whether this process takes messages: after a lost connection Celery's consumer can come back and take none.

Such a worker looks alive: its threads run, its loop turns, Redis answers. It is known only by messages that wait
while it has room and takes nothing, and it helps only to start it anew (celery issues 8030, 8091 and 9054).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

STARVED_S = 60.0
"""A message that waits is taken within a second, and a reconnection is over within some."""
DOUBTFUL_S = 15.0
"""To ask how many messages wait takes a command for each queue and priority."""


class Appetite:
    """Judges one process. Its threads may call it at the same time."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._now = monotonic
        self._lock = threading.Lock()
        self._fed_at = monotonic()

    def fed(self) -> None:
        """Note that all is well: a message was taken, there is no room for one, or none can be had."""
        with self._lock:
            self._fed_at = self._now()

    def doubtful(self) -> bool:
        """Return whether nothing was noted for so long that the queues are worth a look."""
        with self._lock:
            return self._now() - self._fed_at >= DOUBTFUL_S

    def lost(self, *, waiting: int, room: bool) -> bool:
        """Return whether nothing was taken for too long although, at every look, messages waited and there was room.

        Args:
            waiting: messages in the queues that this process looks at.
            room: whether it has a thread for one.
        """
        if not waiting or not room:
            self.fed()
            return False
        with self._lock:
            return self._now() - self._fed_at > STARVED_S
