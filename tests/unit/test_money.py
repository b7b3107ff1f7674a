"""Ceilings as pure decisions: what fits, what waits, which day it is."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.money import (
    PROOF_EDITS,
    UNPROVED,
    Admitted,
    Days,
    Reached,
    Sums,
    TooDear,
    admit,
    over_estimate,
)

RESERVE = 60_000
sums = st.integers(0, 2_000_000)


def admitted(*ceilings: tuple[int, Sums], paid: int = RESERVE, due: int = RESERVE) -> Admitted | TooDear:
    return admit(RESERVE, paid=paid, due=due, ceilings=ceilings)


def test_what_fits_exactly_is_admitted() -> None:
    known = Sums(settled=10, doubt_used=20, reserved=30)

    assert admitted((RESERVE + 60, known)) == Admitted(reserve=RESERVE, unproved=0)
    assert admitted((RESERVE + 59, known)) == TooDear(place=0, waits=True, needed=RESERVE)


def test_what_is_spent_never_comes_back_so_nobody_waits_for_it() -> None:
    spent = Sums(settled=10, doubt_used=20, reserved=30, withheld=30)

    assert admitted((RESERVE + 59, spent)) == TooDear(place=0, waits=False, needed=RESERVE)


def test_a_ceiling_that_leaves_no_room_is_told_before_one_that_has_to_be_waited_for() -> None:
    busy, spent = Sums(reserved=RESERVE), Sums(settled=RESERVE)

    assert admitted((RESERVE, busy), (RESERVE, spent)) == TooDear(place=1, waits=False, needed=RESERVE)


def test_a_dear_model_raises_its_reserve_and_a_cheap_one_does_not_lower_it() -> None:
    plenty = (100 * RESERVE, Sums())

    assert admitted(plenty, paid=5 * RESERVE, due=2 * RESERVE) == Admitted(reserve=150_000, unproved=0)
    assert admitted(plenty, paid=1, due=2 * RESERVE) == Admitted(reserve=RESERVE, unproved=0)


def test_an_edit_of_an_unseen_price_counts_tenfold_but_may_go_alone() -> None:
    assert admitted((UNPROVED * RESERVE, Sums()), due=0) == Admitted(reserve=RESERVE, unproved=9 * RESERVE)
    assert admitted((2 * RESERVE, Sums()), due=0) == Admitted(reserve=RESERVE, unproved=RESERVE)
    assert admitted((10 * RESERVE, Sums(reserved=1)), due=0) == TooDear(place=0, waits=True, needed=RESERVE)


@given(
    st.integers(1, 200_000),
    sums,
    sums,
    st.lists(st.tuples(sums, st.builds(Sums, settled=sums, reserved=sums, doubt_used=sums, unproved=sums)), max_size=3),
)
def test_what_is_admitted_breaks_no_ceiling(
    reserve: int, paid: int, due: int, ceilings: list[tuple[int, Sums]]
) -> None:
    said = admit(reserve, paid=paid, due=due, ceilings=ceilings)

    if isinstance(said, Admitted):
        assert said.reserve >= reserve
        assert said.unproved >= 0
        for ceiling, known in ceilings:
            assert known.gone + known.open + said.reserve + said.unproved <= ceiling
    else:
        ceiling, known = ceilings[said.place]
        assert said.waits == (known.gone + said.needed <= ceiling)


@pytest.mark.parametrize(
    ("edits", "cost", "over"),
    [
        (PROOF_EDITS, 1201, True),
        (PROOF_EDITS, 1200, False),
        (PROOF_EDITS - 1, 9999, False),
        (PROOF_EDITS + 1, 9999, False),
    ],
)
def test_the_first_edits_are_looked_at_once_when_the_last_of_them_is_settled(edits: int, cost: int, over: bool) -> None:
    assert over_estimate(edits, cost, 1000) is over


@pytest.mark.parametrize(
    ("zone", "day"), [("UTC", "2026-11-22"), ("Asia/Tokyo", "2026-11-23"), ("America/New_York", "2026-11-22")]
)
def test_midnight_is_that_of_the_zone(zone: str, day: str) -> None:
    at = datetime(2026, 11, 22, 15, 30, tzinfo=UTC).timestamp()

    assert Days(zone=ZoneInfo(zone)).book(at, simulated=False) == day
    assert Days(zone=ZoneInfo(zone)).book(at, simulated=True) == f"{day}-simulated"


def test_a_reached_ceiling_comes_back_as_it_was_written() -> None:
    reached = Reached(which="day_cap", needed=5, limit=10, day="2026-11-22", zone="UTC")

    assert Reached.from_json(reached.as_json()) == reached
