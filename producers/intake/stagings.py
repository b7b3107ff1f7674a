"""Brings the local pictures of scheduled batches into the bucket, beside whatever else an intake does.

That takes as long as the batch itself, since it stays a little ahead of the feed. So a firing is recorded once its
batch is open, and an intake that starts looks for batches that another one has left half staged.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Lock

import structlog

from jobs.batch import Batch, BatchState
from jobs.errors import RetouchError
from producers.intake.desk import Desk, alone
from producers.intake.opening import stands
from producers.schedules.file import Schedule, ScheduleError, read_schedules
from producers.schedules.history import History
from producers.staging import ENDED, Staging, left

AT_ONCE = 4
AGAIN_S = 30.0

log = structlog.get_logger(__name__)


class Stagings:
    """The stagings of one intake. `again_s` is how long it waits after a failure, and for another that is at it."""

    def __init__(self, desk: Desk, *, again_s: float = AGAIN_S) -> None:
        self._desk = desk
        self._again_s = again_s
        self._stop = Event()
        self._lock = Lock()
        self._begun: set[str] = set()
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="stagings")

    def begin(self, schedule: Schedule, batch: str) -> None:
        """Stage what is left of a batch of a schedule, if its files lie on this machine; returns at once."""
        places = (place for place in schedule.places if not place.startswith("s3://"))
        if not all(Path(place).exists() for place in places):
            return  # another machine's: staged from here, its pictures would be missing
        with self._lock:
            if batch in self._begun:
                return
            self._begun.add(batch)
        self._pool.submit(self._run, batch)

    def resume(self) -> None:
        """Go on with what an intake that has ended had begun; returns at once."""
        self._pool.submit(self._find)

    def close(self) -> None:
        """Stop after the chunks that are being uploaded; what is left pauses its batch until an intake goes on."""
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def _find(self) -> None:
        while not self._stop.is_set():
            try:
                for schedule in read_schedules(self._desk.settings.schedules).values():
                    for record in History(schedule.name, self._desk.bucket, self._desk.layout).opened():
                        self.begin(schedule, record.batch)
            except ScheduleError:
                return
            except RetouchError as error:
                log.warning("what was left half staged is looked for again", why=str(error))
                self._stop.wait(self._again_s)
            else:
                return

    def _run(self, id_: str) -> None:
        try:
            while not self._stop.is_set():
                try:
                    batch = stands(self._desk, id_)
                    if batch is None or not batch.local or self._staged(batch):
                        return
                except RetouchError as error:
                    log.warning("not staged, it will be tried again", batch=id_, why=str(error))
                self._stop.wait(self._again_s)
        finally:
            with self._lock:
                self._begun.discard(id_)

    def _staged(self, batch: Batch) -> bool:
        """Stage what is left, unless somebody else is at it; return whether nothing is left to be done."""
        desk = self._desk
        with alone(desk, f"staging:{batch.id}") as still_ours:
            found = desk.ledger.batch(batch.id)
            if found is None or found[1].state in ENDED or not left(batch, found[1]):
                return True
            if still_ours is None:
                return False
            if found[1].reason == "staging":
                desk.ledger.set_state(batch.id, BatchState.OPEN, "", only_from=(BatchState.PAUSED,))
            staging = Staging(
                batch,
                bucket=desk.bucket,
                layout=desk.layout,
                ledger=desk.ledger,
                hints=desk.hints,
                memory=desk.settings.data_dir,
            )
            return staging.run(self._stop)
