"""What a run remembers of its rows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from producers.schedules.marks import Marks

MARKS = st.lists(st.integers(0, 2**64 - 1), max_size=50)


@given(MARKS, MARKS)
def test_what_was_added_is_known_after_it_was_kept_and_nothing_else(added: list[int], others: list[int]) -> None:
    marks = Marks()
    for mark in added:
        marks.add(mark)

    kept = Marks.from_bytes(marks.as_bytes())

    for mark in added + others:
        assert (mark in kept) is (mark in added) is (mark in marks)


def test_what_was_cut_off_on_its_way_is_left_out() -> None:
    marks = Marks()
    marks.add(7)

    assert 7 in Marks.from_bytes(marks.as_bytes() + b"abc")
