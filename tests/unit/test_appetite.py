"""A worker that takes no messages although some wait: known by what it does not do."""

from __future__ import annotations

from tests.unit.desks import Clock
from workers.appetite import DOUBTFUL_S, STARVED_S, Appetite


def looked(appetite: Appetite, clock: Clock, *, seconds: float, waiting: int = 3, room: bool = True) -> bool:
    """Look every 5 s for so long, and return what the last look says."""
    said = False
    for _ in range(int(seconds // 5)):
        clock.advance(5)
        said = appetite.doubtful() and appetite.lost(waiting=waiting, room=room)
    return said


def hungry() -> tuple[Appetite, Clock]:
    clock = Clock()
    return Appetite(monotonic=clock), clock


def test_messages_that_wait_for_a_minute_beside_free_threads_tell_that_none_are_taken() -> None:
    appetite, clock = hungry()

    assert not looked(appetite, clock, seconds=STARVED_S)
    assert looked(appetite, clock, seconds=10)


def test_one_message_that_is_taken_gives_it_all_its_time_again() -> None:
    appetite, clock = hungry()
    looked(appetite, clock, seconds=STARVED_S)

    appetite.fed()

    assert not looked(appetite, clock, seconds=STARVED_S)


def test_a_process_without_room_is_not_expected_to_take_any() -> None:
    appetite, clock = hungry()

    assert not looked(appetite, clock, seconds=600, room=False)
    assert not looked(appetite, clock, seconds=STARVED_S)


def test_an_empty_queue_says_nothing() -> None:
    appetite, clock = hungry()

    assert not looked(appetite, clock, seconds=600, waiting=0)
    assert not looked(appetite, clock, seconds=STARVED_S)


def test_queues_are_not_asked_while_messages_are_taken() -> None:
    appetite, clock = hungry()

    said = []
    for _ in range(4):
        clock.advance(DOUBTFUL_S - 1)
        said.append(appetite.doubtful())
        appetite.fed()
    clock.advance(DOUBTFUL_S)

    assert said == [False] * 4
    assert appetite.doubtful()
