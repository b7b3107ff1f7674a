"""Accounts of the API: each has places, refusals and pauses of its own, and a job keeps to the one it began with."""

from __future__ import annotations

import pytest

from jobs.events import GivenBack, NotSubmitted
from jobs.ledger.change import Closed
from jobs.limit import Limit
from tests.contract.conftest import CATALOGUE, House


def closed_to(house: House, job: str, account: str) -> Closed | None:
    """Claim a job and try to begin it for an account: what stands in its way, if anything."""
    before = house.claimed(job)
    after = house.to_begin(before, account=account)
    closed = house.ledger.begin(before, after).closed
    if closed is not None:
        house.moved(before, GivenBack(wait=0.0))
    return closed


def test_each_account_has_places_of_its_own(house: House) -> None:
    house.open()
    jobs = house.feed(7)
    for job in jobs[:5]:
        house.begun(job)

    full, free = closed_to(house, jobs[5], "main"), closed_to(house, jobs[6], "other")

    assert (full, free) == (Closed.NO_SLOT, None)
    assert house.ledger.slots_used()["flux"] == 6
    assert [house.ledger.slots_used(account)["flux"] for account in ("main", "other")] == [5, 1]


def test_what_ends_frees_the_place_of_the_account_that_it_began_with(house: House) -> None:
    house.open()
    first, second = house.feed(2)
    house.begun(first)
    job = house.begun(second, account="other")

    house.moved(job, NotSubmitted(wait=0.0))

    assert [house.ledger.slots_used(account)["flux"] for account in ("main", "other")] == [1, 0]


def test_a_job_that_begins_again_may_do_so_for_another_account(house: House) -> None:
    job = house.begun(house.one(), account="other")
    house.moved(job, NotSubmitted(wait=0.0))

    again = house.begun(job.id)

    assert again.account == "main"
    assert [house.ledger.slots_used(account)["flux"] for account in ("main", "other")] == [1, 0]


def test_an_inner_group_of_an_account_takes_places_of_that_account_alone(house: House) -> None:
    house.open(groups={"flux": 40, "kontext-max": 40})
    jobs = house.feed(3, group="kontext-max")
    for job in jobs[:2]:
        house.begun(job, account="other")

    full, free = closed_to(house, jobs[2], "other"), closed_to(house, jobs[2], "main")

    assert (full, free) == (Closed.NO_SLOT, None)
    assert house.ledger.slots_used("other") == {"flux": 2, "kontext-max": 2}
    assert house.ledger.slots_used("main") == {"flux": 1, "kontext-max": 1}


def test_a_throttled_account_holds_no_other_back(house: House) -> None:
    house.open()
    first, second = house.feed(2)
    house.ledger.throttle(30, account="other")

    assert closed_to(house, first, "other") is Closed.THROTTLED
    assert closed_to(house, second, "main") is None


def test_a_size_that_one_account_was_refused_is_not_taken_from_another(house: House) -> None:
    house.open()
    jobs = house.feed(3)
    house.ledger.adjust("flux", lambda limit, _: Limit(most=limit.most, size=1), account="other")
    house.begun(jobs[0], account="other")

    assert closed_to(house, jobs[1], "other") is Closed.NO_SLOT
    assert closed_to(house, jobs[2], "main") is None
    assert [list(house.ledger.limits(account)) for account in ("main", "other")] == [[], ["flux"]]


def test_places_that_main_holds_are_seen_and_freed_where_only_others_are_named_since(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.begun(house.one())
    monkeypatch.setattr(house.ledger, "_catalogue", CATALOGUE.with_accounts(("a", "b")))

    held = house.ledger.slots_used()["flux"]
    house.ledger.forget("b")

    assert (held, house.ledger.remove_strays()) == (1, 1)


def test_places_that_nobody_holds_any_more_are_freed_in_every_account(house: House) -> None:
    house.open()
    for job, account in zip(house.feed(2), ("main", "other"), strict=True):
        house.begun(job, account=account)
    house.ledger.forget("b")

    freed = house.ledger.remove_strays()

    assert freed == 2
    assert house.ledger.slots_used() == {"flux": 0, "kontext-max": 0}
