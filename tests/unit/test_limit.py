"""How far a limit is lowered by refusals, and how it rises again: the law itself, without any ledger."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.limit import FIRST_REST_S, LONGEST_REST_S, Limit

MOST = 24
NOW = 1_800_000_000.0


def lowered(size: int, **known: object) -> Limit:
    """Return a limit that was lowered when submission 100 had begun."""
    return replace(Limit(most=MOST, size=size, since=NOW, mark=100), **known)  # type: ignore[arg-type]


def proved(limit: Limit, now: float, *, intent: int = 200) -> Limit:
    """Return the limit after as many submissions as it has places were taken while all were in use."""
    for _ in range(limit.size):
        limit = limit.taken(intent=intent, latest=intent, full=True, now=now)
    return limit


# -- down


def test_a_refusal_leaves_three_quarters() -> None:
    limit = Limit.whole(MOST).refused(intent=7, latest=24, now=NOW)

    assert (limit.size, limit.since, limit.lowered) == (18, NOW, True)


@pytest.mark.parametrize(("size", "left"), [(12, 9), (4, 3), (2, 1), (1, 1)])
def test_the_part_that_is_left_is_a_whole_number_and_never_none(size: int, left: int) -> None:
    assert lowered(size).refused(intent=101, latest=110, now=NOW).size == left


def test_refusals_of_submissions_that_had_begun_already_are_one_burst() -> None:
    limit = Limit.whole(MOST)

    for intent in range(1, 25):
        limit = limit.refused(intent=intent, latest=24, now=NOW)

    assert (limit.size, limit.strikes) == (18, 1)


def test_a_submission_that_began_afterwards_and_is_refused_lowers_it_again() -> None:
    limit = lowered(18).refused(intent=101, latest=106, now=NOW)

    assert (limit.size, limit.mark) == (13, 106)


def test_numbers_that_start_anew_with_the_ledgers_life_are_no_burst_of_the_life_before() -> None:
    assert lowered(18).refused(intent=3, latest=5, now=NOW).size == 13


def test_too_many_requests_in_a_time_lower_nothing_and_are_counted_once_a_burst() -> None:
    limit = Limit.whole(MOST)

    for intent in range(1, 25):
        limit = limit.slowed(intent=intent, latest=24)

    assert (limit.size, limit.strikes, limit.lowered) == (MOST, 1, False)


# -- up


def test_it_rises_by_one_when_as_many_as_it_has_places_were_taken_while_all_were_in_use() -> None:
    almost = lowered(9)
    for _ in range(8):
        almost = almost.taken(intent=101, latest=120, full=True, now=NOW + FIRST_REST_S)

    limit = almost.taken(intent=101, latest=120, full=True, now=NOW + FIRST_REST_S)

    assert almost.size == 9
    assert (limit.size, limit.probing) == (10, True)


def test_what_was_taken_while_places_were_free_proves_nothing() -> None:
    limit = lowered(3)
    for _ in range(50):
        limit = limit.taken(intent=101, latest=120, full=False, now=NOW + 3600)

    assert limit.size == 3


def test_what_began_before_the_lowering_proves_nothing() -> None:
    limit = lowered(3, strikes=1)

    assert proved(limit, NOW + 3600, intent=100) == limit


def test_it_does_not_rise_before_its_rest_is_over() -> None:
    limit = lowered(9, raise_at=NOW + 10)

    early = proved(limit, NOW + 9.9)
    late = early.taken(intent=200, latest=200, full=True, now=NOW + 10)

    assert (early.size, late.size) == (9, 10)


def test_a_raise_that_is_refused_goes_back_by_that_one_only_and_rests_for_twice_as_long() -> None:
    limit, now = proved(lowered(12), NOW), NOW
    rests = []
    for number in range(300, 306):
        limit = limit.refused(intent=number, latest=number, now=now)
        assert limit.size == 12
        rests.append(limit.rest_s)
        now += limit.rest_s
        limit = proved(limit, now, intent=number + 1)
        assert limit.size == 13

    assert rests == [FIRST_REST_S, 10.0, 20.0, 40.0, LONGEST_REST_S, LONGEST_REST_S]


def test_a_raise_that_is_proved_forgets_the_rests_before_and_is_followed_by_the_next() -> None:
    limit = lowered(12, probing=True, rest_s=40.0)

    after = proved(limit, NOW)

    assert (after.size, after.rest_s, after.probing) == (13, 0.0, True)


def test_the_catalogues_size_is_proved_like_any_other_and_then_nothing_is_remembered() -> None:
    limit = proved(lowered(23), NOW)

    assert (limit.size, limit.lowered, limit == Limit.whole(MOST)) == (24, False, False)
    assert proved(limit, NOW) == Limit.whole(MOST)


def test_a_refused_raise_to_the_catalogues_size_goes_back_by_one() -> None:
    limit = proved(lowered(23), NOW).refused(intent=300, latest=300, now=NOW)

    assert (limit.size, limit.since) == (23, NOW)


def test_a_submission_that_is_taken_ends_the_row_of_refusals() -> None:
    slowed = Limit.whole(MOST).slowed(intent=1, latest=1).slowed(intent=2, latest=2)

    assert slowed.strikes == 2
    assert slowed.taken(intent=3, latest=3, full=False, now=NOW) == Limit.whole(MOST)
    assert lowered(9, strikes=4).taken(intent=101, latest=101, full=False, now=NOW) == lowered(9)


# -- what is written down


def test_a_limit_is_read_as_it_was_written() -> None:
    limit = lowered(9, strikes=2, fitted=4, probing=True, rest_s=10.0, raise_at=NOW + 3)

    assert Limit.from_json(json.dumps(limit.as_json()), MOST) == limit


def test_a_limit_that_was_written_under_a_higher_setting_is_read_within_the_lower_one() -> None:
    read = Limit.from_json(json.dumps(lowered(18).as_json()), 6)

    assert (read.size, read.most, read.lowered) == (6, 6, False)


# -- the law as a whole

moves = st.lists(
    st.tuples(
        st.sampled_from(["refused", "taken", "slowed"]),
        st.integers(0, 30),  # how long ago, in submissions, the one that is told of began
        st.booleans(),
        st.floats(0, 30),
    ),
    max_size=300,
)


@given(most=st.integers(1, 30), told=moves)
@settings(max_examples=300, deadline=None)
def test_whatever_happens_it_stays_between_one_and_the_catalogues_and_a_burst_lowers_it_once(
    most: int, told: list[tuple[str, int, bool, float]]
) -> None:
    limit, now = Limit.whole(most), NOW
    for latest, (what, ago, full, seconds) in enumerate(told, start=1):
        now += seconds
        intent, was = max(latest - ago, 1), limit
        if what == "refused":
            limit = limit.refused(intent=intent, latest=latest, now=now)
            again = limit.refused(intent=max(intent - 1, 1), latest=latest, now=now)
            assert again == limit
            assert (limit.size < was.size or was.size == 1) or intent <= was.mark
        elif what == "slowed":
            limit = limit.slowed(intent=intent, latest=latest)
            assert limit.size == was.size
        else:
            limit = limit.taken(intent=intent, latest=latest, full=full, now=now)
            assert was.size <= limit.size <= was.size + 1
        assert 1 <= limit.size <= most


@given(room=st.integers(1, MOST))
@settings(max_examples=24, deadline=None)
def test_with_any_room_at_the_api_it_settles_at_that_room_and_comes_back_when_all_of_it_is_free(room: int) -> None:
    limit, now, numbers = Limit.whole(MOST), NOW, count(1)

    def asked(room: int, seconds: float) -> list[int]:
        """Let every place be asked for, one submission a second; return the sizes."""
        nonlocal limit, now
        sizes = []
        for _ in range(int(seconds)):
            now, number = now + 1.0, next(numbers)
            if limit.size > room:
                limit = limit.refused(intent=number, latest=number, now=now)
            else:
                limit = limit.taken(intent=number, latest=number, full=True, now=now)
            sizes.append(limit.size)
        return sizes

    asked(room, 900)
    settled = asked(room, 600)
    back = asked(MOST, 900)

    assert set(settled) <= {room, room + 1}
    assert settled.count(room + 1) <= 20
    assert back[-1] == MOST
    assert limit == Limit.whole(MOST)
