"""Whatever happens in whatever order: nothing is lost, nothing is paid for twice unknowingly.

A machine of random moves plays the product's own code in a `World`; after each move the API's ledger and ours are
compared. When the moves are over everything is mended, and then every row has to come to its end.

A failure prints the moves that lead to it, the shortest that were found.
"""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from jobs.batch import BatchState
from jobs.job import Job
from jobs.ledger.change import holds_slot
from jobs.ledger.memory import MemoryLedger
from tests.chaos.world import BATCH, ENDS, POSTS, RESERVE, Chance, Process, World, on_one_processor, outcomes, picture

ROWS = 6
JUDGED_AFTER = 6
"""Ticks, 5 s apart, after which what can be proved of doubts has been."""
STEPS = 80
GAMES = int(os.environ.get("GAMES", "50000"))
"""So many in the long form; in parts, so that what has been played is known while the rest still is."""

picks = st.integers(0, 10_000)
posts = st.sampled_from(["accept", *POSTS])
tasks = st.sampled_from(["Ready", *ENDS])
said = st.sampled_from(["pause", "resume", "resume", "cancel", "raise", "buy again", "give up"])


class Machine(RuleBasedStateMachine):
    """A few rows, up to three worker processes, and everything that can go wrong with them."""

    world: World

    @initialize(
        resubmissions=st.sampled_from([0, 1, 3, 100]),
        edits=st.sampled_from([2, ROWS, 100, 100]),
        alike=st.integers(0, 2),
        slots=st.sampled_from([1, 2, 3]),
        trouble=st.sampled_from([0.0, 0.2, 0.6]),
        eager=st.sampled_from([0, 1, 1, 3]),
        seed=picks,
    )
    def open(
        self,
        resubmissions: int,
        edits: int,
        alike: int,
        slots: int,
        trouble: float,
        eager: int,
        seed: int,
    ) -> None:
        self.world = World(
            lambda catalogue, clock: MemoryLedger(catalogue, clock=clock),
            rows=ROWS,
            allowance=resubmissions * RESERVE,
            ceiling=edits * RESERVE,
            slots=slots,
            alike=alike,
            chance=Chance(random.Random(seed), trouble),
        )
        self.allowance = resubmissions * RESERVE
        self.world.start_process()
        self.world.start_process()
        self.cancelled = False
        self.eager = eager
        """So many places everybody moves on by himself after each move of the game; messages are then taken, too."""

    def process(self, pick: int) -> Process:
        """Return one of those that listen; somebody always does."""
        listening = self.world.listening() or [self.world.start_process()]
        return listening[pick % len(listening)]

    # -- what workers do

    @rule(
        pick=picks, who=picks, how=st.sampled_from(["once", "once", "once", "twice", "lost"]), count=st.integers(1, 4)
    )
    def take_messages(self, pick: int, who: int, how: str, count: int) -> None:
        world = self.world
        for _ in range(count):
            if not world.messages:
                return
            index = pick % len(world.messages)
            if how != "lost":
                task, args = world.messages[index]
                world.act(self.process(who), task, *args)
            if how != "twice":
                world.messages.pop(index)
        self.breathe(2)

    @rule(pick=picks, times=st.sampled_from([1, 1, 2, 3, 8, 20]))
    def move_one(self, pick: int, times: int) -> None:
        movable = self.world.movable()
        if movable:
            self.world.move(movable[pick % len(movable)], times)

    @rule(times=st.sampled_from([1, 2, 3, 5, 8]))
    def breathe(self, times: int) -> None:
        """Let everybody who can act do so for a while."""
        self.world.work(times)

    @rule(seconds=st.sampled_from([1.0, 3.0, 6.0]))
    def work(self, seconds: float) -> None:
        """Let everybody do whatever there is to do, and some time pass."""
        self.process(0)
        self.world.work(20, everything=True)
        self.world.pass_time(seconds)
        self.world.work(3)

    @rule(who=picks, times=st.sampled_from([1, 4, 100]))
    def tick(self, who: int, times: int) -> None:
        process = self.process(who)
        self.world.move(self.world.act(process, "tick"), times)
        self.world.move(self.world.act(process, "notes"), times)

    @rule(seconds=st.sampled_from([1.0, 3.0, 10.0, 40.0, 130.0, 700.0]))
    def wait(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    # -- what happens to them

    @rule(
        what=st.sampled_from(["start", "kill", "freeze", "thaw", "stop", "lose replies", "cut off"]),
        who=picks,
        count=st.sampled_from([1, 1, 2, 5, 20]),
    )
    def trouble(self, what: str, who: int, count: int) -> None:
        world = self.world
        if what == "start" and len(world.processes) < 6:
            world.start_process()
        elif what == "thaw":
            for process in world.processes:
                process.frozen = False
        if what in ("start", "thaw"):
            return
        process = self.process(who)
        match what:
            case "kill":
                world.kill(process)
            case "freeze":
                process.frozen = True
            case "stop":
                process.desk.stopping.set()
            case "lose replies":
                process.loses_replies = count
            case "cut off":
                process.cut_off = count

    @rule(pick=picks, place=st.sampled_from(["answer", "record", "post", "mark_sent", "claim"]), long=st.booleans())
    def stall(self, pick: int, place: str, long: bool) -> None:
        """Let a process sleep while somebody stands there, until others have taken over what it holds."""
        standing = [actor for actor in self.world.movable() if actor.place == place]
        if not standing:
            return
        slow = standing[pick % len(standing)].process
        slow.frozen = True
        for seconds in (40.0, 130.0) if long else (40.0,):
            self.world.pass_time(seconds)
            self.world.act(self.process(pick), "tick")
            self.world.work(20, everything=True)
        slow.frozen = False

    # -- what the API does

    @rule(answers=st.lists(posts, min_size=1, max_size=4), ends=st.lists(tasks, max_size=2))
    def answer(self, answers: list[str], ends: list[str]) -> None:
        self.world.api.next = answers
        self.world.api.ends = ends

    # -- what people do

    @rule(what=said, edits=st.integers(1, 3 * ROWS))
    def say(self, what: str, edits: int) -> None:
        ledger = self.world.ledger
        match what:
            case "pause":
                ledger.set_state(BATCH, BatchState.PAUSED, "operator", only_from=[BatchState.OPEN])
            case "resume":
                ledger.set_state(BATCH, BatchState.OPEN, "", only_from=[BatchState.PAUSED])
            case "cancel" if edits == 1:  # seldom: there is little to see afterwards
                live = [BatchState.OPEN, BatchState.PAUSED]
                self.cancelled |= ledger.set_state(BATCH, BatchState.CANCELLED, "operator", only_from=live)
            case "buy again":
                self.world.buy_again()
            case "give up":
                self.world.give_up()
            case "raise":
                ledger.set_ceiling(BATCH, edits * RESERVE)

    # -- what always holds

    def charges(self) -> Counter[int]:
        """Return how often the API has charged for each edit."""
        return Counter(task.row for task in self.world.api.tasks.values() if task.charged)

    def jobs(self) -> list[Job]:
        """Return the jobs that have not ended."""
        world = self.world
        found = [world.ledger.load(job) for job in world.ledger.jobs_of(BATCH)]
        return [job for job in found if job is not None]

    def nothing_is_charged_twice_but_what_the_allowance_carries(self) -> None:
        world = self.world
        found = world.ledger.batch(BATCH)
        assert found is not None
        for edit, times in self.charges().items():
            rows = [row for row, asked in world.edits.items() if asked == edit]
            allowed = 1 + sum(world.asked_again[row] for row in rows)
            # What is held, or brought nothing, frees its fingerprint: the next row of the same edit buys its own.
            if len(rows) > 1:
                allowed += sum(world.held[row] for row in rows)
                allowed += sum(world.ended.get(f"{BATCH}.{row}") in ("moderated", "failed") for row in rows)
            assert times <= allowed, f"edit {edit} was charged {times} times, {allowed} were allowed"
        assert found[1].doubt_used <= self.allowance + RESERVE * world.by_people

    def the_slots_cover_what_is_in_flight(self) -> None:
        world = self.world
        holding = Counter(world.edits[job.order.row] for job in self.jobs() if holds_slot(job))
        active = Counter(task.row for task in world.api.active())
        assert active <= holding, f"in flight {active}, known {holding}"
        used = world.ledger.slots_used()["flux"]
        assert used == holding.total(), f"{used} slots are taken, {holding} want one"

    def a_recorded_task_is_never_forgotten(self) -> None:
        known = {job.receipt.task_id for job in self.jobs() if job.receipt}
        known |= {line["task_id"] for line in outcomes(self.world)}
        known |= {task.id for task in self.world.api.tasks.values() if task.status == "Error"}  # it brought nothing
        missing = {task: job for task, job in self.world.recorded.items() if task not in known}
        assert not missing

    def no_ceiling_is_passed(self) -> None:
        assert self.world.over_ceiling == []

    @invariant()
    def it_holds(self) -> None:
        if self.eager:
            self.world.work(self.eager, everything=True)
        try:
            self.it_all_holds()
        except AssertionError:
            note("\n".join(self.world.diary))
            raise

    def it_all_holds(self) -> None:
        self.nothing_is_charged_twice_but_what_the_allowance_carries()
        self.the_slots_cover_what_is_in_flight()
        self.a_recorded_task_is_never_forgotten()
        self.no_ceiling_is_passed()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.mend()
            self.everything_has_come_to_its_end()
        except AssertionError:
            note("\n".join(self.world.diary))
            raise
        finally:
            self.world.close()

    def mend(self) -> None:
        """Take every fault away and let the batch come to its end."""
        world = self.world
        world.api.chance.trouble = 0.0
        world.api.next, world.api.ends = [], []
        for process in world.processes:
            process.frozen, process.cut_off, process.loses_replies = False, 0, 0
        world.ledger.set_ceiling(BATCH, 1000 * RESERVE)
        world.ledger.set_state(BATCH, BatchState.OPEN, "", only_from=[BatchState.PAUSED])
        world.start_process()
        judged = 0
        for _ in range(200):
            world.work(100, everything=True)
            held = any(job.held for job in self.jobs())
            judged = judged + 1 if self.is_over() else 0
            if judged > (JUDGED_AFTER if held else 0):
                break
            world.pass_time(5.0)
            for process in world.listening():
                world.act(process, "tick")
                world.act(process, "notes")
        world.work(100, everything=True)
        for process in world.listening():
            world.act(process, "retouch.flush", BATCH)
        world.work(100, everything=True)

    def is_over(self) -> bool:
        found = self.world.ledger.batch(BATCH)
        assert found is not None
        fed = found[1].state is BatchState.CANCELLED or sum(found[1].cursors.values()) == ROWS
        busy = any(process.actors for process in self.world.alive())
        return fed and not busy and all(job.held for job in self.jobs())

    def everything_has_come_to_its_end(self) -> None:
        world = self.world
        assert self.is_over(), [job.log_context() for job in self.jobs()]
        found = world.ledger.batch(BATCH)
        assert found is not None
        progress = found[1]
        lines = list(outcomes(world))
        ended = Counter(line["row"] for line in lines if line["state"] not in ("in_doubt", "late_receipt"))
        held = {job.order.row for job in self.jobs()}
        fed = range(1, sum(progress.cursors.values()) + 1)
        assert set(ended) | held == set(fed)
        assert max(ended.values(), default=1) == 1
        assert not [note for process in world.listening() for note in process.desk.spool.notes.all()]
        assert progress.reserved == RESERVE * len(held)
        assert world.ledger.slots_used()["flux"] == 0
        charged = sum(task.charged for task in world.api.tasks.values())
        unknown = progress.doubt_used + RESERVE * (len(held) + world.given_up)
        assert progress.settled + unknown >= charged or self.cancelled
        for line in lines:
            if line["state"] in ("stored", "unchanged"):
                stored = world.bucket.get(line["output"])
                edit = world.edits[line["row"]]
                own = {picture(int(task.id[1:])) for task in world.api.tasks.values() if task.row == edit}
                assert stored in own


class Doubting(Machine):
    """Games in which every doubt is held, and nothing but the account's credits can settle it."""

    @initialize(slots=st.sampled_from([1, 2, 3]), trouble=st.sampled_from([0.0, 0.2]), seed=picks)
    def open(self, slots: int, trouble: float, seed: int) -> None:
        super().open(resubmissions=0, edits=100, alike=0, slots=slots, trouble=trouble, eager=1, seed=seed)

    @rule(answers=st.lists(st.sampled_from(["lose answer", "500", "500", "500", "accept"]), min_size=1, max_size=4))
    def doubt(self, answers: list[str]) -> None:
        """Let rows come into doubt, charged or not, and their wait pass."""
        self.world.api.next = answers
        self.process(0)
        self.world.work(20, everything=True)
        self.settle()

    @rule()
    def settle(self) -> None:
        """Let doubts be held, and time pass in which the credits are read."""
        for seconds in (30.0, 3.0, 12.0):
            self.world.pass_time(seconds)
            self.world.act(self.process(0), "tick")
            self.world.work(20, everything=True)


def play(examples: int, machine: type[Machine] = Machine) -> None:
    """Play so many random games."""
    with on_one_processor():
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                print_blob=True,
                suppress_health_check=list(HealthCheck),
            ),
        )


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("quarter", range(1, 5))
def test_no_order_of_events_loses_a_row_or_pays_twice_unknowingly(quarter: int) -> None:
    play(500)


@pytest.mark.timeout(1200)
def test_whatever_the_order_the_credits_never_prove_uncharged_what_was_charged() -> None:
    """A proved doubt is bought again without a word, so a wrong proof is an edit charged twice."""
    play(300, Doubting)


@pytest.mark.long
@pytest.mark.timeout(6 * 3600)
@pytest.mark.parametrize("part", range(1, 51))
def test_no_order_of_events_does_in_many_more_games(part: int) -> None:
    play(GAMES // 50)
