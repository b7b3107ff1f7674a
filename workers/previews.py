"""The small pictures of a report, made while an edit's own are in hand.

Made at the end of a batch they have to be read from the store once more, and the person who waits for the report waits
for all of them. Only a worker that is alone does this: of several, the one that writes the report would have those of
its own edits only. What is not found here, the report fetches.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from jobs.batch import Batch
from jobs.errors import LedgerError
from jobs.pictures import PictureError, thumbnail
from jobs.report.sheet import CARDS, BeforeAfter

MOST_BYTES = 8 * 1024 * 1024
"""About what a report with the most cards takes; beyond it the oldest are let go."""

AT_ONCE = 2
"""So many are made at a time: a decoded picture may take 50 times the memory of its file."""

LOOK_EVERY_S = 10.0


class Previews:
    """The previews of one process. Any number of threads may use it at once."""

    def __init__(self, workers: Callable[[], int], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Start with none.

        Args:
            workers: returns how many worker processes there are; may raise `LedgerError`.
            monotonic: a clock in seconds.
        """
        self._workers = workers
        self._now = monotonic
        self._room = threading.Semaphore(AT_ONCE)
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, BeforeAfter] = OrderedDict()
        self._bytes = 0
        self._alone = False
        self._looked_at = -LOOK_EVERY_S

    def before(self, job: str, batch: Batch, picture: bytes | str) -> None:
        """Keep the preview of a job's first input, if it will be shown. A URL that only the API reads has none."""
        if isinstance(picture, bytes) and (small := self._made(batch, picture)) is not None:
            self._keep(job, before=small)

    def after(self, job: str, batch: Batch, data: bytes) -> None:
        """Keep the preview of a job's result, if it will be shown."""
        if (small := self._made(batch, data)) is not None:
            self._keep(job, after=small)

    def taken(self, job: str) -> BeforeAfter:
        """Return what there is of a job, and forget it."""
        with self._lock:
            found = self._kept.pop(job, (None, None))
            self._bytes -= _size(found)
            return found

    def _made(self, batch: Batch, data: bytes) -> bytes | None:
        """Return a preview; None where it is of no use, cannot be made, or would be one too many at a time."""
        if batch.rows > CARDS or not self._is_alone() or not self._room.acquire(blocking=False):
            return None
        try:
            return thumbnail(data)
        except (PictureError, OSError, ValueError, MemoryError):
            return None
        finally:
            self._room.release()

    def _is_alone(self) -> bool:
        with self._lock:
            now = self._now()
            if now - self._looked_at < LOOK_EVERY_S:
                return self._alone
            self._looked_at = now
        try:
            self._alone = self._workers() <= 1
        except LedgerError:
            self._alone = False
        return self._alone

    def _keep(self, job: str, *, before: bytes | None = None, after: bytes | None = None) -> None:
        with self._lock:
            old = self._kept.pop(job, (None, None))
            self._kept[job] = new = before or old[0], after or old[1]
            self._bytes += _size(new) - _size(old)
            while self._bytes > MOST_BYTES:
                self._bytes -= _size(self._kept.popitem(last=False)[1])


def _size(pictures: BeforeAfter) -> int:
    return sum(len(each) for each in pictures if each is not None)
