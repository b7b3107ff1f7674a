"""A freed slot wakes the first of each line; whoever leaves a line wakes the next one."""

from __future__ import annotations

from contextlib import ExitStack
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from workers.lines import Line, Lines, Turn

ONE: Line = ("main", "flux", "one")
OTHER: Line = ("main", "flux", "other")


def woken(turns: list[Turn]) -> list[int]:
    return [n for n, turn in enumerate(turns) if turn.is_set()]


def test_a_freed_slot_wakes_the_first_of_each_line() -> None:
    lines = Lines()
    with ExitStack() as stack:
        turns = [stack.enter_context(lines.standing(line)) for line in (ONE, ONE, OTHER, OTHER)]

        lines.wake()

        assert woken(turns) == [0, 2]


def test_who_leaves_with_the_last_slot_wakes_nobody() -> None:
    lines = Lines()
    with ExitStack() as stack:
        with lines.standing(ONE) as first:
            turns = [stack.enter_context(lines.standing(ONE)) for _ in range(2)]
            lines.heed(ONE, first)
            first.took_the_last = True

        assert woken(turns) == []


def test_who_leaves_with_the_last_slot_hands_on_what_was_told_since_he_looked() -> None:
    lines = Lines()
    with ExitStack() as stack:
        with lines.standing(ONE) as first:
            turns = [stack.enter_context(lines.standing(ONE)) for _ in range(2)]
            lines.heed(ONE, first)
            lines.wake()
            first.took_the_last = True

        assert woken(turns) == [0]


def test_news_say_for_which_places_somebody_was_woken() -> None:
    lines = Lines()
    with ExitStack() as stack:
        for line in (ONE, OTHER, ("second", "kontext-max", "one")):
            stack.enter_context(lines.standing(line))

        assert [lines.wake(), lines.wake()] == [{("main", "flux"), ("second", "kontext-max")}, set()]


def test_two_freed_slots_wake_two_although_neither_has_looked_yet() -> None:
    lines = Lines()
    with ExitStack() as stack:
        turns = [stack.enter_context(lines.standing(ONE)) for _ in range(3)]

        lines.wake()
        lines.wake()

        assert woken(turns) == [0, 1]


def test_whoever_leaves_wakes_the_next_one() -> None:
    lines = Lines()
    with ExitStack() as stack:
        with lines.standing(ONE):
            turns = [stack.enter_context(lines.standing(ONE)) for _ in range(2)]

        assert woken(turns) == [0]


def test_whoever_was_woken_and_found_nothing_stays_the_first() -> None:
    lines = Lines()
    with ExitStack() as stack:
        turns = [stack.enter_context(lines.standing(ONE)) for _ in range(2)]
        lines.wake()
        lines.heed(ONE, turns[0])

        lines.wake()

        assert woken(turns) == [0]


def test_whoever_steps_out_wakes_the_next_one_and_hears_nothing_until_it_stands_there_again() -> None:
    lines = Lines()
    with ExitStack() as stack:
        turns = [stack.enter_context(lines.standing(ONE)) for _ in range(3)]

        lines.step_out(ONE, turns[0])
        lines.wake()
        out = woken(turns)
        lines.heed(ONE, turns[0])
        lines.wake()

        assert (out, woken(turns)) == ([1, 2], [0, 1, 2])


def test_whoever_steps_out_hands_on_the_news_that_woke_it() -> None:
    lines = Lines()
    with ExitStack() as stack:
        turns = [stack.enter_context(lines.standing(ONE)) for _ in range(2)]
        lines.wake()

        lines.step_out(ONE, turns[0])

        assert woken(turns) == [1]


def test_a_shutdown_wakes_everybody() -> None:
    lines = Lines()
    with ExitStack() as stack:
        turns = [stack.enter_context(lines.standing(line)) for line in (ONE, ONE, OTHER)]

        lines.wake_all()

        assert woken(turns) == [0, 1, 2]


@given(
    st.lists(st.sampled_from(["join", "wake", "look", "step out", "leave"]), max_size=60),
    st.randoms(use_true_random=False),
)
def test_as_long_as_anybody_waits_news_wake_somebody_who_did_not_know_yet(moves: list[str], random: Random) -> None:
    lines = Lines()
    standing: list[tuple[Turn, ExitStack]] = []
    for move in moves:
        asleep = [turn for turn, _ in standing if turn.in_line]
        if move == "join":
            stack = ExitStack()
            standing.append((stack.enter_context(lines.standing(ONE)), stack))
        elif move == "wake":
            lines.wake()
            assert sum(turn.is_set() for turn in asleep) == min(len(asleep), 1)
        elif move == "look" and standing:
            turn, _ = random.choice(standing)
            lines.heed(ONE, turn)
            assert not turn.is_set()
        elif move in {"step out", "leave"} and standing:
            left = standing[random.randrange(len(standing))]
            if move == "leave":
                standing.remove(left)
                left[1].close()
            else:
                lines.step_out(ONE, left[0])
                assert not left[0].is_set()
            others = [turn for turn in asleep if turn is not left[0]]
            assert sum(turn.is_set() for turn in others) == min(len(others), 1)
    for _, stack in standing:
        stack.close()
    assert not lines._lines
