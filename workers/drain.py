"""The drain: what lies on this worker's disk goes where it belongs, as soon as that can be reached again.

A thread of its own in each process. While storage is away it asks, once at a time, whether it is back. A kept result
whose job waits for it is stored by that job's own way. One that nobody waits for (its job was given up, bought
again, or forgotten with all of Redis) is filed under its fingerprint and told: it was paid for, and the next run of
its row finds it.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

from jobs.crashpoints import crashpoint
from jobs.errors import LedgerError, RetouchError, StorageError
from jobs.ledger.seen import SpoolSeen
from jobs.outcome import found_line
from jobs.pictures import check_result
from workers.desk import Desk
from workers.edit import edit
from workers.receipts import deliver_receipt
from workers.spool.about import About
from workers.spool.shelf import Kept
from workers.tick import take_over_ended

EVERY_S = 1.0
PROBE_LONGEST_S = 5.0
AGAIN_S = 5.0
"""What could not be put away is tried again after this."""
TELL_S = 60.0
AT_ONCE = 4

log = structlog.get_logger(__name__)


class Drain:
    """Looks after one process's disk until it is closed."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._go, name="drain", daemon=True)
        self._probe_at, self._probe_wait = 0.0, EVERY_S
        self._not_before: dict[Path, float] = {}
        self._told: tuple[float, SpoolSeen | None] = (0.0, None)

    def start(self) -> None:
        """Begin to look, at once: what was noted here before this process began is news to everybody."""
        self._thread.start()

    def close(self) -> None:
        """Stop after what is under way."""
        self._closed.set()

    def _go(self) -> None:
        wait = 0.0
        while not self._closed.wait(wait):
            wait = EVERY_S
            try:
                self.once()
            except RetouchError as error:
                log.warning("the drain waits", why=str(error))
            except Exception:  # without this thread, what is paid for would lie here for ever
                log.exception("the drain failed")

    def once(self) -> None:
        """Look once: who has ended here, is storage back, and what can be put away?"""
        self._take_over()
        self._probe()
        self._tell()
        self.tell_notes()
        if self._desk.storage.trouble:
            return
        if self._desk.unseen is not None:
            self._desk.unseen()
            self._desk.unseen = None
        now = time.monotonic()
        waiting = [kept for kept in self._desk.spool.all() if self._not_before.get(kept.path, 0.0) <= now]
        if waiting:
            with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="drain") as pool:
                list(pool.map(self._put_away, waiting))
            self._tell()

    def _take_over(self) -> None:
        try:
            take_over_ended(self._desk)
        except LedgerError as error:  # whether storage is back is worth to know all the same
            log.warning("who has ended here is not taken over yet", why=str(error))

    def _probe(self) -> None:
        storage, now = self._desk.storage, time.monotonic()
        if not storage.trouble or now < self._probe_at:
            return
        if storage.look():
            self._probe_wait = EVERY_S
            return
        self._probe_at = now + self._probe_wait
        self._probe_wait = min(self._probe_wait * 1.5, PROBE_LONGEST_S)

    def _tell(self) -> None:
        """Say what lies here, when that has changed and now and then: this disk may be asked for when we are gone."""
        at, last = self._told
        seen = self._desk.spool.seen(self._desk.storage.trouble)
        same = last is not None and (last.results, last.trouble, last.full) == (seen.results, seen.trouble, seen.full)
        if not same or time.monotonic() - at > TELL_S:
            self._desk.ledger.see_spool(seen)
            self._told = time.monotonic(), seen

    def tell_notes(self) -> None:
        """Deliver the receipts that could not be recorded in their time.

        Raises:
            LedgerError, StorageError: they still cannot be; the notes stay.
        """
        notes = self._desk.spool.notes
        for note in notes.all():
            deliver_receipt(note.job, note.receipt, self._desk)
            crashpoint("note-told")
            notes.remove(note.path)

    def _put_away(self, kept: Kept) -> None:
        if self._closed.is_set() or self._desk.storage.trouble:
            return
        try:
            put_away(kept, self._desk)
        except (LedgerError, StorageError) as error:
            log.warning("a kept result stays here", job=kept.about.job, why=str(error))
        except Exception:
            log.exception("a kept result stays here", job=kept.about.job)
        if kept.path.exists():
            self._not_before[kept.path] = time.monotonic() + AGAIN_S
        else:
            self._not_before.pop(kept.path, None)


def put_away(kept: Kept, desk: Desk) -> None:
    """Store a kept result, or file it where no job waits for it. Nothing happens while somebody else is at its job.

    Raises:
        LedgerError, StorageError: not now.
    """
    about = kept.about
    job = desk.ledger.load(about.job)
    its_own = job is not None and job.receipt is not None and job.receipt.task_id == about.task_id
    if its_own and edit(about.job, desk) not in ("final", "missing"):
        return
    _file(kept, about, desk)


def _file(kept: Kept, about: About, desk: Desk) -> None:
    """File a result that no job waits for, say so in its batch, and let go of it."""
    data = desk.spool.read(kept)
    if data is None:
        return
    if desk.results.find(about.fingerprint) is None:
        # Told before it is filed: the other way round, a death in between would leave it untold.
        line = found_line(
            batch=about.batch,
            job=about.job,
            row=about.row,
            round_=about.round,
            attempt=about.attempt,
            task_id=about.task_id,
            fingerprint=about.fingerprint,
            paid=about.cost,
            day=about.day,
            key=about.key_id,
        )
        desk.bucket.put(
            desk.layout.found(about.batch, about.task_id),
            f"{line}\n".encode(),
            content_type="application/x-ndjson",
        )
        crashpoint("result-told")
    picture = check_result(data, content_length=None)
    filed = desk.results.file(about.fingerprint, data, picture, job=about.job, batch=about.batch, fresh=False)
    crashpoint("result-put-away")
    log.warning("filed a paid result that no job waited for", job=about.job, key=filed.key)
    desk.spool.remove(kept)
