"""Who may take a thread: a flood of new edits never keeps a paid one from its own."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.job import Job, State
from tests.unit.desks import START, make_order, receipt
from workers.turns import BACK_S, HOUSE_THREADS, OLD_RESULTS, OLD_S, Turns

NEW = Job(order=make_order(1), fence=1)
RUNNING = replace(NEW, state=State.RUNNING, receipt=receipt())
READY = replace(RUNNING, state=State.READY, ready_at=START)


def numbered(job: Job, row: int) -> Job:
    return replace(job, order=make_order(row))


def why(turns: Turns, job: Job, row: int = 999, now: float = START) -> str:
    """Return why one more job would be refused."""
    with turns.holding(one := numbered(job, row)):
        return turns.refuses(one, now)


def filled(turns: Turns, job: Job, count: int, first: int = 1) -> ExitStack:
    """Let so many jobs take threads while the block runs."""
    stack = ExitStack()
    for row in range(first, first + count):
        stack.enter_context(turns.holding(numbered(job, row)))
    return stack


def admitted(turns: Turns, job: Job, stack: ExitStack, first: int = 1) -> int:
    """Let jobs in until one is refused, and return how many there are."""
    for row in range(first, first + 1000):
        if why(turns, job, row):
            return row - first
        stack.enter_context(turns.holding(numbered(job, row)))
    raise AssertionError("nobody is ever refused")


@given(threads=st.integers(2, 500))
def test_however_many_new_edits_come_a_result_that_can_be_fetched_finds_a_thread(threads: int) -> None:
    turns = Turns(threads)
    with ExitStack() as stack:
        new = admitted(turns, NEW, stack)

        assert why(turns, READY) == "" or threads == 2
        assert 1 <= new <= max(threads - HOUSE_THREADS, 1)


def test_new_edits_leave_a_quarter_to_what_is_paid() -> None:
    turns = Turns(44)
    with ExitStack() as stack:
        assert admitted(turns, NEW, stack) == 30
        assert admitted(turns, RUNNING, stack, first=500) == 12


def test_an_edit_that_got_its_receipt_makes_room_for_another_new_one() -> None:
    turns = Turns(44)
    with filled(turns, NEW, 30):
        full = why(turns, NEW)
        turns.moved(numbered(RUNNING, 1))
        room = why(turns, NEW)

    assert (full, room) == ("this process is full", "")


def test_tasks_that_run_leave_a_thread_to_a_result_that_can_be_fetched() -> None:
    turns = Turns(12)
    with ExitStack() as stack:
        admitted(turns, RUNNING, stack)

        assert why(turns, READY) == ""


def test_one_thread_is_left_to_housekeeping_by_everybody() -> None:
    turns = Turns(12)
    with ExitStack() as stack:
        assert admitted(turns, READY, stack) == 11


def test_nothing_new_is_bought_while_paid_results_have_waited_for_long() -> None:
    turns = Turns(44)
    with filled(turns, READY, OLD_RESULTS):
        fresh = why(turns, NEW, now=START + OLD_S)
        old = why(turns, NEW, now=START + OLD_S + 1)
        paid = why(turns, RUNNING, now=START + OLD_S + 1)

    assert (fresh, old, paid) == ("", "paid results wait to be fetched", "")


def test_a_single_result_that_cannot_be_fetched_stops_nobody() -> None:
    turns = Turns(44)
    with filled(turns, READY, OLD_RESULTS - 1):
        assert why(turns, NEW, now=START + 3600) == ""


@pytest.mark.parametrize("state", [State.RUNNING, State.READY, State.KEPT])
def test_whoever_leaves_is_not_counted_any_more(state: State) -> None:
    turns = Turns(8)
    with filled(turns, replace(RUNNING, state=state), 8):
        assert turns.held() == 8

    assert turns.held() == 0


OTHER = make_order(1, batch="other")


def other(row: int) -> Job:
    """Return a new edit of another batch."""
    return replace(NEW, order=replace(OTHER, row=row))


def refused(turns: Turns, job: Job, weight: float, now: float = START) -> str:
    with turns.holding(job):
        return turns.refuses(job, now, weight)


def test_a_thread_that_is_free_is_left_to_a_batch_that_found_none_and_has_fewer() -> None:
    turns = Turns(14)  # seven new edits at a time
    with filled(turns, NEW, 7) as stack:
        assert refused(turns, other(1), 1.0) == "this process is full"
        stack.close()
    with filled(turns, NEW, 6):
        again = refused(turns, numbered(NEW, 99), 1.0)
        came = refused(turns, other(1), 1.0)
        later = refused(turns, numbered(NEW, 99), 1.0)

    assert (again, came, later) == ("its thread is left to another batch", "", "")


def test_threads_go_to_batches_by_their_weight() -> None:
    turns = Turns(14)
    with filled(turns, other(1), 0), filled(turns, NEW, 3), ExitStack() as stack:
        for row in range(1, 5):
            stack.enter_context(turns.holding(other(row)))
        assert refused(turns, numbered(NEW, 98), 1.0) == "this process is full"
        assert refused(turns, other(98), 8.0) == "this process is full"
        stack.close()

        light, heavy = refused(turns, numbered(NEW, 99), 1.0), refused(turns, other(99), 8.0)
    with filled(turns, NEW, 1), ExitStack() as stack:
        for row in range(1, 6):
            stack.enter_context(turns.holding(other(row)))
        fewer = refused(turns, numbered(NEW, 98), 1.0)

    assert (light, heavy) == ("its thread is left to another batch", "")
    assert fewer == "its thread is left to another batch", "it has one of six, and weighs one of nine"


def test_a_batch_without_a_thread_gets_the_next_one_however_light_it_is() -> None:
    turns = Turns(14)
    with filled(turns, NEW, 7):
        assert refused(turns, other(1), 0.25) == "this process is full"
    with filled(turns, NEW, 6):
        heavy = refused(turns, numbered(NEW, 99), 32.0)
        light = refused(turns, other(1), 0.25)

    assert (heavy, light) == ("its thread is left to another batch", "")


def test_of_batches_that_have_as_many_threads_whoever_comes_takes_the_next() -> None:
    turns = Turns(14)
    with filled(turns, NEW, 3), ExitStack() as stack:
        for row in range(1, 5):
            stack.enter_context(turns.holding(other(row)))
        assert refused(turns, other(98), 1.0) == "this process is full"
        stack.close()
        for row in range(1, 4):
            stack.enter_context(turns.holding(other(row)))

        assert refused(turns, numbered(NEW, 99), 1.0) == ""


def test_who_found_no_thread_and_does_not_come_back_keeps_nobody_waiting() -> None:
    turns = Turns(14)
    with filled(turns, NEW, 7):
        refused(turns, other(1), 8.0)
    with filled(turns, NEW, 5):
        waits = refused(turns, numbered(NEW, 99), 1.0, START + BACK_S - 0.1)
        goes = refused(turns, numbered(NEW, 99), 1.0, START + BACK_S + 0.1)

    assert (waits, goes) == ("its thread is left to another batch", "")


def test_a_batch_that_is_alone_leaves_its_threads_to_nobody() -> None:
    turns = Turns(14)
    with filled(turns, NEW, 7):
        refused(turns, other(1), 8.0)
    with filled(turns, NEW, 5):
        assert refused(turns, numbered(NEW, 99), 0.0) == ""


def test_a_paid_edit_leaves_its_thread_to_no_other_batch() -> None:
    turns = Turns(14)
    with filled(turns, NEW, 7):
        refused(turns, other(1), 8.0)
        assert refused(turns, numbered(RUNNING, 99), 1.0) == ""
