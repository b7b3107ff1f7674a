"""The epoch guard: a ledger that was emptied or went back in time is noticed, and one that is merely new is not."""

from __future__ import annotations

import json

import pytest

from jobs.batch import BatchState
from jobs.bucket.layout import Layout
from jobs.ledger.port import Epoch
from jobs.life import Life
from tests.unit.desks import House, make_house
from workers.epoch import EpochGuard

KEY = Layout().life("here")


def guard_of(house: House) -> EpochGuard:
    """Return the guard of a process that has just started."""
    return EpochGuard(house.ledger, house.bucket, Layout(), "here")


def seen(house: House, *, id_: str = "a", intents: int = 5, round_: int = 1) -> None:
    house.bucket.put(KEY, Life(id=id_, intents=intents, batches={"b": round_}).as_json())


def ended(house: House, batch: str = "b") -> None:
    house.bucket.put(Layout().batch(batch, "summary.json"), b'{"round": 1}')


def test_a_ledger_at_a_place_where_none_was_begins_its_life() -> None:
    house = make_house()

    guard_of(house).look()

    assert house.ledger.epoch().id
    assert not house.ledger.epoch().guard


def test_a_ledger_that_knows_what_was_seen_goes_on() -> None:
    house = make_house()
    seen(house)
    house.ledger.begin_epoch(Epoch(id="a", intents=5))
    guard = guard_of(house)

    guard.look()

    assert (guard.id, house.ledger.epoch()) == ("a", Epoch(id="a", intents=5))


def test_a_ledger_that_was_emptied_while_a_batch_was_open_is_guarded() -> None:
    house = make_house()
    seen(house)

    guard_of(house).look()

    assert house.ledger.epoch().guard


def test_a_ledger_that_knows_fewer_submissions_than_were_seen_is_guarded() -> None:
    house = make_house()
    seen(house)
    house.ledger.begin_epoch(Epoch(id="a", intents=4))

    guard_of(house).look()

    assert house.ledger.epoch().guard


def test_a_ledger_that_was_emptied_when_every_batch_had_its_report_begins_another_life() -> None:
    house = make_house()
    seen(house)
    ended(house)

    guard_of(house).look()

    assert not house.ledger.epoch().guard
    assert house.ledger.epoch().id not in ("", "a")
    assert house.ledger.epoch().intents > 5


def test_a_round_that_has_no_report_yet_is_open() -> None:
    house = make_house()
    seen(house, round_=2)
    ended(house)

    guard_of(house).look()

    assert house.ledger.epoch().guard


def test_a_round_that_was_agreed_after_the_ledger_was_last_seen_is_not_lost() -> None:
    house = make_house()
    seen(house)
    ended(house)
    house.bucket.put(Layout().batch("b", "batch.json"), b'{"round": 2}')

    guard_of(house).look()

    assert not house.ledger.epoch().guard


def test_what_is_seen_is_written_down_with_the_batches_that_are_open() -> None:
    house = make_house()
    house.open()
    guard = guard_of(house)
    guard.look()
    house.begun()

    guard.write()

    life = json.loads(house.bucket.get(KEY))
    assert (life["id"], life["intents"], life["batches"]) == (guard.id, house.ledger.epoch().intents, {"b": 1})


def test_a_batch_that_is_opened_is_written_down_at_once() -> None:
    house = make_house()
    guard = guard_of(house)
    guard.look()
    guard.write()
    house.open()

    guard.write()

    assert json.loads(house.bucket.get(KEY))["batches"] == {"b": 1}


def test_a_batch_that_is_done_is_not_among_the_open_ones() -> None:
    house = make_house()
    house.open()
    house.ledger.set_state("b", BatchState.DONE, "", only_from=[BatchState.OPEN])
    guard = guard_of(house)
    guard.look()

    guard.write()

    assert json.loads(house.bucket.get(KEY))["batches"] == {}


def test_while_another_process_decides_this_one_submits_nothing_and_then_knows_what_was_decided() -> None:
    house = make_house()
    house.open()
    guard = EpochGuard(house.ledger, house.bucket, Layout(), "here", patience_s=0)
    house.ledger.lock("epoch", "another", 30)

    guard.look()
    with pytest.raises(AssertionError, match="back in time"):
        house.begun()
    house.ledger.unlock("epoch", "another")
    guard.look()

    assert guard.id == house.ledger.epoch().id != ""
    assert house.ledger.epoch().intents == 1


def test_what_was_begun_is_written_down_before_another_process_can_look() -> None:
    house = make_house()
    seen(house)
    ended(house)
    guard_of(house).look()
    begun = house.ledger.epoch()

    guard_of(house).look()

    assert json.loads(house.bucket.get(KEY))["id"] == begun.id
    assert house.ledger.epoch() == begun
