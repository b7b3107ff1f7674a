"""Parked keys come back by themselves, and so do the batches that waited for one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from config.settings import read_settings
from jobs.accounts import key_name
from jobs.batch import BatchState
from jobs.events import Begun, GivenBack
from jobs.ledger.seen import WorkerSeen
from tests.unit.desks import KEY, OTHER_KEY, House, make_house
from workers.api.client import Key
from workers.api.protocol import KeyRefused, KeyWorks
from workers.keys import PARKED_S, RUN
from workers.keywatch import FORGOTTEN_S, KeyWatch
from workers.submit import prepare


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


def test_a_parked_key_that_no_worker_has_any_more_is_forgotten_after_some_days() -> None:
    house, watch = parked_house()
    house.desk.read_keys = lambda: [OTHER_KEY]
    watch.look()
    house.clock.advance(FORGOTTEN_S - 1)

    watch.probe()
    before = list(house.ledger.parked_keys())
    house.clock.advance(1)
    watch.probe()

    assert (before, house.ledger.parked_keys()) == ([KEY.id], {})


def test_a_parked_key_that_another_worker_has_is_not_forgotten() -> None:
    house, watch = parked_house()
    house.desk.read_keys = lambda: [OTHER_KEY]
    watch.look()
    house.clock.advance(FORGOTTEN_S)
    about = {"keys": [KEY.id]}
    house.ledger.see_worker(WorkerSeen(id="w2", threads=12, edits=0, seen_at=house.clock(), about=about))

    watch.probe()

    assert list(house.ledger.parked_keys()) == [KEY.id]


def test_a_parked_key_of_ours_is_not_forgotten_however_long_the_api_says_nothing_of_it() -> None:
    house, watch = parked_house()
    house.clock.advance(FORGOTTEN_S)

    watch.probe()

    assert list(house.ledger.parked_keys()) == [KEY.id]


def test_a_new_key_in_the_file_is_taken_over_and_the_batch_goes_on() -> None:
    house, watch = parked_house()
    house.desk.read_keys = lambda: [OTHER_KEY]

    watch.look()
    watch.let_go("b", house.progress())

    assert house.desk.keys.next() == OTHER_KEY
    assert house.progress().state is BatchState.OPEN


def rotated(folder: Path, accounts: str) -> tuple[House, KeyWatch]:
    """Return a house with `KEY` and `OTHER_KEY` in a file, in which a third key has just taken the place of `KEY`."""
    house, file = make_house(slots=2), folder / "keys"
    named = dict(part.split("=") for part in accounts.split(",")) if accounts else {}
    api = read_settings(_env_file=None, api={"keys_file": file, "accounts": named}).api
    house.desk.read_keys = lambda: [Key.of(secret, api.account_of) for secret in api.all_keys()]
    watch = KeyWatch(house.desk)
    file.write_text("".join(f"{key.secret.get_secret_value()}\n" for key in (KEY, OTHER_KEY)))
    watch.look()
    file.write_text(f"a-third-key\n{OTHER_KEY.secret.get_secret_value()}\n")
    return house, watch


def test_a_rotated_key_that_may_be_of_any_of_several_accounts_is_not_submitted_with(tmp_path: Path) -> None:
    house, watch = rotated(tmp_path, f"{KEY.id}=a,{OTHER_KEY.id}=b")

    watch.look()

    assert {house.desk.keys.next() for _ in range(4)} == {replace(OTHER_KEY, account="b")}


def test_after_a_rotation_no_more_is_in_flight_than_the_accounts_have_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, watch = rotated(tmp_path, f"{KEY.id}=a,{OTHER_KEY.id}=b")
    house.open(8)
    before = [house.begun(f"b.{n}").account for n in (1, 2, 3, 4)]
    monkeypatch.setattr("workers.gate.LONGEST_WAIT_S", 0.0)

    watch.look()

    assert sorted(before) == ["a", "a", "b", "b"]
    for job in map(house.claimed, ("b.5", "b.6", "b.7", "b.8")):
        begun = prepare(job, house.desk)
        assert isinstance(begun, Begun)
        assert isinstance(house.desk.gate.enter(job, begun), GivenBack)


@pytest.mark.parametrize(("accounts", "account"), [("", "main"), (f"{KEY.id}=a", "a")])
def test_a_rotated_key_of_the_only_account_is_used_at_once(tmp_path: Path, accounts: str, account: str) -> None:
    house, watch = rotated(tmp_path, accounts)

    watch.look()

    taken = {house.desk.keys.next() for _ in range(4)}
    assert {(key.secret.get_secret_value(), key.account) for key in taken if key} == {
        ("a-third-key", account),
        (OTHER_KEY.secret.get_secret_value(), account),
    }


def test_a_key_that_is_left_out_is_told_once_by_its_name_with_what_to_do(tmp_path: Path) -> None:
    _, watch = rotated(tmp_path, f"{KEY.id}=a,{OTHER_KEY.id}=b")

    with capture_logs() as said:
        watch.look()
        watch.look()

    (told,) = [each for each in said if each["log_level"] == "warning"]
    assert told["key"] == key_name("a-third-key")
    assert "RETOUCH_API__ACCOUNTS" in told["event"]
    assert "restart" in told["remedy"]


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
