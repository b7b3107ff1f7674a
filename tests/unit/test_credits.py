"""What two readings of an account's credits prove of the doubts between them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.credits import ROUNDING, Finding, Reading, Verdict, judge, said

DAY, NEXT, KEY, OTHER = "2026-11-22", "2026-11-23", "k1", "k2"


def reading(credit: int = 0, settled: int = 0, unsure: int = 0, **more: Any) -> Reading:
    known: dict[str, Any] = {
        "at": 0.0,
        "epoch": "e",
        "intents": 1,
        "micros": {KEY: credit},
        "books": {DAY: {KEY: (settled, unsure)}},
    }
    return Reading(**known | more)


def test_where_known_edits_explain_what_is_gone_nothing_in_doubt_was_charged() -> None:
    found = judge(reading(900_000, 10_000), reading(810_000, 100_000), KEY, [45_000, 45_000])

    assert (found.verdict, found.doubts, found.unexplained) == (Verdict.UNCHARGED, 2, 0)


@pytest.mark.parametrize("off", [-ROUNDING, ROUNDING])
def test_sums_may_be_off_by_a_hundredth_of_a_credit(off: int) -> None:
    assert judge(reading(900_000), reading(900_000 + off), KEY, [45_000]).verdict is Verdict.UNCHARGED


@pytest.mark.parametrize(
    ("gone", "verdict"),
    [
        (ROUNDING + 1, Verdict.SOME),
        (45_000, Verdict.SOME),
        (90_000, Verdict.ALL),
        (135_000, Verdict.SOME),
        (-ROUNDING - 1, Verdict.OTHERS),
    ],
)
def test_what_else_is_gone_or_came_is_said_and_proves_nothing(gone: int, verdict: Verdict) -> None:
    found = judge(reading(900_000), reading(900_000 - gone), KEY, [45_000, 45_000])

    assert (found.verdict, found.unexplained, found.all) == (verdict, gone, 90_000)


def test_a_cost_that_is_not_sure_proves_nothing() -> None:
    assert judge(reading(9, 0, 3), reading(9, 0, 4), KEY, [45_000]).verdict is Verdict.UNSURE


def test_a_key_whose_credits_are_not_known_from_before_or_now_proves_nothing() -> None:
    unknown = reading(micros={})

    assert judge(unknown, reading(9), KEY, [45_000]).verdict is Verdict.UNSEEN
    assert judge(reading(9), unknown, KEY, [45_000]).verdict is Verdict.UNSEEN


def test_the_days_after_the_first_reading_count_in_full() -> None:
    now = reading(800_000, books={DAY: {KEY: (40_000, 0)}, NEXT: {KEY: (70_000, 0)}})

    assert judge(reading(900_000, 10_000), now, KEY, [45_000]).verdict is Verdict.UNCHARGED


def test_edits_of_another_key_on_the_same_account_prove_nothing_wrong() -> None:
    base = reading(micros={KEY: 900_000, OTHER: 900_000})
    now = reading(micros={KEY: 800_000, OTHER: 800_000}, books={DAY: {KEY: (40_000, 0), OTHER: (60_000, 0)}})

    assert judge(base, now, KEY, [45_000]).verdict is Verdict.SOME


@pytest.mark.parametrize(
    "later",
    [
        reading(900_001),
        reading(900_000, settled=1),
        reading(900_000, unsure=1),
        reading(900_000, intents=2),
        reading(900_000, epoch="f"),
        reading(900_000, books={DAY: {KEY: (0, 0)}, NEXT: {KEY: (5, 0)}}),
    ],
)
def test_readings_between_which_something_happened_do_not_agree(later: Reading) -> None:
    assert not later.agrees(reading(900_000))


def test_readings_between_which_only_time_passed_agree() -> None:
    later = reading(900_000, at=60.0, books={DAY: {KEY: (0, 0)}, NEXT: {KEY: (0, 0)}})

    assert later.agrees(reading(900_000))


def test_a_reading_is_read_back_from_its_text() -> None:
    found = Reading.from_json(reading(900_000, 5, 1).as_json())

    assert found.agrees(reading(900_000, 5, 1))
    assert judge(found, found, KEY, [1]).verdict is Verdict.UNCHARGED


def test_the_document_says_what_is_gone_and_for_how_many_rows() -> None:
    found = said({"verdict": "some", "doubts": 4, "unexplained": 30_000, "all": 56_000})

    assert found == {
        "verdict": "some",
        "doubts": 4,
        "unexplained_usd": 0.03,
        "expected_usd": 0.056,
        "sentence": "$0.03 are gone that no known edit explains; the 4 rows in doubt would cost $0.056.",
    }
    assert said({}) is None


def test_what_is_said_of_two_keys_is_added_up() -> None:
    one = Finding(verdict=Verdict.ALL, doubts=1, unexplained=10, all=10)
    other = Finding(verdict=Verdict.UNSURE, doubts=2, unexplained=-5, all=30)

    assert one + other == Finding(verdict=Verdict.SOME, doubts=3, unexplained=5, all=40)
    assert (one + one).verdict is Verdict.ALL


costs = st.integers(ROUNDING + 1, 200_000)


@given(
    mine=st.lists(costs, max_size=5),
    others=st.lists(costs, max_size=3),
    doubts=st.lists(st.tuples(costs, st.booleans()), min_size=1, max_size=6),
    spent=st.lists(costs, max_size=2),
    shared=st.booleans(),
)
def test_whatever_else_is_spent_on_the_account_what_was_charged_is_never_proved_uncharged(
    mine: list[int], others: list[int], doubts: list[tuple[int, bool]], spent: list[int], shared: bool
) -> None:
    """`mine` and `others` are known edits of two keys, of one account or not; `spent` is somebody else's."""
    charged = sum(cost for cost, was in doubts if was)
    gone = sum(mine) + charged + sum(spent) + (sum(others) if shared else 0)
    base = reading(micros={KEY: 10**7, OTHER: 10**7})
    books = {DAY: {KEY: (sum(mine), 0), OTHER: (sum(others), 0)}}
    now = reading(micros={KEY: 10**7 - gone, OTHER: 10**7 - (gone if shared else sum(others))}, books=books)

    found = judge(base, now, KEY, [cost for cost, _ in doubts])

    if found.verdict is Verdict.UNCHARGED:
        assert charged == 0
    if not (charged or spent or (shared and others)):
        assert found.verdict is Verdict.UNCHARGED
