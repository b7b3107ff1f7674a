"""The drain: what lies on a worker's disk goes where it belongs, whatever became of its job meanwhile."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.errors import LedgerError, Unavailable
from jobs.events import Doubted, Failed, GivenBack, UrlExpired
from jobs.job import Job, State
from jobs.pictures import check_result
from running.programs import eventually
from tests.unit.desks import COST, URL, House, make_house, picture, receipt
from workers import drain as drains
from workers.drain import Drain, put_away
from workers.edit import edit
from workers.store import store

RESULT = picture(colour="red")
SEEN = check_result(RESULT, content_length=None)


def kept(**known: Any) -> tuple[House, Job]:
    """Return a house whose storage was away when its job's result came, and is back, and the job."""
    house = make_house(**known)
    house.open()
    house.api.downloads.append(RESULT)
    job = house.ready()
    house.bucket.failing["put"] = Unavailable("no answer")
    job = house.moved(job, store(job, house.desk))
    house.bucket.failing.clear()
    return house, job


def drained(house: House) -> None:
    """Let the drain look once."""
    Drain(house.desk).once()


def entries(house: House) -> list[str]:
    return [entry.about.job for entry in house.desk.spool.all()]


def found_lines(house: House) -> list[dict[str, Any]]:
    heads = house.bucket.keys("retouch/batches/b/outcomes/late-")
    return [json.loads(house.bucket.get(head.key)) for head in heads]


def test_what_is_kept_is_stored_when_storage_is_back() -> None:
    house, _ = kept()

    drained(house)

    assert house.progress().counts["stored"] == 1
    assert house.bucket.get("chairs/1.png") == RESULT
    assert house.api.fetched == [URL]
    assert entries(house) == []
    assert found_lines(house) == []


def test_while_storage_is_away_it_is_asked_and_nothing_else_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    house, _ = kept()
    asked: list[str] = []

    def probe() -> None:
        asked.append("probe")
        raise Unavailable("still no answer")

    house.desk.storage.probe = probe
    for _ in range(3):
        with pytest.raises(Unavailable), house.desk.storage.asking():
            raise Unavailable("no answer")

    drained(house)

    assert asked == ["probe"]
    assert entries(house) == ["b.1"]
    assert [seen.trouble for seen in house.ledger.spools()] == ["no answer"]


def test_the_probe_that_finds_storage_back_lets_everything_go_on() -> None:
    house, _ = kept()
    for _ in range(3):
        with pytest.raises(Unavailable), house.desk.storage.asking():
            raise Unavailable("no answer")

    drained(house)

    assert house.desk.storage.trouble == ""
    assert house.progress().counts["stored"] == 1


def test_a_process_that_started_without_storage_looks_at_the_bucket_before_it_buys() -> None:
    house, _ = kept()
    looked: list[bool] = []
    house.desk.unseen = lambda: looked.append(True)

    drained(house)
    drained(house)

    assert looked == [True]
    assert house.desk.unseen is None


def test_nothing_is_bought_before_the_bucket_was_looked_at() -> None:
    house = make_house()
    house.open()
    house.desk.unseen = lambda: None

    edit("b.1", house.desk)

    assert house.stands().state is State.QUEUED
    assert house.bucket.calls == []


def test_a_result_that_cannot_be_stored_yet_stays_and_is_tried_again() -> None:
    house, _ = kept()
    house.bucket.failing["put"] = Unavailable("no answer")
    drain = Drain(house.desk)
    drain.once()
    still = entries(house)
    house.bucket.failing.clear()
    house.clock.advance(60)
    drain._not_before.clear()

    drain.once()

    assert still == ["b.1"]
    assert house.progress().counts["stored"] == 1


def test_a_worker_that_starts_later_on_the_disk_stores_what_lies_there(tmp_path: Path) -> None:
    house, _ = kept(folder=tmp_path)
    later = replace(house.desk, owner="another process")

    (entry,) = later.spool.all()
    put_away(entry, later)

    assert house.progress().counts["stored"] == 1


def test_a_result_whose_process_died_before_the_ledger_knew_is_stored_and_not_fetched_again() -> None:
    house = make_house()
    house.open()
    job = house.ready()
    house.desk.spool.keep(job, RESULT, SEEN)
    house.moved(job, GivenBack(wait=0.0))  # its lease lapsed

    drained(house)

    assert house.progress().counts["stored"] == 1
    assert house.api.fetched == []


def test_so_is_one_whose_url_has_died_meanwhile() -> None:
    house = make_house()
    house.open()
    job = house.ready()
    house.desk.spool.keep(job, RESULT, SEEN)
    house.moved(job, UrlExpired(), GivenBack(wait=0.0))

    drained(house)

    assert house.progress().counts["stored"] == 1
    assert house.api.polled == []


