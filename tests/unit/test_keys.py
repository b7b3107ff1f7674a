"""The key ring: turns, parking, and that a key's name says nothing about the key."""

from __future__ import annotations

from tests.unit.desks import KEY, OTHER_KEY, Clock
from workers.keys import PARKED_S, KeyRing


def ring() -> tuple[KeyRing, Clock]:
    clock = Clock()
    return KeyRing([KEY, OTHER_KEY], clock), clock


def test_keys_are_handed_out_in_turn() -> None:
    keys, _ = ring()

    taken = [keys.next() for _ in range(4)]

    assert taken[:2] == taken[2:]
    assert {key.id for key in taken if key} == {KEY.id, OTHER_KEY.id}


def test_a_parked_key_is_left_out_while_another_one_works() -> None:
    keys, _ = ring()

    assert keys.park(KEY.id)
    assert {key.id for key in (keys.next(), keys.next(), keys.next()) if key} == {OTHER_KEY.id}


def test_the_last_key_that_is_parked_leaves_none() -> None:
    keys, _ = ring()
    keys.park(KEY.id)

    assert not keys.park(OTHER_KEY.id)
    assert keys.next() is None


def test_a_parked_key_is_tried_again_after_a_minute() -> None:
    keys, clock = ring()
    keys.park(KEY.id)
    keys.park(OTHER_KEY.id)

    clock.advance(PARKED_S)

    assert keys.next() is not None


def test_a_parked_key_is_still_known_for_the_tasks_that_it_submitted() -> None:
    keys, _ = ring()
    keys.park(KEY.id)

    assert keys.of(KEY.id) == KEY
    assert keys.of("gone") is None


def test_a_ring_without_keys_has_none_to_give() -> None:
    assert KeyRing([], Clock()).next() is None


def test_a_keys_name_and_its_text_do_not_show_the_key() -> None:
    secret = KEY.secret.get_secret_value()

    assert secret not in repr(KEY)
    assert KEY.id not in secret
    assert len(KEY.id) == 8
