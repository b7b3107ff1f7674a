"""What becomes of firings after an outage, and which runs are held for a person."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.schedules.due import ON_TIME, due
from producers.schedules.file import CatchUp
from producers.schedules.hold import Night, why_held

NOW = datetime(2026, 11, 22, 22, 30, 2, tzinfo=UTC)
NIGHTS = tuple(NOW - timedelta(days=n, seconds=2) for n in (3, 2, 1, 0))


def test_all_catches_up_every_night_in_order() -> None:
    found = due(NIGHTS, NOW, "all")

    assert (found.run, found.missed) == (NIGHTS, ())


def test_last_runs_the_newest_night_and_lets_the_others_go() -> None:
    found = due(NIGHTS[:3], NOW, "last")

    assert (found.run, found.missed) == (NIGHTS[2:3], NIGHTS[:2])


def test_none_runs_only_what_is_on_time() -> None:
    found = due(NIGHTS, NOW, "none")

    assert (found.run, found.missed) == (NIGHTS[3:], NIGHTS[:3])


def test_a_beat_that_was_away_for_a_minute_is_on_time() -> None:
    found = due(NIGHTS[3:], NIGHTS[3] + ON_TIME, "none")

    assert found.run == NIGHTS[3:]


@given(
    ages=st.lists(st.integers(0, 10_000), unique=True, max_size=20),
    policy=st.sampled_from(["none", "last", "all"]),
)
def test_every_firing_is_either_run_or_missed(ages: list[int], policy: CatchUp) -> None:
    firings = tuple(NOW - timedelta(minutes=age) for age in sorted(ages, reverse=True))

    found = due(firings, NOW, policy)

    assert found.missed + found.run == firings


def night(rows: int = 1000, invalid: int = 0, delta: int = 10) -> Night:
    return Night(rows=rows, invalid=invalid, delta=delta)


USUAL = [night(delta=1000), *[night() for _ in range(3)]]


@pytest.mark.parametrize(
    ("found", "earlier", "why"),
    [
        (night(rows=0), [], "empty"),
        (night(rows=0), USUAL, "empty"),
        (night(invalid=201), [], "201 of 1,000 rows are invalid"),
        (night(rows=800), USUAL, "shrunk from 1,000 rows to 800"),
        (night(delta=101), USUAL, "over 10 times the usual 10"),
    ],
)
def test_a_run_is_held(found: Night, earlier: list[Night], why: str) -> None:
    assert why in why_held(found, earlier)


@pytest.mark.parametrize(
    ("found", "earlier"),
    [
        (night(delta=1000), []),
        (night(invalid=200), []),
        (night(rows=801), USUAL),
        (night(delta=100), USUAL),
        (night(delta=1000), USUAL[:3]),
        (night(delta=50), [night(delta=1000), *[night(delta=0) for _ in range(5)]]),
    ],
    ids=["first night", "a fifth invalid", "just under", "ten times", "nothing usual yet", "ten times nothing"],
)
def test_a_run_goes_on(found: Night, earlier: list[Night]) -> None:
    assert why_held(found, earlier) == ""


def test_the_tolerance_is_the_schedules_own() -> None:
    assert "shrunk" in why_held(night(rows=900), USUAL, 0.05)
    assert not why_held(night(rows=500), USUAL, 0.6)
