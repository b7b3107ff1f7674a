"""Places at which a process can be made to die, so that a test can kill it at every line that matters.

Each place is passed on the way of real work and does nothing, unless the process was armed for it at its start
(`config.arming`): then it kills itself there as `kill -9` would. `tests/chaos/test_crash_points.py` dies at every
place of this table.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping

from jobs.events import Event

PLACES: Mapping[str, str] = {
    # a batch is planned and opened (producers)
    "plan-written": "the rows lie in the bucket, `batch.json` does not",
    "batch-written": "`batch.json` lies in the bucket, the ledger knows nothing",
    "batch-opened": "the ledger has taken the batch, no message is sent",
    "pictures-staged": "a chunk's pictures lie in the bucket, its staged rows do not",
    "chunk-staged": "a chunk's staged rows lie in the bucket, the mark is not raised",
    "mark-raised": "the mark is raised, no message is sent",
    # a window is fed
    "rows-read": "the rows are read, no job is made of them",
    "jobs-created": "the jobs are there and the cursor has moved, no message is sent",
    # an edit is bought
    "claimed": "the job is owned, nothing is done",
    "prepared": "the body is ready, nothing is taken at the gate",
    "body-begun": "all of the body but its last part is at the API, nothing is taken at the gate",
    "begun": "slot, money and fingerprint are taken, the ledger has the intent, the last part of the body has not left",
    "intent-in-bucket": "where intents are in the bucket, this one is, the last part of the body has not left",
    "sent": "the `sent` mark is written, the last part has not left",
    "last-bytes-sent": "the whole body has left, no answer is read",
    "refused": "the API has taken nothing, where intents are in the bucket this one still is",
    "receipt-recorded": "the ledger has the receipt, an intent in the bucket has not",
    # a result is fetched
    "downloading": "a part of the result has come",
    "downloaded": "the whole result is checked and in memory only",
    "filed": "the result is filed, not published",
    # Redis or storage is away, and this worker's disk keeps what is known
    "note-on-disk": "Redis is away, the receipt is written to the disk, not yet under its name",
    "receipt-noted": "Redis is away, the receipt lies on the disk",
    "late-receipt-noted": "somebody else has moved the job, the receipt lies on the disk",
    "late-receipt-told": "the ledger has been told of such a receipt, which still lies on the disk",
    "note-told": "the ledger has been told of a receipt that still lies on the disk",
    "picture-on-disk": "storage is away, the result is written to the disk, what it is is not",
    "result-on-disk": "storage is away, the result is written to the disk, not yet under its name",
    "result-told": "a kept result that no job waits for is told in its batch, it is not filed",
    "result-put-away": "a kept result that no job waits for is filed, it still lies on the disk",
    "result-let-go": "a kept result is stored and taken from the others, its bytes still lie on the disk",
    # somebody else goes on
    "lapse-found": "a lapsed lease is found, the job is not moved",
    "taken-over": "the job is moved, no message is sent",
    "ended-taken-over": "all jobs of a process that ended on this disk are moved, its file is still there",
    "doubt-found": "a doubt's wait is over, nothing is decided",
    "doubt-resubmitted": "the doubt is queued again, no message is sent",
    "doubt-held": "the doubt is held for a person",
    "credits-seen": "the credits were read once since something was in doubt, nothing is judged",
    "proved-uncharged": "one doubt that was not charged is queued again, no message is sent",
    # outcomes leave Redis
    "outcomes-set-apart": "a part of the outcomes is set apart, it is not in the bucket",
    "outcomes-written": "the part lies in the bucket and in Redis",
    "outcomes-dropped": "the part lies in the bucket alone",
    # a batch ends
    "finish-begun": "everything is over, nothing of the report is written",
    "report-written": "the report and `summary.json` lie in the bucket, the ledger does not know",
    "finish-marked": "the ledger knows of the report, the batch is still open",
    "batch-done": "the batch is done, it still lies in Redis",
}
"""Every place, and how things stand there."""

EVENT_PLACES: Mapping[str, str] = {
    "recording": "{event} has happened to a job, nothing of it is recorded",
    "recorded": "{event} is recorded, nothing is done about it",
}
"""Places that exist once for each event that an edit writes down, as `recorded:Accepted`."""

_NOT_WRITTEN_DOWN = ("Begun", "Held", "Resubmitted")
"""The gate and the settling of doubts carry these out, with places of their own."""


class _Armed:
    def __init__(self, place: str, times: int) -> None:
        self.place = place
        self._left = times
        self._lock = threading.Lock()

    def reached(self, place: str) -> None:
        if place != self.place:
            return
        with self._lock:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


_armed: _Armed | None = None


def crashpoint(place: str, event: Event | None = None) -> None:
    """Do nothing, unless this process was armed to die here."""
    if _armed is not None:
        _armed.reached(place if event is None else f"{place}:{type(event).__name__}")


def names() -> Iterator[str]:
    """Yield every place by the name that arms it."""
    yield from PLACES
    events = sorted({event.__name__ for event in _events(Event)} - {*_NOT_WRITTEN_DOWN})
    for place in EVENT_PLACES:
        yield from (f"{place}:{event}" for event in events)


def arm(wish: str) -> None:
    """Let this process die at `place`, or, as `place*3`, the third time that it comes there.

    Raises:
        ValueError: there is no such place.
    """
    global _armed
    place, _, times = wish.partition("*")
    if place not in names() or not (times or "1").isdigit() or int(times or "1") < 1:
        raise ValueError(f"there is no place {wish}; jobs/crashpoints.py lists them")
    _armed = _Armed(place, int(times or "1"))


def _events(kind: type[Event]) -> Iterator[type[Event]]:
    for event in kind.__subclasses__():
        yield event
        yield from _events(event)
