"""The law by which open batches share the API's places."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.shares import MOST_WEIGHT, WEIGHTS, Priority, Wish, low_water, place_in_line, shares, weight

WISHES = st.lists(st.builds(Wish, weight=st.floats(0.01, 32), jobs=st.integers(1, 2_000)), min_size=1, max_size=40).map(
    lambda wishes: {f"b{n}": wish for n, wish in enumerate(wishes)}
)
WINDOWS = st.integers(1, 1_250)
SECONDS = st.floats(0.1, 1e6)
PRIORITIES = st.sampled_from(Priority)


@given(window=WINDOWS, wishes=WISHES)
def test_no_batch_with_work_is_without_a_place(window: int, wishes: dict[str, Wish]) -> None:
    assert min(shares(window, wishes).values()) >= 1


@given(window=WINDOWS, wishes=WISHES)
def test_the_shares_add_up_to_the_window_or_to_one_for_each(window: int, wishes: dict[str, Wish]) -> None:
    assert sum(shares(window, wishes).values()) == max(window, len(wishes))


@given(window=WINDOWS, wishes=WISHES, which=st.integers(0, 39), heavier=st.floats(0.01, 32))
def test_who_weighs_more_never_has_less_by_it(window: int, wishes: dict[str, Wish], which: int, heavier: float) -> None:
    name = list(wishes)[which % len(wishes)]
    more = wishes | {name: Wish(weight=wishes[name].weight + heavier, jobs=wishes[name].jobs)}

    assert shares(window, more)[name] >= shares(window, wishes)[name]


@given(window=WINDOWS, wishes=WISHES)
def test_nobody_has_more_than_it_can_use_while_another_could_use_it(window: int, wishes: dict[str, Wish]) -> None:
    found = shares(window, wishes)

    idle = any(found[name] > wish.jobs for name, wish in wishes.items())
    short = any(found[name] < wish.jobs for name, wish in wishes.items())
    assert not (idle and short)


@given(window=WINDOWS, wishes=WISHES)
def test_of_two_that_could_use_more_the_heavier_has_no_less(window: int, wishes: dict[str, Wish]) -> None:
    found = shares(window, wishes)

    hungry = sorted((wish.weight, found[name]) for name, wish in wishes.items() if found[name] < wish.jobs)
    assert all(one[1] <= other[1] + (one[0] == other[0]) for one, other in itertools.pairwise(hungry))


@pytest.mark.parametrize(
    ("window", "wishes", "found"),
    [
        (30, {"a": Wish(weight=1, jobs=999)}, [30]),
        (30, {"a": Wish(weight=1, jobs=999), "b": Wish(weight=1, jobs=999)}, [15, 15]),
        (30, {"large": Wish(weight=1, jobs=999_990), "urgent": Wish(weight=8, jobs=10)}, [20, 10]),
        (30, {"large": Wish(weight=1, jobs=999_990), "urgent": Wish(weight=8, jobs=900)}, [3, 27]),
        (30, {"large": Wish(weight=1, jobs=999_990), "low": Wish(weight=0.25, jobs=900)}, [24, 6]),
        (2, {"a": Wish(weight=1, jobs=9), "b": Wish(weight=8, jobs=9), "c": Wish(weight=1, jobs=9)}, [1, 1, 1]),
        (9, {"a": Wish(weight=1, jobs=2), "b": Wish(weight=1, jobs=1)}, [5, 4]),
    ],
)
def test_a_window_is_shared_by_weight_and_by_what_can_be_used(
    window: int, wishes: dict[str, Wish], found: list[int]
) -> None:
    assert list(shares(window, wishes).values()) == found


@given(priority=PRIORITIES, needed=SECONDS, left=st.floats(-1e6, 1e6), less=SECONDS)
def test_the_less_time_is_left_the_more_a_batch_weighs(
    priority: Priority, needed: float, left: float, less: float
) -> None:
    now, later = (weight(priority, left_s=each, needed_s=needed) for each in (left, left - less))

    assert WEIGHTS[priority] <= now <= later <= MOST_WEIGHT


@given(priority=PRIORITIES, needed=SECONDS, left=st.floats(-1e6, 1e6), more=SECONDS)
def test_the_more_work_is_left_the_more_a_batch_weighs(
    priority: Priority, needed: float, left: float, more: float
) -> None:
    assert weight(priority, left_s=left, needed_s=needed) <= weight(priority, left_s=left, needed_s=needed + more)


@given(needed=SECONDS, part=st.floats(0.01, 0.96))
def test_beside_one_other_a_batch_has_the_part_of_all_places_that_its_deadline_takes(
    needed: float, part: float
) -> None:
    weighs = weight(Priority.NORMAL, left_s=needed / part, needed_s=needed)

    wishes = {"due": Wish(weight=weighs, jobs=9_999), "other": Wish(weight=1.0, jobs=9_999)}
    assert shares(1_250, wishes)["due"] >= math.floor(1_250 * part * 0.97), "but for the steps of a weight"


@pytest.mark.parametrize("priority", Priority)
def test_without_a_deadline_or_with_nothing_left_to_do_only_the_priority_counts(priority: Priority) -> None:
    assert weight(priority) == weight(priority, left_s=-5, needed_s=0) == WEIGHTS[priority]


def test_a_deadline_that_has_passed_outweighs_an_urgent_batch_and_leaves_it_its_part() -> None:
    late = weight(Priority.LOW, left_s=-1, needed_s=60)

    wishes = {"late": Wish(weight=late, jobs=999), "urgent": Wish(weight=8.0, jobs=999)}
    assert shares(30, wishes) == {"late": 24, "urgent": 6}


@given(held=st.integers(1, 1_000), weighs=st.floats(0.25, 32), other=st.floats(0.25, 32))
def test_who_holds_none_stands_before_all_who_hold_some_whatever_they_weigh(
    held: int, weighs: float, other: float
) -> None:
    assert place_in_line(0, weighs) < place_in_line(held, other)
    assert place_in_line(0, weighs) == place_in_line(0, other)


@given(held=st.integers(1, 1_000), weighs=st.floats(0.25, 32))
def test_who_holds_more_stands_further_back_and_who_weighs_more_further_ahead(held: int, weighs: float) -> None:
    assert place_in_line(held, weighs) < place_in_line(held + 1, weighs)
    assert place_in_line(held, 2 * weighs) < place_in_line(held, weighs)


@pytest.mark.parametrize(("size", "low"), [(30, 27), (10, 9), (2, 1), (1, 1)])
def test_a_window_is_filled_up_when_a_tenth_of_it_is_free(size: int, low: int) -> None:
    assert low_water(size) == low
