"""When to look at a task: few looks, little delay, whatever the shape of what was seen."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.latency import (
    LAST_BIN,
    LONGEST_S,
    MOST,
    SHORTEST_S,
    WEIGHT,
    Looks,
    added,
    bin_of,
    edge,
    halved,
    quantile,
    seeded,
)

Draw = Callable[[random.Random], float]

histograms = st.dictionaries(st.integers(0, LAST_BIN), st.integers(1, MOST), min_size=1, max_size=20)


def watched(draw: Draw, next_gap: Callable[[float, random.Random], float], tasks: int = 400) -> tuple[float, float]:
    """Watch tasks to their end; return looks a task and the mean delay in seconds until the end was seen."""
    chance, looks, delay = random.Random(7), 0, 0.0
    for _ in range(tasks):
        end, age = draw(chance), 0.0
        while age < end:
            age += next_gap(age, chance)
            looks += 1
        delay += age - end
    return looks / tasks, delay / tasks


def learnt(draw: Draw) -> Looks:
    chance, seen = random.Random(5), dict[int, int]()
    for _ in range(300):
        seen = added(seen, {bin_of(draw(chance)): WEIGHT})
    return Looks.of(seen)


@pytest.mark.parametrize(
    "draw",
    [
        lambda chance: chance.uniform(5.95, 8.05),
        lambda chance: chance.gauss(7.0, 0.7),
        lambda chance: chance.choice([3.1, 3.3, 12.1]),  # no multiples of a gap: they would be seen at once
    ],
    ids=["even", "bell", "two-humped"],
)
def test_fewer_looks_see_the_end_sooner_than_any_fixed_gap(draw: Draw) -> None:
    looks = learnt(draw)

    seldom, soon = watched(draw, lambda age, chance: looks.gap(age, chance.uniform(0.85, 1.15)))

    for fixed in (0.1, 0.25, 0.5, 1.0, 2.0):
        often, late = watched(draw, lambda *_, gap=fixed: gap)
        assert seldom < often or soon < late
    usual = watched(draw, lambda *_: 0.5)
    assert seldom < 0.7 * usual[0]
    assert soon < 0.7 * usual[1]


def test_the_first_look_is_not_long_before_anything_can_be_ready() -> None:
    looks = learnt(lambda chance: chance.uniform(5.95, 8.05))

    assert 5.5 < looks.gap(0.0) < 6.5
    assert 0.9 < looks.gap(5.0) < 1.5


def test_a_task_that_takes_longer_than_any_is_looked_at_less_and_less_often() -> None:
    looks = learnt(lambda chance: chance.uniform(5.95, 8.05))

    gaps = [looks.gap(age) for age in (8.0, 12.0, 30.0, 100.0, 1000.0)]

    assert gaps == sorted(gaps)
    assert gaps[0] < 0.5
    assert gaps[-1] == LONGEST_S


@given(histograms, st.floats(0, 1e5), st.floats(0.85, 1.15))
def test_no_look_is_too_soon_or_so_late_that_a_results_url_may_die(
    seen: dict[int, int], age: float, jitter: float
) -> None:
    gap = Looks.of(seen).gap(age, jitter)

    assert SHORTEST_S <= gap <= LONGEST_S


@given(histograms, st.floats(0, 1e4), st.floats(0, 100))
def test_who_looks_later_does_not_look_again_sooner_than_who_looked_before(
    seen: dict[int, int], age: float, later: float
) -> None:
    looks = Looks.of(seen)

    assert age + looks.gap(age) <= age + later + looks.gap(age + later) + 1e-6


@given(st.floats(0.001, 5000))
def test_a_duration_lies_in_its_bin(seconds: float) -> None:
    number = bin_of(seconds)

    assert number == 0 or edge(number) <= seconds * 1.000001
    assert number == LAST_BIN or seconds < edge(number + 1) * 1.000001


@given(histograms)
def test_what_is_forgotten_leaves_at_most_what_may_be_held(seen: dict[int, int]) -> None:
    kept = seen
    for _ in range(6):
        kept = halved(kept)

    assert sum(kept.values()) <= MOST
    assert kept.keys() <= seen.keys()
    assert sum(seen.values()) > MOST or kept == seen


def test_what_the_catalogue_says_is_what_its_seed_says() -> None:
    seed = seeded(12.5, 45.0)

    assert quantile(seed, 0.5) == pytest.approx(12.5, rel=0.06)
    assert 25 < quantile(seed, 0.99) < 45


def test_of_nothing_there_is_no_quantile() -> None:
    assert quantile({}, 0.5) == 0.0
