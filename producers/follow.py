"""Follows a batch until there is nothing more to wait for.

It looks at what the ledger counts and tells a screen: twice a second, and less often while the end is far away. A Redis
or a bucket that is away for a while is waited for, as the workers wait for it; a pause that the person who made it can
lift is waited for too.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from jobs.batch import BatchState
from jobs.errors import LedgerError, Unavailable
from jobs.job import FINAL
from jobs.ledger.seen import WorkerSeen
from producers.view import View, eta, reported

LOOK_S = 0.5
FAR_LOOK_S = 2.0
LOOK_SHARE = 0.05
"""The next look comes after this part of the time that is left, so an end that comes early is still seen soon."""
OUTAGE_S = 60.0
"""How long Redis or the bucket may be away before following ends; the batch goes on without us."""
WAITED_FOR = frozenset({"operator"})
"""Pauses that following waits through: whoever paused by hand resumes by hand, and is told how."""

_WORKERS_S = 5.0
_BUCKET_S = 1.0
_STARTING_S = 15.0
"""A worker that is just being started is not missed yet."""
_SETTLING_S = 30.0
"""After a pause, how long edits that are at the API are waited for."""
_WINDOW_S = 60.0
_AT_WORK = ("submitting", "running", "ready")

Document = dict[str, Any]


class Screen(Protocol):
    """Where a batch is shown while it is followed."""

    def show(self, found: Document) -> None:
        """Show the batch as it stands."""

    def say(self, text: str) -> None:
        """Say one thing beside it."""


class Pace:
    """Images per minute over the last minute, from counts that only rise."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int, int]] = deque()

    def add(self, at: float, found: Document) -> None:
        """Note the counts of one look at `at` (any clock that only rises, in seconds)."""
        counts = found["counts"]
        ended = sum(counts[state] for state in FINAL)
        self._seen.append((at, counts["stored"], ended))
        while self._seen[0][0] < at - _WINDOW_S:
            self._seen.popleft()

    def per_minute(self) -> tuple[float | None, float | None]:
        """Return stored images and ended rows per minute, None until 3 s have been seen or while nothing ends."""
        first, last = self._seen[0], self._seen[-1]
        seconds = last[0] - first[0]
        if seconds < 3.0:
            return None, None
        stored, ended = ((last[i] - first[i]) * 60 / seconds for i in (1, 2))
        return stored or None, ended or None


def until_next(found: Document) -> float:
    """Return the seconds until a batch that stands so is worth another look."""
    left = found.get("live", {}).get("eta_s")
    return LOOK_S if left is None else min(max(left * LOOK_SHARE, LOOK_S), FAR_LOOK_S)


class Following:
    """One batch being followed; `run` returns its document as it stands at the end.

    With `uploading` this process brings the batch's local pictures, so nobody has to be told that they are missing.
    """

    def __init__(
        self,
        view: View,
        batch: str,
        screen: Screen,
        *,
        stop: Callable[[], bool] = lambda: False,
        uploading: bool = False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._view = view
        self._batch = batch
        self._screen = screen
        self._stop = stop
        self._uploading = uploading
        self._clock = clock
        self._sleep = sleep
        self._agreed = view.agreed(batch)
        self._began = clock()
        self._pace = Pace()
        self._workers: tuple[Sequence[WorkerSeen], float] = ((), -_WORKERS_S)
        self._away_since: float | None = None
        self._paused_since: float | None = None
        self._bucket_at = -_BUCKET_S

    def run(self) -> Document:
        """Follow to the end: the batch is done, cancelled and settled, or paused until a person acts.

        Raises:
            LedgerError: Redis has been away for a minute.
            StorageError: the bucket has been away for a minute, or refuses.
        """
        while True:
            wait = LOOK_S
            try:
                found, ended = self._look()
            except (LedgerError, Unavailable) as error:
                self._wait_out(error)
            else:
                self._away_since = None
                self._screen.show(found)
                if ended or self._stop():
                    return found
                wait = until_next(found)
            self._sleep(wait)

    def _look(self) -> tuple[Document, bool]:
        progress = self._view.progress(self._batch)
        if progress is None or progress.state == BatchState.DONE:
            return self._view.batch(self._batch), True
        workers = self._seen_workers()
        found = self._view.document(self._agreed, progress, workers=workers, uploading=self._uploading)
        if progress.state == BatchState.CANCELLED:
            return found, reported(self._agreed, progress) and self._report_written()
        self._say_how_fast(found)
        if self._clock() - self._began < _STARTING_S:
            found["warnings"] = [text for text in found["warnings"] if text != self._view.no_worker]
        return found, progress.state == BatchState.PAUSED and self._over(found)

    def _over(self, found: Document) -> bool:
        """Whether a paused batch will not go on by itself, and what it has at the API is settled."""
        if found["reason"] in WAITED_FOR:
            self._paused_since = None
            return False
        if self._paused_since is None:
            self._paused_since = self._clock()
        at_work = any(found["counts"][state] for state in _AT_WORK)
        return not at_work or self._clock() - self._paused_since > _SETTLING_S

    def _say_how_fast(self, found: Document) -> None:
        self._pace.add(self._clock(), found)
        images, rows = self._pace.per_minute()
        found["live"]["images_per_minute"] = round(images, 1) if images else None
        found["live"]["eta_s"] = eta(found, rows)

    def _seen_workers(self) -> Sequence[WorkerSeen]:
        seen, at = self._workers
        if not seen or self._clock() - at >= _WORKERS_S:
            seen = self._view.workers()
            self._workers = seen, self._clock()
        return seen

    def _report_written(self) -> bool:
        if self._clock() - self._bucket_at < _BUCKET_S:
            return False
        self._bucket_at = self._clock()
        return self._view.summary(self._batch) is not None

    def _wait_out(self, error: Exception) -> None:
        now = self._clock()
        if self._away_since is None:
            self._away_since = now
            self._screen.say(f"{error} Waiting for it; the batch is safe.")
        if now - self._away_since > OUTAGE_S or self._stop():
            raise error
