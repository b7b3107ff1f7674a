"""Whatever happens in whatever order, the ledger's sums are the sums of its jobs.

A machine of random moves plays with a ledger and keeps its own record of every job; after each move the two agree.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from jobs import events as e
from jobs.batch import BatchState
from jobs.bounds import Bounds
from jobs.errors import Superseded
from jobs.job import Job, State
from jobs.ledger.change import Seat, holds_reserve, holds_slot, seat_of
from jobs.ledger.port import Recorded
from jobs.money import PROOF_EDITS
from jobs.states import TABLE, apply

if TYPE_CHECKING:
    from tests.contract.conftest import House

RESERVE, COST = 60_000, 45_000
TODAY, KEY = "2026-11-22", "k1"
SIZES = {"flux": 5, "kontext-max": 2}
CEILING, ALLOWANCE = 12 * RESERVE, 2 * RESERVE
BOUNDS = Bounds(failed=3, failed_batch=6, moderated=3, moderated_cost=6 * COST)
LIVE = (State.SUBMITTING, State.RUNNING, State.READY, State.KEPT)

picks = st.integers(0, 10_000)
waits = st.sampled_from([0.0, 1.0, 60.0])


class Machine(RuleBasedStateMachine):
    """Random moves of workers, the tick and the operator over one batch of two limit groups."""

    def __init__(self, make: Callable[[], House]) -> None:
        super().__init__()
        self.house = make()
        self.ledger = self.house.ledger
        self.jobs: dict[str, Job] = {}
        self.ended: dict[str, Job] = {}
        self.seats: dict[str, Seat] = {}
        self.over: set[str] = set()
        """Slots that were not taken through the gate: the API counts them whether or not there is room."""
        self.late = self.lines = self.used = self.raised = 0

    @initialize()
    def open(self) -> None:
        self.house.open(groups={"flux": 60, "kontext-max": 60}, ceiling=CEILING, allowance=ALLOWANCE, bounds=BOUNDS)
        self.feed(6, "flux")
        self.feed(3, "kontext-max")

    def pick(self, pick: int) -> Job:
        return self.jobs[sorted(self.jobs)[pick % len(self.jobs)]]

    def follow(self, before: Job, after: Job, said: Recorded) -> None:
        """Write down what a move that the ledger accepted made of a job."""
        if said.closed:
            return
        if holds_slot(after) and after.slot != (before.slot if holds_slot(before) else ""):
            (self.over.discard if after.state is State.SUBMITTING else self.over.add)(after.slot)
        self.seats[after.id] = seat_of(after, self.ledger.now())
        self.lines += (after.final or after.held) and after != before
        if after.final:
            del self.jobs[after.id]
            self.ended[after.id] = after
        else:
            found = self.ledger.load(after.id)
            assert found is not None
            assert found == replace(after, not_before=found.not_before)
            self.jobs[after.id] = found

    # -- moves

    @rule(count=st.integers(1, 6), group=st.sampled_from(sorted(SIZES)))
    def feed(self, count: int, group: str) -> None:
        progress = self.house.progress()
        cursor = progress.cursors[group]
        if progress.state is not BatchState.OPEN or cursor + count > 60:
            return
        for job in self.house.feed(count, cursor, group=group):
            self.jobs[job], self.seats[job] = self.house.load(job), Seat.HOT

    @precondition(lambda self: self.jobs)
    @rule(pick=picks, owner=st.sampled_from(["w1", "w2"]))
    def claim(self, pick: int, owner: str) -> None:
        before = self.pick(pick)
        claim = self.ledger.claim(before.id, owner)
        if claim.why == "stopped":
            assert before.state is State.QUEUED
            assert before.order.bound in self.house.progress().stops
            self.seats[before.id] = Seat.STOPPED
        if claim.why == "aside":
            assert before.state is State.QUEUED
            self.seats[before.id] = Seat.ASIDE
            assert self.house.progress().shares[before.order.limit_group] <= self.hot(before.order.limit_group)
        if claim.job is None:
            return
        assert claim.job == replace(before, owner=owner, fence=before.fence + 1, not_before=0.0)
        assert not before.owner
        self.jobs[before.id] = claim.job
        if before.state is State.QUEUED:
            self.seats[before.id] = Seat.HOT

    @precondition(lambda self: any(job.state is State.QUEUED for job in self.jobs.values()))
    @rule(pick=picks)
    def begin(self, pick: int) -> None:
        queued = [job for job in self.jobs.values() if job.state is State.QUEUED]
        chosen = queued[pick % len(queued)].id
        if not self.jobs[chosen].owner:
            self.claim(sorted(self.jobs).index(chosen), "w1")
        before = self.jobs[chosen]
        if not before.owner:
            return
        fingerprint = f"f{before.order.row % 9}-{before.attempt % 2}"
        after = self.house.to_begin(before, fingerprint)
        had = self.ledger.slots_used()
        said = self.ledger.begin(before, after)
        self.follow(before, replace(after, intent=said.intent), said)
        if said.closed is None:
            groups = {"flux", before.order.limit_group}
            assert all(had[group] < SIZES[group] for group in groups)
            money = self.house.progress()
            assert money.settled + money.reserved + money.doubt_used <= money.ceiling
            assert money.state is BatchState.OPEN
            assert not [
                job
                for job in self.jobs.values()
                if job.state in LIVE and job.fingerprint == fingerprint and job.id != before.id
                if job.slot not in self.over
            ]

    @precondition(lambda self: any(job.state is State.QUEUED for job in self.jobs.values()))
    @rule(pick=picks, which=picks, wait=waits, cost=st.sampled_from([None, COST]))
    def move_one_that_is_queued(self, pick: int, which: int, wait: float, cost: int | None) -> None:
        queued = [job for job in self.jobs.values() if job.state is State.QUEUED]
        self.move(queued[pick % len(queued)], which, wait, cost)

    @precondition(lambda self: any(job.state is not State.QUEUED for job in self.jobs.values()))
    @rule(pick=picks, which=picks, wait=waits, cost=st.sampled_from([None, COST]))
    def move_one_on_its_way(self, pick: int, which: int, wait: float, cost: int | None) -> None:
        busy = [job for job in self.jobs.values() if job.state is not State.QUEUED]
        self.move(busy[pick % len(busy)], which, wait, cost)

    def move(self, before: Job, which: int, wait: float, cost: int | None) -> None:
        kinds = [kind for kind in TABLE[before.state] if kind is not e.Begun]
        event = self.event(kinds[which % len(kinds)], wait, cost)
        after = apply(before, event, self.ledger.now())
        if isinstance(event, e.Resubmitted):
            said = self.ledger.resubmit(before, after)
            if not said.closed:
                self.asked_again(before)
                assert self.used <= ALLOWANCE
        else:
            said = self.ledger.record(before, after)
        self.follow(before, after, said)

    @precondition(lambda self: any(job.held for job in self.jobs.values()))
    @rule(pick=picks)
    def buy_again_what_is_held(self, pick: int) -> None:
        held = [job for job in self.jobs.values() if job.held]
        before = held[pick % len(held)]
        after = apply(before, e.Resubmitted(), self.ledger.now())
        self.follow(before, after, self.ledger.record(before, after))
        self.asked_again(before)

    def asked_again(self, before: Job) -> None:
        self.used += RESERVE
        self.raised += RESERVE if before.held else 0

    def event(self, kind: type[e.Event], wait: float, cost: int | None) -> e.Event:
        result = self.house.filed().result
        made: dict[type[e.Event], Callable[[], e.Event]] = {
            e.Accepted: lambda: self.house.accepted(cost),
            e.GivenBack: lambda: e.GivenBack(wait=wait),
            e.NotSubmitted: lambda: e.NotSubmitted(wait=wait),
            e.AttemptFailed: lambda: e.AttemptFailed(code="api_error", detail="x", wait=wait),
            e.Doubted: lambda: e.Doubted(detail="timeout", wait=wait),
            e.Ready: lambda: self.house.fetchable(cost),
            e.Kept: lambda: e.Kept(detail="storage is away"),
            e.Stored: self.house.filed,
            e.Unchanged: lambda: e.Unchanged(result=result, fingerprint="f1-1", how="copied"),
            e.Moderated: lambda: e.Moderated(code="result_moderated", detail="x", cost=cost),
            e.Failed: lambda: e.Failed(code="api_error", detail="x", paid=True),
        }
        return made.get(kind, kind)()

    @precondition(lambda self: self.jobs)
    @rule(pick=picks, which=picks)
    def move_by_one_who_lost_the_job(self, pick: int, which: int) -> None:
        job = self.pick(pick)
        stale = replace(job, fence=job.fence - 1)
        kinds = [kind for kind in TABLE[job.state] if kind is not e.Begun]
        after = apply(stale, self.event(kinds[which % len(kinds)], 0.0, None), self.ledger.now())
        for act in (self.ledger.record, self.ledger.resubmit, self.ledger.begin):
            with pytest.raises(Superseded):
                act(stale, after)

    @precondition(lambda self: self.ended)
    @rule(pick=picks)
    def charge_for_an_ended_job(self, pick: int) -> None:
        assert self.ledger.late_receipt("b", json.dumps({"charge": self.late // COST}), COST)
        self.late += COST
        self.lines += 1

    @precondition(lambda self: self.ended)
    @rule(pick=picks)
    def touch_an_ended_job(self, pick: int) -> None:
        job = self.ended[sorted(self.ended)[pick % len(self.ended)]]
        assert self.ledger.load(job.id) is None
        assert self.ledger.claim(job.id, "w1").why in ("final", "missing")
        with pytest.raises(Superseded):
            self.ledger.record(replace(job, state=State.READY), job)

    @rule()
    def take_over(self) -> None:
        for before in self.ledger.lapsed(100):
            event: e.Event = e.GivenBack(wait=0)
            if before.state is State.SUBMITTING:
                event = e.Doubted(detail="the worker died", wait=0) if before.sent else e.NotSubmitted(wait=0)
            after = replace(apply(before, event, self.ledger.now()), fence=before.fence + 1)
            self.follow(before, after, self.ledger.record(before, after))

    @rule()
    def send_what_is_due(self) -> None:
        hints = self.ledger.due(100)
        for hint in hints:
            job = self.jobs[hint.job]
            assert not job.owner
            assert hint.paid == (job.receipt is not None)
        assert not {hint.job for hint in hints} & {hint.job for hint in self.ledger.due(100)}

    @rule(seconds=st.sampled_from([1.0, 31.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.house.later(seconds)
        self.reload()

    @rule(state=st.sampled_from([BatchState.OPEN, BatchState.OPEN, BatchState.PAUSED]))
    def set_state(self, state: BatchState) -> None:
        self.ledger.set_state("b", state, "operator", only_from=[BatchState.OPEN, BatchState.PAUSED])
        self.reload()

    @rule(group=st.sampled_from(["", "chairs", "others"]))
    def resume_groups(self, group: str) -> None:
        self.ledger.resume_groups("b", group)
        self.reload()
        assert bool(self.house.progress().stops) <= (group == "others")

    @rule(group=st.sampled_from(sorted(SIZES)), places=st.sampled_from([0, 1, 2, 4]))
    def share(self, group: str, places: int) -> None:
        self.ledger.share("b", 1.0, {group: places})

    def hot(self, group: str) -> int:
        return sum(self.seats[job.id] is Seat.HOT for job in self.jobs.values() if job.order.limit_group == group)

    def reload(self) -> None:
        for job in self.jobs:
            now = self.house.load(job)
            assert now == replace(self.jobs[job], not_before=now.not_before)
            self.jobs[job] = now

    @rule()
    def flush(self) -> None:
        part = self.ledger.take_outcomes("b")
        if part:
            self.lines -= len(part[1])
            self.ledger.drop_outcomes("b", part[0])

    # -- what always holds

    @invariant()
    def counts_add_up(self) -> None:
        progress = self.house.progress()
        every = [*self.jobs.values(), *self.ended.values()]
        assert self.house.counts() == Counter(str(job.state) for job in every)
        assert sum(progress.counts.values()) == sum(progress.cursors.values())
        assert progress.held == sum(job.held for job in self.jobs.values())
        assert self.ledger.jobs_of("b") == sorted(self.jobs)

    @invariant()
    def slots_are_those_of_the_jobs_that_hold_them(self) -> None:
        holding = [job for job in self.jobs.values() if holds_slot(job)]
        used = self.ledger.slots_used()
        assert used["flux"] == len(holding)
        assert used["kontext-max"] == sum(job.order.limit_group == "kontext-max" for job in holding)
        assert self.ledger.remove_strays() == 0
        for group, size in SIZES.items():
            inside = [job for job in holding if group in ("flux", job.order.limit_group)]
            assert sum(job.slot not in self.over for job in inside) <= size

    @invariant()
    def money_is_that_of_the_jobs(self) -> None:
        progress = self.house.progress()
        assert progress.reserved == RESERVE * sum(holds_reserve(job) for job in self.jobs.values())
        assert progress.settled == self.late + sum(job.cost for job in (*self.jobs.values(), *self.ended.values()))
        assert progress.doubt_used == self.used
        assert progress.withheld == RESERVE * sum(job.held for job in self.jobs.values())
        assert progress.ceiling == CEILING + self.raised

    @invariant()
    def the_days_money_is_that_of_what_began_on_it(self) -> None:
        """Moves that no worker makes (a receipt before anything began) belong to no day."""
        begun = [job for job in (*self.jobs.values(), *self.ended.values()) if job.day]
        for sums in (self.ledger.money(TODAY), self.ledger.money(TODAY, KEY)):
            assert sums.settled == sum(charge.cost for job in begun for charge in job.charges if charge.day)
            assert sums.reserved == RESERVE * sum(holds_reserve(job) for job in begun)
            assert sums.withheld == RESERVE * sum(job.held for job in begun)
            assert sums.doubt_used == self.used
            assert sums.unproved >= 0

    @invariant()
    def a_batch_is_compared_with_its_estimate_by_its_first_edits(self) -> None:
        every = (*self.jobs.values(), *self.ended.values())
        charges = [charge.cost for job in every for charge in job.charges if charge.cost]
        progress = self.house.progress()
        assert progress.first == min(len(charges), PROOF_EDITS) or len(charges) < progress.first <= PROOF_EDITS
        if len(charges) < PROOF_EDITS and progress.first == len(charges):
            assert progress.first_cost == sum(charges)
            assert progress.first_expected == COST * len(charges)

    @invariant()
    def windows_are_those_of_the_jobs(self) -> None:
        progress = self.house.progress()
        seats = Counter(self.seats[job] for job in self.jobs)
        assert sum(progress.hot.values()) == seats[Seat.HOT]
        assert progress.waiting == seats[Seat.WAITING] + seats[Seat.HELD] + seats[Seat.STOPPED]
        assert progress.stopped == seats[Seat.STOPPED]
        aside = [job.order.limit_group for job in self.jobs.values() if self.seats[job.id] is Seat.ASIDE]
        assert progress.aside == Counter(aside)
        assert {group: jobs for group, jobs in progress.hot.items() if jobs} == Counter(
            {group: jobs for group in SIZES if (jobs := self.hot(group))}
        )

    @invariant()
    def reasons_are_those_of_the_jobs(self) -> None:
        bad = [job for job in self.ended.values() if job.state not in (State.STORED, State.UNCHANGED)]
        bad += [job for job in self.jobs.values() if job.held]
        rows = Counter(job.reason for job in bad)
        assert {code: n for code, (n, _) in self.house.progress().reasons.items()} == rows
        assert sum(cost for _, cost in self.house.progress().reasons.values()) == sum(job.cost for job in bad)

    @invariant()
    def every_end_has_its_outcome(self) -> None:
        assert self.ledger.outcomes_waiting("b")[0] == self.lines


EXAMPLES = {"memory": (80, 60), "redis-6.2": (8, 40), "redis-7": (8, 40), "redis-7-twice": (5, 40)}


def test_the_sums_of_the_ledger_are_the_sums_of_its_jobs(house: House, anew: Callable[[], House]) -> None:
    class Here(Machine):
        def __init__(self) -> None:
            super().__init__(anew)

    examples, steps = EXAMPLES[house.name]

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
