"""What was spent, over all batches, from the bucket and from what still runs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobs import events as e
from jobs.job import Job, Order, Receipt, Result
from jobs.outcome import late_line, outcome, outcome_line
from jobs.request import Request
from jobs.spend import By, Spending
from jobs.states import apply
from producers.spend import add_batch
from tests.unit.desks import COST, RESERVE, House, make_house

AT = 1_800_000_000.0
RESULT = Result(key="k", sha256="0" * 64, bytes=9, format="png", width=1, height=1)


def a_job(row: int = 1, model: str = "flux-2-pro") -> Job:
    request = Request(model=model, prompt="p", inputs=("s3://b/7.png",))
    order = Order(
        batch="b",
        row=row,
        id=f"r{row}",
        group="chairs",
        limit_group="flux",
        request=request,
        output="o",
        reserve=RESERVE,
    )
    return Job(order=order)


def moved(job: Job, *happened: e.Event) -> Job:
    for event in happened:
        job = apply(job, event, AT)
    return job


def begun(day: str = "2026-11-22", key: str = "k1") -> e.Begun:
    return e.Begun(fingerprint="f", key_id=key, day=day)


def accepted(task: str = "t1", cost: int = COST) -> e.Accepted:
    return e.Accepted(receipt=Receipt(task_id=task, polling_url="https://x", cost=cost))


READY = e.Ready(url="u", deadline=AT)
STORED = (READY, e.Stored(result=RESULT))
AGAIN = e.AttemptFailed(code="api_error", detail="", wait=0)
DOUBT = e.Doubted(detail="", wait=0)


def spent(by: By, *jobs: Job, since: str = "") -> dict[str, tuple[int, int, int]]:
    sums = Spending(by, since)
    for job in jobs:
        sums.add([outcome(job)], [])
    return {name: (entry.edits, entry.micros, entry.maybe) for name, entry in sums.entries.items()}


@pytest.mark.parametrize(
    ("cause", "job"),
    [
        ("stored", moved(a_job(), begun(), accepted(), *STORED)),
        ("moderation", moved(a_job(), begun(), accepted(), e.Moderated(code="m", detail=""))),
        ("not_delivered", moved(a_job(), begun(), accepted(), READY, e.Failed(code="f", detail="", paid=True))),
        ("new_attempts", moved(a_job(), begun(), accepted(), AGAIN)),
        ("running", moved(a_job(), begun(), accepted())),
    ],
)
def test_every_charge_has_its_cause(cause: str, job: Job) -> None:
    assert spent("cause", job) == {cause: (1, COST, 0)}


@pytest.mark.parametrize(
    "job",
    [
        moved(a_job(), begun(), DOUBT, e.Resubmitted()),
        moved(a_job(), begun(), DOUBT, e.Held()),
        moved(a_job(), begun(), DOUBT, e.Failed(code="in_doubt", detail="")),
    ],
)
def test_what_a_doubt_may_have_cost_is_not_what_was_spent(job: Job) -> None:
    assert spent("cause", job) == {"doubts": (0, 0, RESERVE)}


def test_each_charge_is_on_its_own_day_and_under_its_own_key() -> None:
    twice = moved(a_job(), begun(), accepted(), AGAIN, begun("2026-11-23", "k2"), accepted("t2", 9_000), *STORED)

    assert spent("day", twice) == {"2026-11-22": (1, COST, 0), "2026-11-23": (1, 9_000, 0)}
    assert spent("key", twice) == {"k1": (1, COST, 0), "k2": (1, 9_000, 0)}
    assert spent("day", twice, since="2026-11-23") == {"2026-11-23": (1, 9_000, 0)}


def test_models_and_presets_are_the_dearest_first() -> None:
    cheap = moved(a_job(1, "flux-2-klein-4b"), begun(), accepted(cost=15_000), *STORED)
    dear = moved(a_job(2, "flux-2-max"), begun(), accepted(cost=70_000), *STORED)
    sums = Spending("model")
    for job in (cheap, dear):
        sums.add([outcome(job)], [])

    assert [row["model"] for row in sums.rows()] == ["flux-2-max", "flux-2-klein-4b"]
    assert spent("preset", dear) == {"flux-2-max / chairs": (1, 70_000, 0)}


def test_a_line_that_was_written_before_charges_were_counts_its_cost() -> None:
    line = {
        name: value
        for name, value in outcome(moved(a_job(), begun(), accepted(), *STORED)).items()
        if name != "charges"
    }
    sums = Spending("cause")

    sums.add([line], [])

    assert sums.total.micros == COST


def reading(house: House, by: By = "cause") -> dict[str, Any]:
    sums = Spending(by)
    add_batch(sums, "b", ledger=house.ledger, bucket=house.bucket, layout=house.desk.layout)
    return {name: (entry.edits, entry.micros) for name, entry in sums.entries.items()}


def put(house: House, *lines: str, part: int = 1) -> None:
    data = "".join(f"{line}\n" for line in lines).encode()
    house.bucket.put(house.desk.layout.outcomes("b", part, data), data, content_type="application/x-ndjson")


def test_what_runs_what_has_just_ended_and_what_is_in_the_bucket_count_once_each() -> None:
    house = make_house()
    house.open(rows=3)
    house.moved(house.ready("b.1"), e.Stored(result=RESULT))
    house.running("b.2")
    stored = outcome_line(moved(a_job(3), begun(), accepted("t3"), *STORED))
    put(house, stored, *house.ledger.outcomes("b"))
    put(house, stored, stored, part=2)

    assert reading(house) == {"stored": (2, 2 * COST), "running": (1, COST)}


def test_outcomes_on_their_way_to_the_bucket_are_seen_and_left_where_they_are() -> None:
    house = make_house()
    house.open(rows=2)
    house.moved(house.ready("b.1"), e.Stored(result=RESULT))
    house.ledger.take_outcomes("b")
    house.moved(house.ready("b.2"), e.Stored(result=RESULT))

    assert reading(house) == {"stored": (2, 2 * COST)}
    assert len(house.ledger.outcomes("b")) == 2


def test_a_doubt_that_was_held_and_then_answered_is_its_answer_alone() -> None:
    house = make_house()
    held = moved(a_job(), begun(), DOUBT, e.Held())
    put(house, outcome_line(held))
    put(house, outcome_line(moved(held, accepted(), *STORED)), part=2)

    assert reading(house) == {"stored": (1, COST)}


def test_a_second_charge_is_a_duplicate_with_its_own_day() -> None:
    house = make_house()
    job = moved(a_job(), begun(), accepted(), *STORED)
    late = late_line(job, Receipt(task_id="second", polling_url="https://x", cost=7_000))
    put(house, outcome_line(job), late, late)

    assert reading(house) == {"stored": (1, COST), "duplicates": (1, 7_000)}
    assert reading(house, "day") == {"2026-11-22": (2, COST + 7_000)}
    assert json.loads(late)["day"] == "2026-11-22"


def test_every_round_of_a_row_counts() -> None:
    house = make_house()
    first = outcome(moved(a_job(), begun(), accepted(), READY, e.Failed(code="f", detail="", paid=True)))
    second = {**outcome(moved(a_job(), begun(), accepted("t2"), *STORED)), "round": 2}
    put(house, json.dumps(first), json.dumps(second))

    assert reading(house) == {"not_delivered": (1, COST), "stored": (1, COST)}
