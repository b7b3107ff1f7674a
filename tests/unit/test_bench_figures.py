"""What a benchmark reads out of the API's ledger."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import Entry, Step, curve, delays, mean_busy, occupancy, percentile, rate, slot_use, spread


def task(accepted_at: float, ended_at: float | None, **more: float | None) -> Entry:
    return {"accepted_at": accepted_at, "ended_at": ended_at, **more}


def test_a_place_that_is_freed_and_taken_in_one_moment_is_no_gap() -> None:
    steps = occupancy([task(0, 2), task(2, 5)])

    assert steps == [Step(0, 1), Step(2, 1), Step(5, 0)]


def test_a_task_that_never_ended_holds_its_place() -> None:
    assert occupancy([task(1, None)]) == [Step(1, 1)]


def test_the_mean_is_weighed_by_time() -> None:
    steps = [Step(0, 2), Step(3, 0), Step(4, 2)]

    assert mean_busy(steps, 0, 4) == 1.5
    assert mean_busy(steps, 2, 4) == 1.0
    assert mean_busy(steps, 5, 6) == 2.0


def test_a_mean_over_no_time_is_refused() -> None:
    with pytest.raises(ValueError, match="no time"):
        mean_busy([Step(0, 1)], 2, 2)


def test_slot_use_begins_when_all_slots_are_busy_and_ends_with_the_last_submission() -> None:
    filling_up = [task(0, 10), task(4, 14)]
    one_second_late = [task(11, 20), task(14, 24)]

    use = slot_use([*filling_up, *one_second_late], slots=2)

    assert use == pytest.approx(1 - 1 / 20)


def test_slots_that_were_never_all_busy_have_no_use() -> None:
    assert slot_use([task(0, 1), task(2, 3)], slots=2) is None
    assert slot_use([], slots=1) is None


def test_nothing_that_comes_after_the_last_submission_counts() -> None:
    short, long = ([task(0, 5), task(5, end)] for end in (6, 600))

    assert slot_use(short, slots=1) == slot_use(long, slots=1) == 1.0


milliseconds = st.integers(0, 100_000)


@given(st.lists(st.tuples(milliseconds, milliseconds), min_size=1, max_size=40))
def test_the_curve_holds_all_the_time_that_the_tasks_took(tasks: list[tuple[int, int]]) -> None:
    entries = [task(at / 1000, (at + length) / 1000) for at, length in tasks]
    first, last = min(e["accepted_at"] for e in entries), max(e["ended_at"] for e in entries)

    points = curve(entries, 10)

    taken = sum(e["ended_at"] - e["accepted_at"] for e in entries)
    assert sum(busy for _, busy in points) * (last - first) / 10 == pytest.approx(
        taken, rel=0.02, abs=(last - first) / 100
    )


def test_a_percentile_is_a_value_that_was_seen() -> None:
    values = [3.0, 1.0, 2.0, 4.0]

    assert [percentile(values, share) for share in (0.0, 0.5, 0.75, 0.99, 1.0)] == [1.0, 2.0, 3.0, 4.0, 4.0]
    assert percentile([], 0.5) is None


def test_a_delay_is_counted_for_tasks_that_have_both_times() -> None:
    entries = [task(0, 5, told_ready_at=5.5), task(0, 5, told_ready_at=None), task(0, None, told_ready_at=9)]

    assert delays(entries, "told_ready_at") == [0.5]


def test_the_rate_leaves_the_start_and_the_end_of_a_run_out() -> None:
    steady = [task(0, float(n)) for n in range(10, 18)]
    slow_ends = [task(0, 0.0), task(0, 100.0)]

    assert rate([*steady, *slow_ends]) == 1.0
    assert rate(slow_ends[:1]) is None


def test_a_spread_names_the_median_and_both_ends() -> None:
    assert spread([3.0, 1.0, 9.0]) == (3.0, 1.0, 9.0, 3)
