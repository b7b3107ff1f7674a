"""The tick: every 2 s one worker process looks for what was forgotten, and sends a message for it.

It is a thread of its own, neither a Celery task nor a timer of Celery's hub (which stops while the broker is being
reached again). It decides nothing about money: lapsed jobs are moved by the table, everything else is a hint.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import structlog

from config.heartbeat import Heartbeat
from jobs.batch import Batch, BatchState, Progress
from jobs.crashpoints import crashpoint
from jobs.errors import LedgerError, StorageError, Superseded
from jobs.events import Doubted, Event, GivenBack, NotSubmitted
from jobs.job import Job, State
from jobs.ledger.change import Closed
from jobs.ledger.seen import WorkerSeen
from jobs.money import Reached
from jobs.queues import EDIT, FEED, FINISH, FLUSH, SETTLE
from jobs.states import apply
from workers.creditwatch import CreditWatch
from workers.desk import Desk
from workers.feed import go_on_after_doubts, pause_if_stopped, pause_in_doubt, stuck_in_doubt, wants
from workers.finish import over
from workers.keeper import RENEW_S
from workers.keywatch import KeyWatch
from workers.sharing import share_out

EVERY_S = 2.0
LOCK_S = 6.0
AT_ONCE = 200
FLUSH_LINES, FLUSH_AGE_S = 500, 5.0
STRAYS_EVERY_S = 60.0

log = structlog.get_logger(__name__)


class Tick:
    """The housekeeping thread of a process. Whichever process holds the lock does the work."""

    def __init__(self, desk: Desk, heart: Heartbeat | None = None) -> None:
        self._desk = desk
        self._heart = heart or Heartbeat(None)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._go, name="tick", daemon=True)
        self._strays_at = time.monotonic() + STRAYS_EVERY_S
        self._take_over_at = 0.0
        self._keys = KeyWatch(desk)
        self._credits = CreditWatch(desk)

    def start(self) -> None:
        """Begin to tick."""
        self._thread.start()

    def close(self) -> None:
        """Stop after the tick that is under way."""
        self._closed.set()

    def _go(self) -> None:
        wait = 0.0  # a new worker shows itself at once
        while not self._closed.wait(wait):
            wait, answered = EVERY_S, True
            try:
                self.once()
            except LedgerError as error:
                answered = False
                # Leases have lapsed meanwhile; who is alive renews his own first.
                self._take_over_at = time.monotonic() + RENEW_S + EVERY_S
                log.warning("tick without Redis", why=str(error))
            except Exception:
                log.exception("tick failed")
            self._beat(redis=answered)

    def _beat(self, *, redis: bool) -> None:
        try:
            if not self._heart.beat(redis=redis):
                log.warning("Celery's loop stands still although Redis answers")
        except OSError as error:
            log.warning("no heartbeat", why=str(error))

    def once(self) -> None:
        """Show that this process is alive and, with the lock, look after everything once."""
        desk = self._desk
        now = desk.now()
        away = dict(desk.away.lasting())
        if desk.storage.trouble:
            away["storage"] = desk.storage.trouble
        about = {"away": away, "keys": list(desk.keys.ids), "unnamed": list(desk.keys.unnamed)}
        seen = WorkerSeen(id=desk.owner, threads=desk.threads, edits=desk.keeper.held(), seen_at=now, about=about)
        desk.ledger.see_worker(seen)
        self._told(desk.epoch.look)
        self._keys.look()
        self._guarded(partial(desk.pace.share, desk.catalogue.models, desk.ledger.learn))
        desk.limits.look()
        if not desk.ledger.lock("tick", desk.owner, LOCK_S):
            return
        self._told(desk.epoch.write)
        self._guarded(self._keys.probe)
        for job in desk.ledger.lapsed(AT_ONCE) if time.monotonic() >= self._take_over_at else ():
            self._guarded(partial(take_over, job, desk), job=job.id)
        for hint in desk.ledger.due(AT_ONCE):
            desk.send(EDIT, hint.job, paid=hint.paid)
        for job_id in desk.ledger.doubts_due(AT_ONCE):
            desk.send(SETTLE, job_id)
        self._guarded(self._credits.look)
        self._guarded(partial(share_out, desk))
        for batch_id in desk.ledger.batches():
            self._guarded(partial(self._look_after, batch_id), batch=batch_id)
        if time.monotonic() >= self._strays_at:
            self._strays_at = time.monotonic() + STRAYS_EVERY_S
            if freed := desk.ledger.remove_strays():
                log.warning("stray slots freed", slots=freed)

    @staticmethod
    def _told(look: Callable[[], None]) -> None:
        """Look at the ledger's life; storage that is away must not keep the tick from the rest."""
        try:
            look()
        except StorageError as error:
            log.warning("the ledger's life not seen", why=str(error))
        except LedgerError:
            raise
        except Exception:
            log.exception("the ledger's life not seen")

    @staticmethod
    def _guarded(look: Callable[[], object], **about: str) -> None:
        """Look at one thing; what is wrong with it must not keep the tick from all others."""
        try:
            look()
        except LedgerError:
            raise
        except Exception:
            log.exception("tick failed at one of many", **about)

    def _look_after(self, batch_id: str) -> None:
        desk = self._desk
        found = desk.ledger.batch(batch_id)
        if found is None:
            return
        batch, progress = found
        if progress.state is BatchState.PAUSED and progress.reason == "cap":
            let_go(batch, progress, desk)
        self._keys.let_go(batch_id, progress)
        go_on_after_doubts(batch, progress, desk)
        pause_if_stopped(batch, progress, desk)
        for group in batch.groups:
            if wants(batch, progress, group) and progress.hot.get(group, 0) < max(progress.low.get(group, 1), 1):
                desk.send(FEED, batch_id, group)
        lines, age = desk.ledger.outcomes_waiting(batch_id)
        if lines >= FLUSH_LINES or (lines and age >= FLUSH_AGE_S):
            desk.send(FLUSH, batch_id)
        if progress.state is BatchState.DONE and progress.counts.get(State.QUEUED):
            # A held row was to be asked again, and whoever said so died, or a report was being written.
            desk.ledger.set_state(batch_id, BatchState.OPEN, "", only_from=[BatchState.DONE])
        ended, stuck = over(batch, progress), stuck_in_doubt(batch, progress)
        held_back = self._credits.holds_back(batch_id, progress, over=ended or stuck)
        if stuck and not held_back:
            pause_in_doubt(batch, progress, desk)
        if ended and not held_back and (lines or not (progress.held and progress.finished_at)):
            desk.send(FINISH, batch_id)


