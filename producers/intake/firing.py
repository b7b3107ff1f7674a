"""Carries out one firing of a schedule: plans its manifest, holds it or opens its batch, and writes the record.

However often it is asked for, and by however many, a firing is one batch: its id follows from the schedule and the
time, one lock is held while it is worked on, and whoever comes after a crash goes on from what lies in the bucket.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import datetime

from jobs.outcome import usd
from producers.intake.desk import Desk, alone
from producers.intake.opening import ERRORS, Asked, open_planned, stands, write_plan
from producers.intake.options import of_schedule
from producers.intake.seen import Seen
from producers.intake.source import fetched, last_written
from producers.manifest.problems import ManifestError
from producers.plan import Plan
from producers.schedules.cron import stamp
from producers.schedules.failures import TAKEN_ALONG
from producers.schedules.file import Schedule
from producers.schedules.history import HELD, MISSED, OPENED, PAUSED, History, Record
from producers.schedules.hold import Night, why_held
from producers.submit import batch_id

DRAFT = "firing.json"
SETTLES_WITHIN_S = 3600.0
"""A source that is written to for longer than this holds the run."""


def batch_of(schedule: Schedule, firing: datetime, *, by_hand: bool = False) -> str:
    """Return the id of a firing's batch: the same on every machine."""
    token = hashlib.sha256(f"{schedule.name}\n{stamp(firing)}\n{by_hand}".encode()).hexdigest()[:4]
    return batch_id(schedule.name, firing, token)


def fire(
    schedule: Schedule, firing: datetime, desk: Desk, *, by_hand: bool = False, anyway: bool = False
) -> Record | None:
    """Carry out a firing; None if it has been, if somebody else is at it, or if it is not time yet.

    Where it opened a batch of local pictures, these are still to be staged.

    Args:
        schedule: what is run.
        firing: the time of the clock that it is run for, or now for a run by hand.
        desk: the records.
        by_hand: a person asks; a pause and the settle time do not matter then.
        anyway: do not hold it.

    Raises:
        LedgerError, StorageError: they are away; ask again later.
        Lost: somebody else has taken over.
    """
    history = History(schedule.name, desk.bucket, desk.layout)
    if history.has(firing, by_hand=by_hand):
        return None
    with alone(desk, f"schedule:{schedule.name}") as still_ours:
        if still_ours is None or history.has(firing, by_hand=by_hand):
            return None
        blank = Record(
            schedule=schedule.name, firing=stamp(firing), outcome=HELD, at=desk.ledger.now(), by_hand=by_hand
        )
        run = _Run(schedule, firing, desk, history, blank, anyway=anyway)
        record = run.again()
        if record is None and not by_hand:
            record = run.not_now()
        if record is None:
            try:
                if not by_hand and run.unsettled():
                    return None
                record = run.begin(still_ours)
            except ManifestError as error:
                record = replace(blank, why=str(error))
        history.write(record)
        return record


def let_go(schedule: Schedule, firing: datetime, desk: Desk) -> bool:
    """Record that a firing was missed; False if somebody is at it, or has begun it and it is to be run."""
    history = History(schedule.name, desk.bucket, desk.layout)
    if history.has(firing):
        return True
    with alone(desk, f"schedule:{schedule.name}") as still_ours:
        if still_ours is None:
            return False
        if not history.has(firing):
            if stands(desk, batch_of(schedule, firing)) is not None:
                return False
            why = f"Nobody ran it in time, and catch_up is {schedule.catch_up}."
            missed = Record(schedule=schedule.name, firing=stamp(firing), outcome=MISSED, at=desk.ledger.now(), why=why)
            history.write(missed)
        return True


