"""Bounds as values: what settings make of them, and by which name a group counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.bounds import LONGEST_NAME, Bounds, End, Shares, Stop, may_try_again, name_of, slid


def test_more_than_half_is_borne_by_nobody_unless_somebody_says_otherwise() -> None:
    assert Shares().of(0) == Bounds(failed=15, failed_batch=50, moderated=15, moderated_cost=5_000_000)


def test_a_share_of_one_never_stops_and_one_of_zero_always_does() -> None:
    never, always = Shares(failed=1.0, moderated=1.0).of(0), Shares(failed=0.0, moderated=0.0).of(0)

    assert (never.failed, never.failed_batch, never.moderated) == (30, 100, 30)
    assert (always.failed, always.failed_batch, always.moderated) == (0, 0, 0)


@pytest.mark.parametrize(("expected", "most"), [(0, 5_000_000), (50_000_000, 5_000_000), (900_000_000, 90_000_000)])
def test_moderated_rows_may_cost_a_tenth_of_the_estimate_and_five_dollars_at_least(expected: int, most: int) -> None:
    assert Shares().of(expected).moderated_cost == most
    assert Shares(moderated_cost=7).of(expected).moderated_cost == 7


def test_a_group_is_the_manifests_own_else_model_and_template() -> None:
    assert name_of("chairs", "flux", "front") == "chairs"
    assert name_of("", "flux", "front") == "flux/front"
    assert name_of("", "flux", "") == "flux"


@given(st.text(min_size=LONGEST_NAME + 1), st.text(min_size=LONGEST_NAME + 1))
def test_long_names_are_cut_and_stay_apart(one: str, other: str) -> None:
    names = name_of(one, "m", ""), name_of(other, "m", "")

    assert all(len(name) == LONGEST_NAME + 9 for name in names)
    assert (names[0] == names[1]) == (one == other)


@given(st.lists(st.sampled_from([End.STORED, End.FAILED, End.MODERATED])), st.integers(1, 40))
def test_a_window_has_the_last_ends_and_no_others(ends: list[End], size: int) -> None:
    window = ""
    for end in ends:
        window = slid(window, end, size)

    assert list(window) == [str(end) for end in ends[-size:]]


@given(st.integers(0, 10_000))
def test_new_tries_are_never_over_a_fifth_of_the_calls_but_for_the_first_20(calls: int) -> None:
    retried = 0
    while may_try_again(calls, retried):
        retried += 1

    assert retried == max(20, calls // 5)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 2**41))
def test_a_stop_reads_back_as_it_was_written(count: int, of: int, ms: int) -> None:
    stop = Stop(why="moderated", count=count, of=of, at=ms / 1000)

    assert Stop.from_text(stop.as_text()) == stop