def test_a_result_that_somebody_else_is_at_is_left_to_them() -> None:
    house = make_house()
    house.open()
    job = house.ready()
    house.desk.spool.keep(job, RESULT, SEEN)

    drained(house)

    assert entries(house) == ["b.1"]
    assert house.stands().state is State.READY


def test_with_the_whole_ledger_lost_paid_bytes_are_filed_and_told() -> None:
    house, job = kept()
    house.ledger.forget("b")

    drained(house)

    assert house.bucket.get(house.desk.layout.filed(job.fingerprint, "png")) == RESULT
    assert entries(house) == []
    (line,) = found_lines(house)
    assert (line["state"], line["row"], line["task_id"]) == ("late_result", 1, "t1")
    assert line["fingerprint"] == job.fingerprint
    assert (line["day"], line["key"]) == (job.day, job.key_id)


def test_a_death_between_telling_and_filing_tells_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    house, job = kept()
    house.ledger.forget("b")
    file = house.desk.results.file

    def dies(*_: Any, **__: Any) -> None:
        raise Unavailable("the process was killed")

    monkeypatch.setattr(house.desk.results, "file", dies)
    drained(house)
    monkeypatch.setattr(house.desk.results, "file", file)

    drained(house)

    assert len(found_lines(house)) == 1
    assert house.bucket.get(house.desk.layout.filed(job.fingerprint, "png")) == RESULT


def test_what_was_given_up_is_filed_when_its_disk_comes_back() -> None:
    house, job = kept()
    house.moved(job, Failed(code="paid_not_delivered", detail="given up", paid=True))

    drained(house)

    assert house.bucket.get(house.desk.layout.filed(job.fingerprint, "png")) == RESULT
    assert [line["job"] for line in found_lines(house)] == ["b.1"]


def test_what_was_stored_before_its_process_died_is_only_tidied_away() -> None:
    house, job = kept()
    drained(house)
    house.desk.spool.keep(job, RESULT, SEEN)

    drained(house)

    assert entries(house) == []
    assert found_lines(house) == []


def test_a_row_that_is_bought_again_meanwhile_finds_the_old_result_filed() -> None:
    house, job = kept()
    house.moved(job, Failed(code="paid_not_delivered", detail="given up", paid=True))
    house.ledger.forget("b")
    house.open(round=2, fresh=False)
    asked = len(house.api.bodies)

    drained(house)
    queued = house.stands()

    assert queued.state is State.QUEUED
    assert house.bucket.get(house.desk.layout.filed(job.fingerprint, "png")) == RESULT
    assert len(house.api.bodies) == asked


def test_the_drain_tells_what_lies_here_when_it_changes() -> None:
    house, _ = kept()
    drain = Drain(house.desk)

    drain.once()

    (seen,) = house.ledger.spools()
    assert (seen.id, seen.results, seen.trouble) == (house.desk.spool.id, 0, "")


# -- receipts that Redis could not be told


def test_a_receipt_that_was_noted_sets_its_doubt_running() -> None:
    house = make_house()
    house.open()
    job = house.ledger.mark_sent(house.begun())
    house.desk.spool.notes.write(job, receipt("t7"))
    house.desk.spool.notes.let_go(job, receipt("t7"))
    house.moved(job, Doubted(detail="the worker vanished", wait=60.0))

    drained(house)

    assert (house.stands().state, house.stands().receipt) == (State.RUNNING, receipt("t7"))
    assert list(house.desk.spool.notes.all()) == []


def test_a_receipt_that_was_noted_ends_a_submission_that_nobody_has_taken_over_yet() -> None:
    house = make_house()
    house.open()
    job = house.ledger.mark_sent(house.begun())
    house.desk.spool.notes.write(job, receipt("t7"))
    house.desk.spool.notes.let_go(job, receipt("t7"))

    drained(house)

    assert house.stands().state is State.RUNNING
    assert house.progress().settled == COST


def test_a_receipt_that_was_noted_is_told_as_soon_as_a_process_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drains, "EVERY_S", 600.0)
    house = make_house()
    house.open()
    job = house.ledger.mark_sent(house.begun())
    house.desk.spool.notes.write(job, receipt())
    house.desk.spool.notes.let_go(job, receipt())
    house.moved(job, Doubted(detail="", wait=600.0))
    drain = Drain(house.desk)

    drain.start()

    eventually(lambda: house.stands().state is State.RUNNING, 5, "the receipt is told")
    drain.close()


def test_a_note_stays_while_redis_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    house = make_house()
    house.open()
    job = house.ledger.mark_sent(house.begun())
    house.desk.spool.notes.write(job, receipt("t7"))
    house.desk.spool.notes.let_go(job, receipt("t7"))
    house.desk.stopping.set()

    def away(_: str) -> None:
        raise LedgerError

    monkeypatch.setattr(house.ledger, "load", away)
    monkeypatch.setattr("workers.edit.WRITE_DOWN_S", 0.0)
    with pytest.raises(LedgerError):
        drained(house)

    assert len(list(house.desk.spool.notes.all())) == 1
