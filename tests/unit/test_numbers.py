"""Row numbers as bits: a set in all that anybody can see, but for its size."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from producers.numbers import RowNumbers

NUMBERS = st.lists(st.integers(min_value=0, max_value=5_000))


@given(numbers=NUMBERS)
def test_they_are_a_set_in_order(numbers: list[int]) -> None:
    found = RowNumbers(numbers)

    assert list(found) == sorted(set(numbers))
    assert set(found) == set(numbers)
    assert (len(found), bool(found)) == (len(set(numbers)), bool(numbers))


@given(numbers=NUMBERS, asked=st.integers(min_value=-10, max_value=5_010))
def test_what_was_added_is_there_and_nothing_else(numbers: list[int], asked: int) -> None:
    assert (asked in RowNumbers(numbers)) == (asked in numbers)


def test_a_million_rows_take_less_than_a_byte_each() -> None:
    found = RowNumbers()

    found.add(1_000_000)

    assert len(found._bits) < 200_000
