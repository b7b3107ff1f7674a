"""Kept results, which lie on one worker's disk, and the disks themselves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from jobs import events as e
from jobs.batch import document
from jobs.errors import Superseded
from jobs.job import Job, State
from jobs.ledger.change import LEASE_S, RESEND_S
from jobs.ledger.seen import SpoolSeen
from jobs.states import apply

if TYPE_CHECKING:
    from tests.contract.conftest import House

KEPT = e.Kept(detail="storage is away", spool="disk-a")


def kept(house: House, job: str) -> Job:
    return house.moved(house.ready(job), KEPT)


def test_a_kept_job_is_claimed_by_who_has_its_disk_and_by_nobody_else(house: House) -> None:
    kept(house, house.one())

    elsewhere = [house.ledger.claim("b.0", "w2", spool=spool) for spool in ("", "disk-b")]
    here = house.ledger.claim("b.0", "w3", spool="disk-a")

    assert [claim.why for claim in elsewhere] == ["elsewhere", "elsewhere"]
    assert here.job is not None
    assert (here.job.state, here.job.owner, here.job.spool) == (State.KEPT, "w3", "disk-a")


def test_a_kept_job_is_owned_like_any_other_while_somebody_stores_it(house: House) -> None:
    kept(house, house.one())
    house.ledger.claim("b.0", "w1", spool="disk-a")

    assert house.ledger.claim("b.0", "w2", spool="disk-a").why == "owned"
    house.later(LEASE_S + 1)
    assert [job.id for job in house.ledger.lapsed(9)] == ["b.0"]


def test_a_disk_says_nothing_about_a_job_that_is_not_kept(house: House) -> None:
    assert house.ledger.claim(house.one(), "w1", spool="disk-a").job is not None


def test_a_kept_job_is_sent_no_messages_however_long_it_waits(house: House) -> None:
    kept(house, house.one())
    claimed = house.ledger.claim("b.0", "w1", spool="disk-a").job
    assert claimed is not None
    house.moved(claimed, e.GivenBack(wait=5))

    house.later(RESEND_S * 10)

    assert (house.ledger.due(9), house.ledger.lapsed(9), house.ledger.doubts_due(9)) == ([], [], [])


def test_kept_jobs_hold_no_slot_and_no_place_in_the_window_and_stop_the_feeding_at_last(house: House) -> None:
    kept(house, house.one())

    assert house.ledger.slots_used()["flux"] == 0
    assert (house.progress().hot["flux"], house.progress().waiting) == (0, 1)


def test_what_a_batch_has_on_each_disk_is_counted_until_it_is_stored(house: House) -> None:
    house.open()
    house.feed(4)
    for job in ("b.0", "b.1", "b.2"):
        kept(house, job)
    house.moved(house.ready("b.3"), e.Kept(detail="", spool="disk-b"))
    first = house.progress().kept
    shown = document(house.open("other"), house.progress())["kept_on"]

    for job, event in (("b.0", house.filed()), ("b.1", e.Failed(code="paid_not_delivered", detail=""))):
        claimed = house.ledger.claim(job, "w1", spool="disk-a").job
        assert claimed is not None
        house.moved(claimed, event)
    spoilt = house.ledger.claim("b.2", "w1", spool="disk-a").job
    assert spoilt is not None
    house.moved(spoilt, e.UrlExpired())

    assert first == {"disk-a": 3, "disk-b": 1}
    assert shown == [{"spool": "disk-a", "rows": 3}, {"spool": "disk-b", "rows": 1}]
    assert house.progress().kept == {"disk-b": 1}


def test_a_kept_job_that_somebody_gave_up_is_not_stored_behind_his_back(house: House) -> None:
    job = kept(house, house.one())
    claimed = house.ledger.claim("b.0", "w1", spool="disk-a").job
    assert claimed is not None

    with pytest.raises(Superseded):
        house.ledger.record(job, apply(job, e.Failed(code="paid_not_delivered", detail=""), house.ledger.now()))
    house.moved(claimed, house.filed())

    assert house.counts() == {"stored": 1}


def test_the_bytes_of_a_kept_job_are_still_its_own_purchase(house: House) -> None:
    house.open()
    house.feed(2)
    house.moved(house.begun("b.0", "same"), house.accepted(), house.fetchable(), KEPT)

    second = house.claimed("b.1")
    answer = house.ledger.begin(second, house.to_begin(second, "same"))

    assert answer.closed == "being_bought"


def test_the_outcome_of_a_kept_job_does_not_speak_of_its_disk_any_more(house: House) -> None:
    kept(house, house.one())
    claimed = house.ledger.claim("b.0", "w1", spool="disk-a").job
    assert claimed is not None
    house.moved(claimed, house.filed())

    part = house.ledger.take_outcomes("b")
    assert part is not None
    line = json.loads(part[1][0])
    assert (line["state"], line["detail"]) == ("stored", "")


def test_a_disk_is_remembered_with_what_was_last_seen_on_it(house: House) -> None:
    first = SpoolSeen(id="disk-a", host="h", folder="/spool", results=3, bytes=9, limit=99, trouble="x", seen_at=1.0)
    later = SpoolSeen(id="disk-a", host="h", folder="/spool", results=0, bytes=0, limit=99, seen_at=2.0)
    other = SpoolSeen(id="disk-b", host="i", folder="/spool", results=1, bytes=3, limit=99, seen_at=2.0)
    for seen in (first, other, later):
        house.ledger.see_spool(seen)

    remembered = house.ledger.spools()
    house.later(29 * 86_400)
    after_a_month_less_a_day = house.ledger.spools()
    house.later(2 * 86_400)

    assert remembered == after_a_month_less_a_day == [later, other]
    assert house.ledger.spools() == []
