"""Results in memory: a few at once, and none is left to die because others wait."""

from __future__ import annotations

import threading
from collections import Counter

from running.programs import eventually
from workers.hands import Hands


def test_no_more_hold_a_result_at_once_than_there_are_hands() -> None:
    hands, go_on = Hands(threading.Event(), at_once=2), threading.Event()
    holding: Counter[str] = Counter()

    def hold() -> None:
        with hands.holding(60.0):
            holding["now"] += 1
            go_on.wait(10)
            holding["now"] -= 1

    threads = [threading.Thread(target=hold) for _ in range(5)]
    for thread in threads:
        thread.start()
    eventually(lambda: holding["now"] == 2, 5, "two hold one")
    with hands.holding(0.05) as one_of_few:
        third = one_of_few
    go_on.set()
    for thread in threads:
        thread.join(10)

    assert not third
    assert holding["now"] == 0


def test_who_has_waited_long_enough_holds_his_result_all_the_same_and_takes_nobodys_place() -> None:
    hands = Hands(threading.Event(), at_once=1)

    with hands.holding(1.0) as first:
        with hands.holding(0.0) as second:
            pass
        with hands.holding(0.0) as third:
            pass
    with hands.holding(0.0) as fourth:
        pass

    assert [first, second, third, fourth] == [True, False, False, True]


def test_a_shutdown_ends_the_wait_and_nothing_is_held_then() -> None:
    stopping = threading.Event()
    hands = Hands(stopping, at_once=1)
    found: list[bool | None] = []

    def wait() -> None:
        with hands.holding(60.0) as one_of_few:
            found.append(one_of_few)

    waits = threading.Thread(target=wait, daemon=True)
    with hands.holding(0.0):
        waits.start()
        stopping.set()
        waits.join(5)

        assert found == [None]


def test_a_hand_that_is_free_is_taken_in_a_shutdown_too() -> None:
    stopping = threading.Event()
    hands = Hands(stopping, at_once=1)
    stopping.set()

    with hands.holding(60.0) as one_of_few:
        assert one_of_few is True


def test_a_result_that_cannot_wait_is_held_in_a_shutdown_too() -> None:
    stopping = threading.Event()
    hands = Hands(stopping, at_once=1)
    stopping.set()

    with hands.holding(0.0), hands.holding(0.0) as one_of_few:
        assert one_of_few is False
