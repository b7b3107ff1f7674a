"""Settles what is held in doubt by the credits of the account, where they prove that nothing was charged.

While nothing is in flight anywhere, the tick reads `/v1/credits` of each key. Two readings that agree, some seconds
apart, are one that counts; what happened since the one before is judged by `jobs.credits`. A reading is kept in the
ledger before anything rests on it, and replaced when what follows from it is done, so whoever dies in between, the
next tick judges the same again.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress

import structlog

from jobs.batch import BatchState, Progress
from jobs.crashpoints import crashpoint
from jobs.credits import Finding, Reading, Verdict, judge
from jobs.errors import Superseded
from jobs.events import Resubmitted
from jobs.held import held
from jobs.job import Job
from jobs.ledger.port import Epoch
from jobs.money import DAYS_KEPT
from jobs.queues import EDIT
from jobs.states import apply
from workers.api.protocol import KeyWorks
from workers.desk import Desk

log = structlog.get_logger(__name__)

AGREE_S = 10.0
"""Two readings this far apart must agree. How long the API takes to put a charge on its books is not documented; a
doubt has then waited for 1.5 times the longest task besides."""

AGAIN_S = 60.0
"""While nothing happens the credits are read this often, so that a top-up is no part of what is judged later. After a
reading that failed they are not read sooner either."""

PATIENCE_S = 30.0
"""A batch that is over waits so long for its doubts to be judged before its report is written."""

_HALF_DAY_S = 43_200.0


class CreditWatch:
    """The credits' part of the tick of one process; what it must not forget lies in the ledger."""

    def __init__(self, desk: Desk, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._desk = desk
        self._now = monotonic
        self._not_before = 0.0
        self._judging_since: float | None = None
        self._over: set[str] = set()
        """Batches that were over, or stuck, with doubts when they were last asked for: a look since then has known."""

    def holds_back(self, batch: str, progress: Progress, *, over: bool) -> bool:
        """Whether a batch that is over, or stuck in doubt, should not be reported or paused yet, because its doubts are
        being judged, or may be at the next look: its last row may have ended since this one."""
        if not (over and progress.held and self._desk.settles_by_credits) or progress.finished_at:
            self._over.discard(batch)
            return False
        if batch not in self._over:
            self._over.add(batch)
            return True
        since = self._judging_since
        return since is not None and self._desk.now() - since < PATIENCE_S

    def look(self) -> None:
        """Read the credits if it is time to, and settle what they prove.

        Raises:
            LedgerError: the ledger cannot be asked, or told.
        """
        desk = self._desk
        epoch = desk.ledger.epoch() if desk.settles_by_credits else Epoch()
        if not epoch.id or epoch.guard or any(desk.ledger.slots_used().values()):
            self._judging_since = None
            return
        now = desk.now()
        base, seen = self._kept("base", epoch), self._kept("seen", epoch)
        if base is not None and now - base.at > DAYS_KEPT * 2 * _HALF_DAY_S:  # the books of its day may be gone
            base = None
        if base is None or base.intents == epoch.intents:
            self._judging_since = None
        elif self._judging_since is None:
            self._judging_since = now
        if base is not None and base.intents == epoch.intents and seen is None and now - base.at < AGAIN_S:
            return
        if seen is not None and now - seen.at < AGREE_S:
            return
        reading = self._read(epoch, base)
        if reading is None:
            self._judging_since = None
        elif (base is None and epoch.intents <= 1) or (base is not None and reading.agrees(base)):
            self._keep(reading)  # nothing was ever submitted here, or nothing has happened
        elif seen is None or not reading.agrees(seen):
            desk.ledger.keep("seen", reading.as_json())
            crashpoint("credits-seen")
        else:
            if base is not None:
                self._settle(base, reading)
            self._keep(reading)
            self._judging_since = None

    def _kept(self, name: str, epoch: Epoch) -> Reading | None:
        text = self._desk.ledger.kept(name)
        found = Reading.from_json(text) if text else None
        return found if found is not None and found.epoch == epoch.id else None

    def _keep(self, reading: Reading) -> None:
        self._desk.ledger.keep("base", reading.as_json())
        self._desk.ledger.keep("seen", "")

    def _read(self, epoch: Epoch, base: Reading | None) -> Reading | None:
        """Return the credits, unless something began or became known while they were read."""
        if self._now() < self._not_before:
            return None
        desk, at = self._desk, self._desk.now()
        before = self._books(base)
        micros = {}
        for key_id in desk.keys.ids:
            key = desk.keys.of(key_id)
            said = desk.api.credits(key) if key is not None else None
            if isinstance(said, KeyWorks) and said.micros is not None:
                micros[key_id] = said.micros
        if not micros:
            self._not_before = self._now() + AGAIN_S
            return None
        if desk.ledger.epoch() != epoch or any(desk.ledger.slots_used().values()) or self._books(base) != before:
            return None
        return Reading(at=at, epoch=epoch.id, intents=epoch.intents, micros=micros, books=before)

    def _books(self, base: Reading | None) -> Mapping[str, Mapping[str, list[int]]]:
        """Return what the ledger has counted of each day since `base`, and of each key on it."""
        desk, now = self._desk, self._desk.now()
        moment, days = (base.at if base else now), set()
        while moment < now + _HALF_DAY_S:
            for simulated in (False, True):
                days.add(desk.days.book(min(moment, now), simulated=simulated))
            moment += _HALF_DAY_S
        found: dict[str, dict[str, list[int]]] = {}
        for day in sorted(days):
            for key in desk.keys.ids:
                sums = desk.ledger.money(day, key)
                found.setdefault(day, {})[key] = [sums.settled, sums.unsure]
        return found

    def _settle(self, base: Reading, now: Reading) -> None:
        """Ask again for what was not charged, and note with its batch what is said of everything else."""
        doubts: defaultdict[str, list[Job]] = defaultdict(list)
        for batch in self._desk.ledger.batches():
            found = self._desk.ledger.batch(batch)
            for job in held(batch, self._desk.ledger) if found is not None and found[1].held else ():
                if base.intents < job.intent <= now.intents and base.at <= job.submitted_at:
                    doubts[job.key_id].append(job)
        notes: dict[str, Finding] = {}
        for key, jobs in doubts.items():
            finding = judge(base, now, key, [job.order.estimate for job in jobs])
            log.warning(
                "the credits tell of doubts",
                key=key,
                verdict=str(finding.verdict),
                doubts=finding.doubts,
                unexplained=finding.unexplained,
            )
            if finding.verdict is Verdict.UNCHARGED:
                self._ask_again(jobs)
                continue
            for batch in {job.order.batch for job in jobs}:
                notes[batch] = notes[batch] + finding if batch in notes else finding
        for batch, note in notes.items():
            self._desk.ledger.say_of_credits(batch, note.as_json())

    def _ask_again(self, jobs: list[Job]) -> None:
        desk = self._desk
        again = []
        for job in jobs:
            with suppress(Superseded):  # its answer came, or a person was faster
                desk.ledger.record(job, apply(job, Resubmitted(proved=True), desk.now()))
                again.append(job)
            crashpoint("proved-uncharged")
        for batch in {job.order.batch for job in again}:
            desk.ledger.set_state(batch, BatchState.OPEN, "", only_from=[BatchState.DONE])
            for reason in ("cap", "doubt"):  # held doubts count as spent, and many stop a batch: they may be why
                desk.ledger.set_state(batch, BatchState.OPEN, "", only_from=[BatchState.PAUSED], only_reason=reason)
        for job in again:
            desk.send(EDIT, job.id)
            log.info("doubt was not charged, and is asked again", **job.log_context())
