"""Parked keys come back by themselves, and so do the batches that waited for one."""

from __future__ import annotations

from jobs.batch import BatchState
from tests.unit.desks import KEY, OTHER_KEY, House, make_house
from workers.api.protocol import KeyRefused, KeyWorks
from workers.keys import PARKED_S, RUN
from workers.keywatch import KeyWatch


def parked_house() -> tuple[House, KeyWatch]:
    """Return a house whose only key is parked, and whose batch waits for it."""
    house = make_house()
    house.open()
    house.ledger.park_key(KEY.id, "HTTP 403: no")
    house.ledger.set_state("b", BatchState.PAUSED, "key", only_from=[BatchState.OPEN])
    watch = KeyWatch(house.desk, monotonic=house.clock)
    watch.look()
    return house, watch


def test_what_one_process_parks_no_other_submits_with() -> None:
    house, _ = parked_house()

    assert house.desk.keys.next() is None


def test_a_probe_that_finds_that_a_key_works_lets_it_be_used_and_the_batch_go_on() -> None:
    house, watch = parked_house()
    house.api.credit[KEY.id] = KeyWorks(micros=1)

    watch.probe()
    watch.let_go("b", house.progress())

    assert house.desk.keys.next() == KEY
    assert house.ledger.parked_keys() == {}
    assert (house.progress().state, house.progress().reason) == (BatchState.OPEN, "")


def test_a_key_without_credits_or_still_refused_stays_parked() -> None:
    for said in (KeyWorks(micros=0), KeyRefused(status=403, detail="no"), None):
        house, watch = parked_house()
        house.api.credit[KEY.id] = said

        watch.probe()
        watch.let_go("b", house.progress())

        assert house.desk.keys.next() is None
        assert house.progress().state is BatchState.PAUSED


def test_a_parked_key_is_asked_about_once_a_minute() -> None:
    house, watch = parked_house()
    watch.probe()
    house.api.credit[KEY.id] = KeyWorks(micros=1)

    watch.probe()
    early = house.desk.keys.next()
    house.clock.advance(PARKED_S)
    watch.probe()

    assert (early, house.desk.keys.next()) == (None, KEY)


def test_a_new_key_in_the_file_is_taken_over_and_the_batch_goes_on() -> None:
    house, watch = parked_house()
    house.desk.read_keys = lambda: [OTHER_KEY]

    watch.look()
    watch.let_go("b", house.progress())

    assert house.desk.keys.next() == OTHER_KEY
    assert house.progress().state is BatchState.OPEN


def test_a_batch_that_is_paused_for_another_reason_stays_paused() -> None:
    house, watch = parked_house()
    house.desk.read_keys = lambda: [OTHER_KEY]
    house.ledger.set_state("b", BatchState.PAUSED, "operator", only_from=[BatchState.PAUSED])

    watch.look()
    watch.let_go("b", house.progress())

    assert house.progress().state is BatchState.PAUSED


def test_a_resting_key_is_tried_again_as_soon_as_the_api_says_what_credits_are_left() -> None:
    house = make_house()
    watch = KeyWatch(house.desk)
    for _ in range(RUN):
        house.desk.keys.failed(KEY.id)

    watch.ask_resting()
    away = house.desk.keys.next()
    house.api.credit[KEY.id] = KeyWorks(micros=1)
    watch.ask_resting()

    assert (away, house.desk.keys.next()) == (None, KEY)


def test_an_api_that_is_away_stays_known_as_that_while_its_key_rests() -> None:
    house = make_house()
    watch = KeyWatch(house.desk)
    for _ in range(RUN):
        house.desk.keys.failed(KEY.id)

    watch.ask_resting()

    assert [part for part, *_ in house.desk.away._failing.items()] == ["api"]
