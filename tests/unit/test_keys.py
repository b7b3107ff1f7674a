"""The key ring: turns, parking, and that a key's name says nothing about the key."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import SecretStr

from tests.unit.desks import KEY, OTHER_KEY, Clock
from workers.api.client import Key
from workers.keys import REST_S, RUN, SPENT_S, KeyRing

THIRD = Key.of(SecretStr("a-third-key-for-tests"))


def ring() -> tuple[KeyRing, Clock]:
    clock = Clock()
    return KeyRing([KEY, OTHER_KEY], clock), clock


def test_keys_are_handed_out_in_turn() -> None:
    keys, _ = ring()

    taken = [keys.next() for _ in range(4)]

    assert taken[:2] == taken[2:]
    assert {key.id for key in taken if key} == {KEY.id, OTHER_KEY.id}


def test_of_several_accounts_the_one_that_fewest_wait_for_comes_first() -> None:
    there = replace(OTHER_KEY, account="other")
    keys = KeyRing([KEY, there], Clock())
    waiting = {"main": 2, "other": 1}

    assert [keys.next(waiting.__getitem__) for _ in range(3)] == [there] * 3


def test_keys_of_accounts_that_equally_many_wait_for_take_turns() -> None:
    there = replace(OTHER_KEY, account="other")
    keys = KeyRing([KEY, there], Clock())

    taken = [keys.next(lambda _: 3) for _ in range(4)]

    assert taken[:2] == taken[2:]
    assert {key.account for key in taken if key} == {"main", "other"}


def test_a_key_with_money_left_comes_before_one_of_an_account_that_fewer_wait_for() -> None:
    there = replace(OTHER_KEY, account="other")
    keys = KeyRing([KEY, there], Clock())
    keys.spent(there.id)

    assert keys.next({"main": 9, "other": 0}.__getitem__) == KEY


def test_a_key_that_moves_to_another_account_is_a_change() -> None:
    keys, _ = ring()

    changed = keys.replace([KEY, replace(OTHER_KEY, account="other")])

    assert (changed, keys.replace([KEY, replace(OTHER_KEY, account="other")])) == (True, False)


def test_a_key_of_nobody_knows_which_account_is_left_out_and_told() -> None:
    keys, _ = ring()

    changed = keys.replace([replace(KEY, account=""), OTHER_KEY])

    assert (changed, keys.ids, keys.unnamed) == (True, [OTHER_KEY.id], [KEY.id])
    assert {keys.next() for _ in range(3)} == {OTHER_KEY}


def test_only_the_key_that_is_taken_is_on_trial() -> None:
    keys, clock = ring()
    for key in (KEY, OTHER_KEY):
        for _ in range(RUN):
            keys.failed(key.id)
    clock.advance(REST_S)

    assert {key.id for key in (keys.next(), keys.next()) if key} == {KEY.id, OTHER_KEY.id}


def test_a_task_is_looked_at_with_its_own_key_else_one_of_its_account_else_none() -> None:
    there = replace(THIRD, account="other")
    keys = KeyRing([KEY, OTHER_KEY, there], Clock())

    own = keys.to_poll(OTHER_KEY.id)
    keys.park(OTHER_KEY.id)
    neighbour = keys.to_poll(OTHER_KEY.id)
    keys.park(KEY.id)

    assert (own, neighbour, keys.to_poll(KEY.id)) == (OTHER_KEY, KEY, None)
    assert keys.to_poll("gone", "other") == there


def test_a_task_is_looked_at_with_a_key_without_credits_only_where_none_of_its_account_works() -> None:
    there = replace(THIRD, account="other")
    keys = KeyRing([KEY, OTHER_KEY, there], Clock())
    keys.park(OTHER_KEY.id, "HTTP 402: Insufficient credits")

    while_another_works = keys.to_poll(OTHER_KEY.id)
    keys.park(KEY.id, "HTTP 402: Insufficient credits")

    assert (while_another_works, keys.to_poll(OTHER_KEY.id), keys.to_poll("gone")) == (KEY, OTHER_KEY, KEY)


@pytest.mark.parametrize("why", ["HTTP 401: no", "HTTP 403: Not authenticated", "HTTP 422: Invalid API key format"])
def test_a_task_is_not_looked_at_with_a_key_that_is_refused_itself(why: str) -> None:
    keys = KeyRing([KEY], Clock())

    keys.park(KEY.id, why)

    assert keys.to_poll(KEY.id) is None


def test_a_parked_key_is_left_out_while_another_one_works() -> None:
    keys, _ = ring()

    assert keys.park(KEY.id)
    assert {key.id for key in (keys.next(), keys.next(), keys.next()) if key} == {OTHER_KEY.id}


def test_the_last_key_that_is_parked_leaves_none() -> None:
    keys, _ = ring()
    keys.park(KEY.id)

    assert not keys.park(OTHER_KEY.id)
    assert keys.next() is None


def test_a_key_stays_parked_until_the_ledger_says_otherwise() -> None:
    keys, clock = ring()
    keys.park(KEY.id)
    keys.park(OTHER_KEY.id)
    clock.advance(3600)

    before = keys.next()
    keys.parked({OTHER_KEY.id: "HTTP 403: no"})

    assert before is None
    assert keys.next() == KEY


def test_keys_of_a_rotated_file_replace_the_old_ones() -> None:
    keys, _ = ring()
    keys.park(KEY.id)
    keys.park(OTHER_KEY.id)

    assert keys.replace([THIRD])
    assert not keys.replace([THIRD])
    assert keys.next() == THIRD
    assert keys.of(KEY.id) is None


def test_a_task_is_looked_at_with_its_own_key_else_with_one_that_works_else_with_none() -> None:
    keys, _ = ring()

    own = keys.to_poll(KEY.id)
    keys.park(KEY.id)
    other = keys.to_poll(KEY.id)
    keys.park(OTHER_KEY.id)

    assert (own, other, keys.to_poll(KEY.id)) == (KEY, OTHER_KEY, None)


def test_a_key_behind_which_submissions_only_fail_rests_and_is_then_tried_by_one_job() -> None:
    clock = Clock()
    keys = KeyRing([KEY], clock)
    for _ in range(RUN):
        keys.failed(KEY.id)

    resting = keys.next()
    clock.advance(REST_S)
    tried, others = keys.next(), [keys.next() for _ in range(3)]
    keys.answered(KEY.id)

    assert (resting, tried, others) == (None, KEY, [None] * 3)
    assert keys.works
    assert [keys.next() for _ in range(3)] == [KEY] * 3


def test_a_trial_that_fails_makes_the_rest_longer() -> None:
    clock = Clock()
    keys = KeyRing([KEY], clock)
    for _ in range(RUN):
        keys.failed(KEY.id)
    clock.advance(REST_S)
    keys.next()
    clock.advance(REST_S)

    keys.failed(KEY.id)
    clock.advance(1.9 * REST_S)
    early = keys.next()
    clock.advance(0.2 * REST_S)

    assert (early, keys.next()) == (None, KEY)


def test_a_trial_that_fails_at_once_makes_the_rest_longer_too() -> None:
    clock = Clock()
    keys = tired(clock)
    clock.advance(REST_S)
    keys.next()

    keys.failed(KEY.id)
    clock.advance(1.9 * REST_S)
    early = keys.next()
    clock.advance(0.2 * REST_S)

    assert (early, keys.next()) == (None, KEY)


def tired(clock: Clock) -> KeyRing:
    """Return a ring whose one key has just begun to rest."""
    keys = KeyRing([KEY], clock)
    for _ in range(RUN):
        keys.failed(KEY.id)
    return keys


def test_an_api_that_was_away_and_is_back_is_tried_at_once_and_by_one_job() -> None:
    clock = Clock()
    keys = tired(clock)

    keys.looked(KEY.id, answers=False)
    away = keys.next()
    keys.looked(KEY.id, answers=True)
    tried, others = keys.next(), [keys.next() for _ in range(3)]

    assert (away, tried, others) == (None, KEY, [None] * 3)


def test_an_api_that_answers_and_only_fails_submissions_is_left_its_rest() -> None:
    clock = Clock()
    keys = tired(clock)

    for _ in range(10):
        keys.looked(KEY.id, answers=True)

    assert keys.next() is None
    clock.advance(REST_S)
    assert keys.next() == KEY


def test_a_trial_that_fails_needs_another_outage_to_be_repeated_at_once() -> None:
    clock = Clock()
    keys = tired(clock)
    keys.looked(KEY.id, answers=False)
    keys.looked(KEY.id, answers=True)
    keys.next()
    clock.advance(REST_S)

    keys.failed(KEY.id)
    keys.looked(KEY.id, answers=True)

    assert keys.next() is None


def test_only_keys_that_rest_and_are_not_parked_are_asked_about() -> None:
    keys, _ = ring()
    for _ in range(RUN):
        keys.failed(KEY.id)
        keys.failed(OTHER_KEY.id)
    keys.failed(THIRD.id)

    both = {key.id for key in keys.resting()}
    keys.park(OTHER_KEY.id)
    one = [key.id for key in keys.resting()]
    keys.answered(KEY.id)

    assert (both, one, list(keys.resting())) == ({KEY.id, OTHER_KEY.id}, [KEY.id], [])


def test_a_look_at_a_key_that_does_not_rest_changes_nothing() -> None:
    keys, _ = ring()
    keys.failed(KEY.id)

    keys.looked(KEY.id, answers=False)
    keys.looked(OTHER_KEY.id, answers=False)

    assert {key.id for key in (keys.next(), keys.next()) if key} == {KEY.id, OTHER_KEY.id}


def test_failures_between_answers_are_no_outage() -> None:
    keys, _ = ring()
    for _ in range(10 * RUN):
        keys.failed(KEY.id)
        keys.answered(KEY.id)

    assert {key.id for key in (keys.next(), keys.next()) if key} == {KEY.id, OTHER_KEY.id}


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


def test_a_key_that_has_spent_its_money_for_the_day_comes_after_one_that_has_not() -> None:
    keys, clock = ring()

    left = keys.spent(KEY.id)
    taken = {key.id for key in (keys.next(), keys.next(), keys.next()) if key}
    clock.advance(SPENT_S)
    later = {key.id for key in (keys.next(), keys.next()) if key}

    assert left
    assert taken == {OTHER_KEY.id}
    assert later == {KEY.id, OTHER_KEY.id}


def test_where_every_key_has_spent_its_money_one_is_still_asked_for() -> None:
    keys, _ = ring()
    keys.spent(KEY.id)

    assert not keys.spent(OTHER_KEY.id)
    assert keys.next() is not None


def test_a_parked_key_has_no_money_to_spend() -> None:
    keys, _ = ring()
    keys.park(OTHER_KEY.id)

    assert not keys.spent(KEY.id)


def test_a_key_that_is_parked_or_gone_is_not_usable() -> None:
    keys, _ = ring()
    keys.park(KEY.id)

    assert [keys.usable(id_) for id_ in (KEY.id, OTHER_KEY.id, "gone")] == [False, True, False]
