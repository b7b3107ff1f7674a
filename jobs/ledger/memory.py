"""The ledger in plain dicts under one lock: the twin of `jobs.ledger.redis`, for tests of the core.

It lives in one process and forgets everything at its end. Time is the clock that it is given, so a test moves it.
What each method promises is written in `jobs.ledger.port`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from jobs.batch import Batch, BatchState, Progress
from jobs.errors import Superseded
from jobs.job import Job, Order, State
from jobs.ledger.books import Books, Expiring, Hot, money_moved
from jobs.ledger.change import (
    ASIDE_AGAIN_S,
    FILED_S,
    LEASE_S,
    RESEND_S,
    TOLD_S,
    TOMBSTONE_S,
    Change,
    Index,
    Seat,
    holds_slot,
)
from jobs.ledger.memory_gate import Gate, MemoryGate
from jobs.ledger.memory_places import pool
from jobs.ledger.news import Freed
from jobs.ledger.port import NO_STEPS, Claim, Recorded, Restored, Steps
from jobs.models import Catalogue
from jobs.money import NO_CAPS, Caps, Sums

_ASKED_AGAIN = {"paused": RESEND_S, "stopped": RESEND_S, "aside": ASIDE_AGAIN_S}
"""So soon a queued job that cannot be claimed is found again."""


class MemoryLedger(MemoryGate):
    """Keeps the contract of `jobs.ledger.port.Ledger` in the memory of one process."""

    def __init__(self, catalogue: Catalogue, *, clock: Callable[[], float]) -> None:
        super().__init__(catalogue, clock)
        self._ended: Expiring[bool] = Expiring(clock)
        self._told: Expiring[bool] = Expiring(clock)
        self._ops: Expiring[bool] = Expiring(clock)

    # -- batches

    def open_batch(self, batch: Batch) -> bool:
        with self._lock:
            if batch.id in self._books:
                return False
            self._books[batch.id] = Books.opened(batch)
            return True

    def batch(self, batch: str) -> tuple[Batch, Progress] | None:
        with self._lock:
            books = self._books.get(batch)
            return (books.batch, books.progress()) if books else None

    def batches(self) -> Sequence[str]:
        with self._lock:
            return list(self._books)

    def set_state(
        self,
        batch: str,
        state: BatchState,
        reason: str,
        *,
        only_from: Sequence[BatchState],
        only_reason: str | None = None,
        about: Mapping[str, Any] | None = None,
        opening: str = "",
    ) -> bool:
        with self._lock:
            books = self._opened(batch, opening)
            if books is None:
                return False
            if (books.state, books.reason) == (state, reason):
                return True
            if books.state not in only_from or only_reason not in (None, books.reason):
                return False
            books.state, books.reason, books.about = state, reason, dict(about or {})
            if state in (BatchState.OPEN, BatchState.CANCELLED):
                for job in filter(lambda job: self._indexes.holds(job, Index.DUE), books.jobs):
                    self._indexes.put(job, Index.DUE, self.now())
                    self._hot[job].job = replace(self._hot[job].job, not_before=0.0)
            return True

    def _opened(self, batch: str, opening: str) -> Books | None:
        """Return a batch's books, if it is the opening of it that is meant; empty means any."""
        books = self._books.get(batch)
        return books if books and opening in ("", books.opening) else None

    def resume_groups(self, batch: str, group: str = "") -> None:
        with self._lock:
            books = self._books.get(batch)
            freed = books.ends.resume(group) if books else set()
            for job in books.jobs if books else ():
                if self._hot[job].job.order.bound in freed and self._indexes.holds(job, Index.DUE):
                    self._indexes.put(job, Index.DUE, self.now())
                    self._hot[job].job = replace(self._hot[job].job, not_before=0.0)

    def set_ceiling(self, batch: str, micros: int) -> None:
        with self._lock:
            if batch in self._books:
                self._books[batch].ceiling = micros

    def say_of_credits(self, batch: str, said: str) -> None:
        with self._lock:
            if batch in self._books:
                self._books[batch].credits = json.loads(said)

    def mark_finished(self, batch: str, *, opening: str = "") -> bool:
        with self._lock:
            books = self._opened(batch, opening)
            if books is not None:
                books.finished_at = self.now()
            return books is not None

    def stage(self, batch: str, group: str, rows: int) -> None:
        with self._lock:
            books = self._books.get(batch)
            if books and group in books.staged:
                books.staged[group] = max(books.staged[group], rows)

    def feed(
        self,
        batch: str,
        group: str,
        cursor: int,
        orders: Sequence[Order],
        *,
        low: int,
        round_: int = 1,
        steps: Steps = NO_STEPS,
        opening: str = "",
    ) -> bool:
        with self._lock:
            books = self._opened(batch, opening)
            if books is None or books.state is not BatchState.OPEN:
                return False
            to = cursor + len(orders) if steps.to is None else steps.to
            if not books.step(group, cursor, to, steps):
                return False
            for order in orders:
                self._create(order, round_, books)
            books.low[group] = low
            books.fed_at.pop(group, None)
            return True

    def _create(self, order: Order, round_: int, books: Books) -> None:
        now = self.now()
        self._hot[order.job] = Hot(Job(order=order, round=round_, queued_at=now, fence=round(now * 1000)))
        self._indexes.put(order.job, Index.DUE, now + RESEND_S)
        books.jobs.add(order.job)
        books.counts[str(State.QUEUED)] += 1
        books.hot[order.limit_group] += 1

    def restore(self, batch: Batch, restored: Restored) -> bool:
        with self._lock:
            if not self.open_batch(batch):
                return False
            books = self._books[batch.id]
            books.restore(restored)
            for order in restored.orders:
                self._create(order, batch.round, books)
            return True

    def restore_day(self, day: str, sums: Mapping[str, Sums]) -> None:
        with self._lock:
            for key, known in sums.items():
                self._days.at_least(day, key, known)

    # -- outcomes, and the end

    def jobs_of(self, batch: str) -> Sequence[str]:
        with self._lock:
            return sorted(self._books[batch].jobs) if batch in self._books else []

    def take_outcomes(self, batch: str) -> tuple[int, Sequence[str]] | None:
        with self._lock:
            return self._books[batch].set_apart() if batch in self._books else None

    def drop_outcomes(self, batch: str, part: int) -> None:
        with self._lock:
            books = self._books.get(batch)
            if books and books.pending and books.pending[0] == part:
                books.pending = None

    def outcomes(self, batch: str) -> Sequence[str]:
        with self._lock:
            books = self._books.get(batch)
            return [*(books.pending[1] if books.pending else ()), *books.outcomes] if books else []

    def outcomes_waiting(self, batch: str) -> tuple[int, float]:
        with self._lock:
            return self._books[batch].outcomes_waiting(self.now()) if batch in self._books else (0, 0.0)

    def forget(self, batch: str, *, if_flushed: bool = False, opening: str = "") -> bool:
        with self._lock:
            if batch not in self._books:
                return True
            books = self._opened(batch, opening)
            if books is None or (if_flushed and (books.jobs or books.outcomes or books.pending)):
                return False
            for job in books.jobs:
                self._let_go(self._hot.pop(job))
            del self._books[batch]
            return True

    def _let_go(self, hot: Hot) -> None:
        """Give back what a job had open that leaves without an end; its slot stays to the strays."""
        job = hot.job
        withheld = hot.reserve if hot.seat == Seat.HELD else 0
        moved = {"reserved": -hot.reserve, "unproved": -hot.unproved, "withheld": -withheld}
        self._days.add(job.day, job.key_id, moved)
        if self._bought.get(job.fingerprint) == job.id:
            del self._bought[job.fingerprint]
        self._indexes.put(job.id, Index.NONE)

    # -- jobs

    def load(self, job: str) -> Job | None:
        with self._lock:
            return self._hot[job].job if job in self._hot else None

    def claim(self, job: str, owner: str, *, spool: str = "") -> Claim:
        with self._lock:
            hot = self._hot.get(job)
            if hot is None:
                return Claim(job=None, why="final" if self._ended.get(job) else "missing")
            books = self._books[hot.job.order.batch]
            if why := self._not_claimable(hot, books, spool):
                if again := _ASKED_AGAIN.get(why):
                    self._indexes.put(job, Index.DUE, self.now() + again)
                if why in (Seat.STOPPED, Seat.ASIDE):
                    books.take_seat(hot, why)
                return Claim(job=None, why=why)
            self._indexes.put(job, Index.LEASES, self.now() + LEASE_S)
            hot.job = replace(hot.job, fence=hot.job.fence + 1, owner=owner, not_before=0.0)
            if hot.job.state is State.QUEUED:
                books.take_seat(hot, Seat.HOT)
            return Claim(job=hot.job, batch_state=books.state, weight=books.weight)

    def _not_claimable(self, hot: Hot, books: Books, spool: str) -> str:
        job = hot.job
        if job.state is State.IN_DOUBT:
            return "doubt"
        if job.owner:
            return "owned"
        if job.state is State.KEPT and job.spool != spool:
            return "elsewhere"
        if job.not_before > self.now() and books.state is not BatchState.CANCELLED:
            return "early"
        if job.state is State.QUEUED and books.state is BatchState.PAUSED:
            return "paused"
        if job.state is not State.QUEUED or books.state is not BatchState.OPEN:
            return ""
        if job.order.bound in books.ends.stops:
            return "stopped"
        return "aside" if books.leaves_its_place(hot) else ""

    def record(self, before: Job, after: Job, *, op: str = "") -> Recorded:
        with self._lock:
            if op and self._ops.get(op):
                books = self._books.get(after.order.batch)
                return Recorded(none_left=after.final and (books is None or not books.jobs))
            recorded = self._move(before, after, self._budget)
            if op and recorded.closed is None:
                self._ops.put(op, True, TOLD_S)
            return recorded

    def begin(
        self, before: Job, after: Job, *, looked_at: float = 0.0, caps: Caps = NO_CAPS, only_ask: bool = False
    ) -> Recorded:
        with self._lock:
            begun = self._move(before, after, partial(self._asked if only_ask else self._gate, looked_at, caps))
            if begun.closed is not None or only_ask:
                return begun
            self._epoch = replace(self._epoch, intents=self._epoch.intents + 1)
            self._trusted = replace(self._trusted, intents=self._epoch.intents)
            self._hot[after.id].job = replace(self._hot[after.id].job, intent=self._epoch.intents)
            more = not self._is_full(after.account, after.order.limit_group, lowered=True)
            return replace(begun, intent=self._epoch.intents, more=more)

    def resubmit(self, before: Job, after: Job) -> Recorded:
        return self._move(before, after, self._allowance)

    def _move(self, before: Job, after: Job, gate: Gate | None) -> Recorded:
        with self._lock:
            change = Change.of(before, after, self.now())
            hot = self._standing(before, after.fence)
            books = self._books[change.batch]
            said = gate(change, hot, books) if gate else change
            return said if isinstance(said, Recorded) else self._carry_out(said, after, hot, books)

    def _standing(self, before: Job, fence: int) -> Hot:
        hot = self._hot.get(before.id)
        if hot is None or _version(hot.job) != _version(before):
            raise Superseded(f"{before.id} was moved by somebody else")
        if fence != before.fence and hot.job.sent != before.sent:
            raise Superseded(f"{before.id} was sent since it was read")
        return hot

    def _carry_out(self, change: Change, after: Job, hot: Hot, books: Books) -> Recorded:
        self._move_slot(change)
        reserve, unproved, moved = money_moved(change, hot)
        books.count(change, moved, self.now())
        self._days.add(change.day, change.key, moved)
        if change.fingerprint_to != "keep" and self._bought.get(change.fingerprint) == change.job:
            del self._bought[change.fingerprint]
            if change.fingerprint_to == "filed":
                self._filed.put(change.fingerprint, self.now(), FILED_S)
        books.take_seat(hot, change.seat)
        found_at = self.now() + LEASE_S if change.index == Index.LEASES else change.index_at_ms / 1000
        self._indexes.put(change.job, Index(change.index), found_at)
        if change.outcome:
            books.add_outcome(change.outcome, self.now())
        if change.final:
            books.jobs.discard(change.job)
            del self._hot[change.job]
            self._ended.put(change.job, True, TOMBSTONE_S)
        hot.job = replace(after, not_before=change.not_before_ms / 1000)
        hot.reserve, hot.unproved, hot.paid = reserve, unproved, change.paid
        feed_wanted = books.wants_feed(change.group, self.now())
        return Recorded(feed_wanted=feed_wanted, none_left=change.final and not books.jobs and not feed_wanted)

    def _move_slot(self, change: Change) -> None:
        found = change.was_state == State.IN_DOUBT and change.state == State.RUNNING
        if change.slot and change.fingerprint and (found or change.slot != change.was_slot):
            self._bought[change.fingerprint] = self._bought_by(change.fingerprint) or change.job
        if change.slot == change.was_slot:
            return
        pools = [pool(change.account, group.name) for group in self._catalogue.lineage(change.group)]
        self._slots.move(pools, change.was_slot, change.slot)
        if change.was_slot:
            by = "" if self._books[change.batch].weight else change.freed_by
            self._tell_freed(Freed(account=change.account, group=change.group, by=by))

    def mark_sent(self, job: Job) -> Job:
        with self._lock:
            hot = self._standing(replace(job, state=State.SUBMITTING), job.fence)
            if not hot.job.sent and self._books[job.order.batch].state is not BatchState.OPEN:
                raise Superseded(f"{job.id} may not be sent any more: its batch is not open")
            hot.job = replace(hot.job, sent=True)
            return replace(job, sent=True)

    def late_receipt(self, batch: str, line: str, cost: int, *, day: str = "", key: str = "") -> bool:
        with self._lock:
            books = self._books.get(batch)
            if not self._told.get(line):
                self._told.put(line, True, TOLD_S)
                self._days.add(day, key, {"settled": cost, "unsure": 1})
                if books is not None:
                    books.sums.update({"settled": cost, "duplicates": 1, "duplicates_cost": cost})
                    books.add_outcome(line, self.now())
            return books is not None

    def money(self, day: str, key: str = "") -> Sums:
        with self._lock:
            return self._days.sums(day, key)

    # -- housekeeping

    def remove_strays(self) -> int:
        with self._lock:
            freed = self._slots.remove_strays(self._holds)
            if freed:
                self._tell_freed(Freed(group="strays"))
            return freed

    def _holds(self, member: str) -> bool:
        hot = self._hot.get(member.rpartition(":")[0])
        return hot is not None and hot.job.slot == member and holds_slot(hot.job)


def _version(job: Job) -> tuple[State, int, int, bool]:
    return job.state, job.attempt, job.fence, job.held