def let_go(batch: Batch, progress: Progress, desk: Desk) -> None:
    """Let a batch go on that a day's cap holds, once the day has room: another one has begun, or the cap was raised."""
    reached = Reached.from_json(progress.about) if progress.about else None
    if reached is None or reached.which == Closed.CEILING:
        return
    day, caps = desk.days.book(desk.now(), simulated=batch.simulated), desk.days.caps
    # The room of a parked key is of no use: the batch would go on only to be held again, with every tick.
    usable = [key for key in desk.keys.ids if desk.keys.usable(key)]
    books = [(caps.day, "")] if reached.which == Closed.DAY_CAP else [(caps.key_day, key) for key in usable]
    if any(cap is None or desk.ledger.money(day, key).gone + reached.needed <= cap for cap, key in books):
        only_from = [BatchState.PAUSED]
        if desk.ledger.set_state(batch.id, BatchState.OPEN, "", only_from=only_from, only_reason="cap"):
            log.info("the day has room again", batch=batch.id, day=day)


def take_over(job: Job, desk: Desk) -> None:
    """Move a job whose owner has vanished to where somebody else can go on. Never leads to a POST by itself."""
    event = after_lapse(job, desk)
    crashpoint("lapse-found")
    try:
        # A higher fence: the owner may only be slow, and must not write `sent` behind our back.
        desk.ledger.record(job, replace(apply(job, event, desk.now()), fence=job.fence + 1))
    except Superseded:
        return
    crashpoint("taken-over")
    log.warning("taken over", became=type(event).__name__, **job.log_context())
    if job.receipt is not None:
        desk.send(EDIT, job.id, paid=True)


def take_over_ended(desk: Desk) -> None:
    """Take over what processes had that ended on our disk: their locks are gone, so their leases are not waited for.

    They are forgotten at the next look that finds nothing more of theirs: what one had asked Redis for when it died may
    have come since.

    Raises:
        LedgerError: the ledger cannot be asked; look again later.
    """
    try:
        for user in desk.spool.ended():
            jobs = desk.ledger.held_by(user.owner) if user.lock_is_known else ()
            for job in jobs:
                take_over(job, desk)
            if not jobs:
                crashpoint("ended-taken-over")
                desk.spool.forget(user)
    except OSError as error:
        log.warning("the spool cannot be read", why=error.strerror)


def after_lapse(job: Job, desk: Desk) -> Event:
    """Return what a lapsed lease makes of a job: without the `sent` mark it is proved that nothing was submitted."""
    if job.state is not State.SUBMITTING:
        return GivenBack(wait=0.0, why="lease lapsed")
    if not job.sent:
        return NotSubmitted(wait=0.0, why="lease lapsed before anything was sent")
    wait = desk.doubt_wait(job.order.request.model)
    return Doubted(detail="the worker vanished between the sent mark and the record of the answer", wait=wait)
