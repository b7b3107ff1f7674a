"""What a process says that it cannot reach: outages, and nothing that is over or was only a hiccup."""

from __future__ import annotations

import pytest

from workers.away import LASTING_S, STALE_S, Away


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def away(clock: Clock) -> Away:
    return Away(clock)


def test_a_part_that_only_fails_is_away_after_a_while_with_its_latest_reason(away: Away, clock: Clock) -> None:
    away.failed("api", "ConnectTimeout")
    at_once = away.lasting()

    clock.time += LASTING_S
    away.failed("api", "ConnectError")

    assert at_once == {}
    assert away.lasting() == {"api": "ConnectError"}


def test_one_answer_is_enough_to_be_back(away: Away, clock: Clock) -> None:
    away.failed("api", "ConnectError")
    clock.time += LASTING_S
    away.answered("api")
    away.failed("api", "ReadTimeout")

    assert away.lasting() == {}


def test_a_failure_that_nobody_has_seen_for_long_is_forgotten(away: Away, clock: Clock) -> None:
    away.failed("storage", "no answer")

    clock.time += STALE_S + 1

    assert away.lasting() == {}


def test_parts_are_told_apart(away: Away, clock: Clock) -> None:
    away.failed("api", "ConnectError")
    away.failed("storage", "no answer")
    clock.time += LASTING_S
    away.answered("api")

    assert away.lasting() == {"storage": "no answer"}
