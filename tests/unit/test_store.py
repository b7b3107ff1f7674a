"""Step 3, from a result's URL to the bucket: what was paid for is fetched, filed once, and never thrown away."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import Any

import pytest

from jobs.batch import BatchState
from jobs.errors import LedgerError, Refused, Unavailable
from jobs.events import Event, Failed, GivenBack, Kept, Ready, Stored, UrlExpired
from jobs.job import Job
from tests.unit.desks import COST, RESERVE, URL, Downloaded, House, make_house, picture
from workers.api.client import DownloadFailed
from workers.hands import Hands
from workers.spool.spool import NotKept
from workers.store import DOWNLOADS_OF_A_BROKEN_RESULT, TRIES_OF_A_RENEWED_URL, store

RESULT = picture(colour="red")
EXPIRED = DownloadFailed("HTTP 403", expired=True)


def stored(*downloads: Downloaded, **order: Any) -> tuple[House, Job, Event]:
    house = make_house()
    house.open(order=order)
    house.api.downloads.extend(downloads)
    job = house.ready()
    return house, job, store(job, house.desk)


def test_the_apis_bytes_are_filed_under_their_fingerprint_and_published_as_delivered() -> None:
    house, job, event = stored(RESULT)

    assert isinstance(event, Stored)
    assert event.flags == ()
    assert event.result.key == "chairs/1.png"
    assert house.bucket.get("chairs/1.png") == RESULT
    assert house.bucket.get(house.desk.layout.filed(job.fingerprint, "png")) == RESULT
    assert house.api.fetched == [URL]


def test_a_download_that_was_cut_is_fetched_again() -> None:
    house, _, event = stored((RESULT[:100], len(RESULT)), DownloadFailed("ReadError"), RESULT)

    assert isinstance(event, Stored)
    assert len(house.api.fetched) == 3
    assert house.bucket.get("chairs/1.png") == RESULT


def test_a_cut_that_no_length_announces_is_seen_in_the_picture() -> None:
    _, _, event = stored((RESULT[:-20], None), RESULT)

    assert isinstance(event, Stored)


def test_an_url_that_died_is_asked_for_once_more() -> None:
    house, _, event = stored(EXPIRED)

    assert event == UrlExpired()
    assert len(house.api.fetched) == 1


def test_a_download_that_fails_until_the_deadline_asks_for_another_url() -> None:
    house, job, event = stored(DownloadFailed("HTTP 500"))

    assert event == UrlExpired()
    assert house.clock() >= job.deadline


def test_a_late_worker_tries_the_url_before_it_believes_the_clock() -> None:
    house = make_house()
    house.open()
    house.api.downloads.append(RESULT)
    job = house.ready()
    house.clock.advance(3600)

    assert isinstance(store(job, house.desk), Stored)


def renewed(house: House) -> Job:
    house.open()
    job = house.moved(house.ready(), UrlExpired())
    return house.moved(job, Ready(url=URL + "2", deadline=house.clock() + 600))


def test_a_second_url_that_stays_dead_ends_the_row_as_paid_and_not_delivered() -> None:
    house = make_house()
    house.api.downloads.append(EXPIRED)

    event = store(renewed(house), house.desk)

    assert isinstance(event, Failed)
    assert (event.code, event.paid) == ("paid_not_delivered", True)
    assert len(house.api.fetched) == TRIES_OF_A_RENEWED_URL


def test_a_fresh_url_that_the_delivery_host_learns_of_late_is_tried_again() -> None:
    house = make_house()
    house.api.downloads.extend([EXPIRED, EXPIRED, EXPIRED, RESULT])

    assert isinstance(store(renewed(house), house.desk), Stored)


def test_a_result_on_a_foreign_host_is_not_fetched_again_and_again() -> None:
    house, _, event = stored(DownloadFailed("a host that is not trusted", transient=False))

    assert event == UrlExpired()
    assert len(house.api.fetched) == 1


def test_a_result_that_is_no_picture_is_fetched_three_times_before_it_is_believed() -> None:
    house, _, event = stored(b"<html>sorry</html>")

    assert isinstance(event, Failed)
    assert (event.code, event.paid) == ("result_unreadable", True)
    assert len(house.api.fetched) == DOWNLOADS_OF_A_BROKEN_RESULT


@pytest.mark.parametrize(
    ("data", "params", "flags"),
    [
        (picture(kind="JPEG"), {"output_format": "png"}, ("format_differs",)),
        (picture(), {}, ("format_differs",)),
        (picture(), {"output_format": "png", "width": 1024}, ("size_differs",)),
        (picture(), {"output_format": "png", "height": 33}, ("size_differs",)),
        (picture(), {"output_format": "png", "width": 48, "height": 32}, ()),
    ],
)
def test_a_result_that_is_not_what_was_asked_for_is_filed_and_flagged(
    data: bytes, params: dict[str, Any], flags: tuple[str, ...]
) -> None:
    _, _, event = stored(data, params=params)

    assert isinstance(event, Stored)
    assert event.flags == flags


# -- storage


def fetched(**house: Any) -> tuple[House, Job]:
    """Return a house whose store can be looked at and not written, and a job whose result can be fetched."""
    found = make_house(**house)
    found.open()
    found.api.downloads.append(RESULT)
    job = found.ready()
    found.bucket.failing["put"] = Unavailable("no answer")
    return found, job


def test_a_result_whose_address_would_die_is_fetched_although_others_keep_all_hands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house, job = fetched()
    house.desk.hands = Hands(house.stopping, at_once=1)
    asked: list[float] = []
    real = house.desk.hands.holding

    def holding(patience_s: float) -> AbstractContextManager[bool | None]:
        asked.append(patience_s)
        return real(0.0)

    monkeypatch.setattr(house.desk.hands, "holding", holding)
    with real(0.0):
        event = store(job, house.desk)

    assert isinstance(event, Kept)
    assert asked == [(job.deadline - house.clock()) / 2]


def test_while_storage_is_away_the_bytes_are_on_the_disk_and_the_thread_is_free() -> None:
    house, job = fetched()

    event = store(job, house.desk)

    assert event == Kept(detail="no answer", spool=house.desk.spool.id)
    assert house.stopping.waits == []
    assert [kept.about.job for kept in house.desk.spool.all()] == ["b.1"]
    assert house.progress().state is BatchState.OPEN


def test_what_is_kept_is_stored_from_the_disk_and_not_fetched_again() -> None:
    house, job = fetched()
    kept = house.moved(job, store(job, house.desk))
    house.clock.advance(3600)
    still = store(kept, house.desk)
    house.bucket.failing.clear()

    event = store(kept, house.desk)

    assert isinstance(still, GivenBack)
    assert isinstance(event, Stored)
    assert house.api.fetched == [URL]
    assert house.bucket.get("chairs/1.png") == RESULT


def test_a_result_that_is_on_the_disk_although_nobody_wrote_that_down_is_not_fetched_again() -> None:
    house, job = fetched()
    store(job, house.desk)  # the process dies here, and its job is still `ready`
    house.bucket.failing.clear()

    assert isinstance(store(job, house.desk), Stored)
    assert house.api.fetched == [URL]


def test_a_kept_result_that_the_disk_has_spoilt_is_asked_for_once_more() -> None:
    house, job = fetched()
    kept = house.moved(job, store(job, house.desk))
    (entry,) = house.desk.spool.all()
    (entry.path / "result.png").write_bytes(RESULT[:-1])

    event = store(kept, house.desk)

    assert event == UrlExpired()
    assert list(house.desk.spool.all()) == []
    assert [path.name for path in (house.desk.spool.folder / "damaged").iterdir()] != []


def test_a_spoilt_result_that_is_still_fetchable_is_fetched_again() -> None:
    house, job = fetched()
    store(job, house.desk)
    (entry,) = house.desk.spool.all()
    (entry.path / "result.png").write_bytes(b"")
    house.bucket.failing.clear()

    assert isinstance(store(job, house.desk), Stored)
    assert house.api.fetched == [URL, URL]


def test_a_disk_that_cannot_be_read_just_now_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    house, job = fetched()
    kept = house.moved(job, store(job, house.desk))

    def broken(_: Any) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(house.desk.spool, "read", broken)

    assert isinstance(store(kept, house.desk), GivenBack)


def test_storage_that_refuses_to_be_written_pauses_the_batch_and_the_bytes_are_kept() -> None:
    house, job = fetched()
    house.bucket.failing["put"] = Refused("AccessDenied")

    event = store(job, house.desk)

    assert isinstance(event, Kept)
    assert (house.progress().state, house.progress().reason) == ("paused", "storage")


def test_the_bytes_outlive_a_ledger_that_cannot_pause_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    house, job = fetched()
    house.bucket.failing["put"] = Refused("AccessDenied")

    def away(*args: Any, **named: Any) -> bool:
        raise LedgerError

    monkeypatch.setattr(house.ledger, "set_state", away)

    assert isinstance(store(job, house.desk), Kept)


def test_the_bytes_are_on_the_disk_before_anybody_waits_for_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    house, job = fetched()
    house.bucket.failing.clear()
    house.desk.agreed.clear()
    on_disk: list[int] = []
    asked = house.ledger.batch

    def away(batch: str) -> Any:
        on_disk.append(len(list(house.desk.spool.all())))
        if len(on_disk) < 3:
            raise LedgerError
        return asked(batch)

    monkeypatch.setattr(house.ledger, "batch", away)

    event = store(job, house.desk)

    assert isinstance(event, Stored)
    assert on_disk == [0, 1, 1]


def test_where_the_disk_has_no_room_the_bytes_wait_in_memory_until_storage_is_back() -> None:
    house, job = fetched(spool_bytes=len(RESULT) - 1)
    house.stopping.then = lambda: house.bucket.failing.clear() if len(house.stopping.waits) == 200 else None

    event = store(job, house.desk)

    assert isinstance(event, Stored)
    assert house.api.fetched == [URL]
    assert house.clock() > job.deadline


def test_where_the_disk_has_no_room_the_bytes_wait_in_memory_until_it_has() -> None:
    house, job = fetched(spool_bytes=len(RESULT) - 1)

    def tidied() -> None:
        house.desk.spool.limit = len(RESULT)

    house.stopping.then = tidied

    assert isinstance(store(job, house.desk), Kept)


def test_a_shutdown_puts_what_is_in_memory_onto_the_disk_whatever_its_limit() -> None:
    house, job = fetched(spool_bytes=1)
    house.stopping.then = lambda: house.stopping.set() if len(house.stopping.waits) > 3 else None

    event = store(job, house.desk)

    assert isinstance(event, Kept)
    assert len(list(house.desk.spool.all())) == 1


def test_a_shutdown_with_a_broken_disk_gives_the_result_back_as_it_can_be_fetched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house, job = fetched()

    def full(*_: Any, **__: Any) -> None:
        raise NotKept("no space left on device")

    monkeypatch.setattr(house.desk.spool, "keep", full)
    house.stopping.then = house.stopping.set

    event = store(job, house.desk)

    assert isinstance(event, GivenBack)
    assert event.wait == 0


def test_a_shutdown_ends_the_wait_between_two_downloads() -> None:
    house = make_house()
    house.open()
    house.api.downloads.append(DownloadFailed("ReadError"))
    job = house.ready()
    house.stopping.then = house.stopping.set

    assert isinstance(store(job, house.desk), GivenBack)


def test_a_shutdown_gives_a_result_back_unfetched_for_which_no_hand_is_free() -> None:
    house, job = fetched()
    house.desk.hands = Hands(house.stopping, at_once=1)
    found: list[Event] = []
    waits = threading.Thread(target=lambda: found.append(store(job, house.desk)), daemon=True)

    with house.desk.hands.holding(0.0):
        waits.start()
        house.stopping.set()
        waits.join(5)

    assert found == [GivenBack(wait=0.0, why="shutting down")]
    assert house.api.fetched == []


def test_an_output_that_was_taken_during_the_edit_fails_the_row_but_the_result_is_filed_and_its_cost_counted() -> None:
    house = make_house()
    house.open()
    house.api.downloads.append(RESULT)
    job = house.ready()
    house.bucket.lay("chairs/1.png", b"somebody's own")

    event = store(job, house.desk)
    house.moved(job, event)

    assert isinstance(event, Failed)
    assert event.code == "output_not_ours"
    assert house.bucket.get("chairs/1.png") == b"somebody's own"
    assert house.bucket.get(house.desk.layout.filed(job.fingerprint, "png")) == RESULT
    assert house.progress().settled == COST
    assert house.progress().reasons["output_not_ours"] == (1, COST)


def test_an_output_key_that_the_bucket_refuses_fails_the_row_and_the_result_is_filed() -> None:
    house = make_house()
    house.open()
    house.api.downloads.append(RESULT)
    job = house.ready()
    house.bucket.failing["copy"] = Refused("the key is too long")

    event = store(job, house.desk)

    assert isinstance(event, Failed)
    assert event.code == "output_refused"
    assert house.bucket.get(house.desk.layout.filed(job.fingerprint, "png")) == RESULT


def test_a_result_whose_price_nobody_told_counts_as_its_reserve_once() -> None:
    house = make_house()
    house.open()
    house.api.downloads.append(RESULT)
    job = house.ready(cost=None)

    house.moved(job, store(job, house.desk))

    assert (house.progress().settled, house.progress().reserved) == (RESERVE, 0)
