"""What the beat does at each turn: it sends firings that are due and uploads that have arrived to the intake.

It decides nothing. Any number of beats may run: one of them holds the lock, and a message that comes twice, or from
two of them, changes nothing. A message that was lost is sent again until its work is recorded.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from datetime import datetime

import structlog

from jobs.queues import PLAN_FIRING, PLAN_UPLOAD
from producers.inbox.place import inbox_of, uploads
from producers.intake.desk import Desk
from producers.intake.firing import let_go
from producers.schedules.cron import LOOK_BACK, stamp
from producers.schedules.due import due
from producers.schedules.file import Schedule, ScheduleError, read_schedules
from producers.schedules.history import History

EVERY_S = 5.0
LOCK_S = 20.0
AGAIN_S = 30.0
LONGEST_S = 900.0
"""Where no intake runs, messages wait in the queue; each further one comes after twice the time, up to this."""
UPLOADS_AT_ONCE = 200
_LET_GO_AT_ONCE = 10

log = structlog.get_logger(__name__)

Send = Callable[[str, tuple[str, ...]], None]


class Beat:
    """One beat. `again_s` is after how many seconds a message that nothing came of is sent again."""

    def __init__(
        self, desk: Desk, send: Send, *, again_s: float = AGAIN_S, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._desk = desk
        self._send = send
        self._again_s = again_s
        self._monotonic = monotonic
        self._token = uuid.uuid4().hex
        self._since: dict[str, datetime] = {}
        self._sent: dict[tuple[str, ...], tuple[float, float]] = {}
        """When a message may be sent again, and how long to wait after that."""
        self._look_at = 0.0
        self._complained = ""

    def once(self) -> float:
        """Send what is due; return how many seconds until it should be looked again.

        Raises:
            LedgerError, StorageError: they are away.
        """
        desk = self._desk
        if not desk.ledger.lock("beat", self._token, LOCK_S):
            self._since.clear()  # who holds the lock moves on; start from the records when it is ours again
            return EVERY_S
        now = desk.now()
        waits = [EVERY_S]
        for schedule in self._schedules():
            self._see_to(schedule, now)
            following = schedule.times.following(now)
            if following is not None:
                waits.append(max((following - now).total_seconds(), 0.05))
        if self._monotonic() >= self._look_at:
            self._look_at = self._monotonic() + desk.settings.inbox.look_s
            self._look_into_inbox()
        waits.append(max(self._look_at - self._monotonic(), 0.05))
        return min(waits)

    def close(self) -> None:
        """Give the lock to another beat."""
        self._desk.ledger.unlock("beat", self._token)

    def _schedules(self) -> list[Schedule]:
        path = self._desk.settings.schedules
        if not path.exists():
            return []
        try:
            found = list(read_schedules(path).values())
        except ScheduleError as error:
            if str(error) != self._complained:
                log.error("no schedule runs", why=str(error))  # noqa: TRY400 - the message says all
            self._complained = str(error)
            return []
        self._complained = ""
        return found

    def _see_to(self, schedule: Schedule, now: datetime) -> None:
        name = schedule.name
        history = History(name, self._desk.bucket, self._desk.layout)
        if name not in self._since:
            self._since[name] = max(history.seen_until() or history.begun(now), now - LOOK_BACK)
        found = due(schedule.times.between(self._since[name], now), now, schedule.catch_up)
        for firing in found.missed[-_LET_GO_AT_ONCE:]:
            if not let_go(schedule, firing, self._desk):
                self._ask_for(PLAN_FIRING, name, stamp(firing))  # it was begun: its end is to be recorded
                return
            self._since[name] = firing
        for firing in found.run:
            if not history.has(firing):
                self._ask_for(PLAN_FIRING, name, stamp(firing))
                return  # one after the other: a night is judged by the night before
            self._since[name] = firing

    def _look_into_inbox(self) -> None:
        seen = [(upload.key, upload.etag) for upload in uploads(self._desk.bucket, inbox_of(self._desk.layout))]
        gone = {sent for sent in self._sent if sent[0] == PLAN_UPLOAD} - {(PLAN_UPLOAD, *each) for each in seen}
        for sent in gone:
            del self._sent[sent]
        for key, etag in seen[:UPLOADS_AT_ONCE]:
            self._ask_for(PLAN_UPLOAD, key, etag)

    def _ask_for(self, task: str, *args: str) -> None:
        now = self._monotonic()
        again_at, wait = self._sent.get((task, *args), (now, self._again_s))
        if now >= again_at:
            self._sent[task, *args] = (now + wait, min(2 * wait, LONGEST_S))
            self._send(task, args)
