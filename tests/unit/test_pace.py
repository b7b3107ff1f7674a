"""When to look at a task: seldom while it cannot be ready, often when it may be, and never too late for its result."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.pace import LONGEST_FIRST_S, LONGEST_S, SHORTEST_S, Pace


def taught(*seconds: float) -> Pace:
    pace = Pace()
    for one in seconds:
        pace.saw("m", one)
    return pace


def test_a_model_that_nobody_knows_is_looked_at_less_and_less_often() -> None:
    pace = Pace()

    waits = [pace.wait("m", age) for age in (0.0, 5.0, 1000.0)]

    assert 0.45 <= waits[0] <= 0.55
    assert 0.9 <= waits[1] <= 1.1
    assert waits[2] <= 1.1 * LONGEST_S


def test_the_first_look_is_shortly_before_a_task_is_usually_ready() -> None:
    assert 0.85 * 10 * 0.9 <= taught(10.0).wait("m", 0.0) <= 0.85 * 10 * 1.1


def test_a_rescued_task_is_waited_for_only_as_long_as_is_left() -> None:
    assert taught(10.0).wait("m", 7.9) <= 1.1 * 0.6


def test_around_its_usual_time_a_task_is_looked_at_often() -> None:
    assert 0.9 * 10 / 12 <= taught(10.0).wait("m", 10.0) <= 1.1 * 10 / 12


def test_what_is_learnt_follows_what_is_seen_slowly() -> None:
    assert taught(10.0, 20.0).typical() == {"m": pytest.approx(12.0)}


def test_each_model_is_learnt_by_itself() -> None:
    assert 0.45 <= taught(100.0).wait("other", 0.0) <= 0.55


@given(st.lists(st.floats(0, 1e5), max_size=5), st.floats(0, 1e5))
def test_no_look_is_too_soon_or_so_late_that_a_results_url_may_die(seen: list[float], age: float) -> None:
    wait = taught(*seen).wait("m", age)

    assert 0.9 * SHORTEST_S <= wait <= 1.1 * LONGEST_FIRST_S