class _Run:
    def __init__(
        self, schedule: Schedule, firing: datetime, desk: Desk, history: History, blank: Record, *, anyway: bool
    ) -> None:
        self._schedule = schedule
        self._firing = firing
        self._desk = desk
        self._history = history
        self._blank = blank
        self._anyway = anyway
        self._id = batch_of(schedule, firing, by_hand=blank.by_hand)

    def again(self) -> Record | None:
        """Go on with what was begun before a crash: the plan is whole then, and so is its record."""
        batch = stands(self._desk, self._id)
        if batch is None:
            return None
        open_planned(batch, self._desk)
        return Record.from_json(self._desk.bucket.get(self._draft).decode())

    def not_now(self) -> Record | None:
        """Return the record of a firing that a pause passes over."""
        if not self._history.paused:
            return None
        why = f"The schedule is paused: `retouch schedule pause {self._schedule.name} --off` lets it go on."
        return replace(self._blank, outcome=PAUSED, why=why)

    def unsettled(self) -> bool:
        """Whether something of the source was written a moment ago; a time far in the future is not believed.

        Raises:
            ManifestError: it has been so for an hour.
        """
        now = self._desk.now()
        written = last_written(self._schedule, self._desk)
        if abs(now.timestamp() - written) >= self._schedule.settle_s:
            return False
        if (now - self._history.waiting_since(self._firing, now)).total_seconds() > SETTLES_WITHIN_S:
            raise ManifestError("the source has been written to for over an hour", remedy="when does the export end?")
        return True

    def begin(self, still_ours: Callable[[], None]) -> Record:
        """Plan, then hold or open."""
        opened = self._history.opened()
        last = opened[-1] if opened else None
        flags = self._schedule.flags
        with fetched(self._schedule, self._desk) as (path, table):
            asked = Asked(
                batch=self._id,
                path=path,
                source=self._schedule.source,
                options=of_schedule(self._schedule, self._desk.settings, table=table),
                overwrite=flags.overwrite,
                fresh=flags.fresh,
                priority=self._schedule.priority,
                by=self._schedule.due_after(self._desk.ledger.now()),
            )
            drafted: list[Record] = []
            with self._desk.known(asked.name, fresh=flags.fresh) as known:
                seen = Seen(self._history.known_rows(last), self._history.failures(last), known, self._desk.bucket)

                def judge(made: Plan) -> str:
                    drafted.append(self._judged(made, seen, [each.night for each in opened]))
                    if not drafted[0].why:
                        self._history.remember(self._id, seen.marks, seen.failures)
                        self._put_draft(drafted[0])
                    return drafted[0].why

                _, batch, _ = write_plan(
                    asked, self._desk, known, still_ours=still_ours, refuse=judge, wanted=seen.wanted, last=seen.last
                )
            if batch is not None:
                open_planned(batch, self._desk)
        return drafted[0]

    def _judged(self, made: Plan, seen: Seen, earlier: Sequence[Night]) -> Record:
        """Return the record of the run: opened, or held with the reason why."""
        delta, why = seen.delta, ""
        if not made.rows:
            why = f"None of its {made.invalid:,} rows can be used."
        elif seen.left_out == made.rows:
            why = f"All of its {made.rows:,} rows failed in {TAKEN_ALONG + 1} runs, and none has changed."
        elif not self._anyway:
            found = Night(rows=made.rows + made.invalid, invalid=made.invalid, delta=delta)
            why = why_held(found, earlier, self._schedule.tolerance)
        return replace(
            self._blank,
            outcome=HELD if why else OPENED,
            batch="" if why else self._id,
            rows=made.rows + made.invalid,
            invalid=made.invalid,
            left_out=seen.left_out,
            delta=delta,
            expected_usd=usd(made.estimate.expected),
            at_most_usd=usd(made.estimate.at_most),
            without_picture=made.unmatched,
            errors=self._desk.layout.batch(self._id, ERRORS) if made.errors_csv is not None else "",
            why=why,
        )

    @property
    def _draft(self) -> str:
        return self._desk.layout.batch(self._id, DRAFT)

    def _put_draft(self, record: Record) -> None:
        data = json.dumps(asdict(record), ensure_ascii=False).encode()
        self._desk.bucket.put(self._draft, data, content_type="application/json")
