"""The judge itself: whatever is planted, it finds; where nothing is wrong, it finds nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from tests.chaos.checker import Evidence, Promised, Struck


def task(row: str, number: int = 1, **other: Any) -> dict[str, Any]:
    return {
        "id": f"{row}-{number}",
        "prompt_sha256": sha256(f"edit {row}".encode()).hexdigest(),
        "charged": 1.4,
        "status": "Ready",
        "result_sha256": f"bytes-{row}-{number}",
        "ended_at": 100.0,
        "told_ready_at": 101.0,
        "downloaded_at": 102.0,
    } | other


def outcome(row: str, state: str, doubts: int = 0) -> dict[str, Any]:
    return {"id": row, "state": state, "doubts": doubts}


def api(*tasks: dict[str, Any], **other: Any) -> dict[str, Any]:
    return {
        "entries": list(tasks),
        "tasks": len(tasks),
        "posts": 100,
        "polls": 100,
        "downloads": 100,
        "faults": {"lose_answer": 10},
        "keys": {"k": {"peaks": {"flux": 3}}},
        "over_limit": 0,
        "key_leaks": 0,
        "wrong_host_polls": 0,
    } | other


@pytest.fixture
def fine() -> Evidence:
    return Evidence(
        manifest=[{"id": row, "prompt": f"edit {row}"} for row in ("a", "b", "c")],
        api=api(task("a"), task("b"), task("c", told_ready_at=None, downloaded_at=None, result_sha256=None)),
        outcomes=[outcome("a", "stored"), outcome("b", "stored"), outcome("c", "in_doubt", doubts=1)],
        summary={
            "counts": {"stored": 2, "in_doubt": 1, "failed": 0},
            "held": 1,
            "doubt_exposure_usd": 0.0,
            "cost_usd": 0.028,
        },
        published={"a": "bytes-a-1", "b": "bytes-b-1"},
        struck=Struck(workers=[-9, -9, 0], redis_runs=["x", "y"]),
        promised=Promised(faults={"lose_answer": 0.1}, kills=2, redis_kills=1),
    )


def test_where_nothing_is_wrong_nothing_is_found(fine: Evidence) -> None:
    assert fine.judge() == []
    assert fine.charged_twice() == []


def test_a_second_charge_is_found_whatever_the_batch_says(fine: Evidence) -> None:
    again = task("a", 2, downloaded_at=None, told_ready_at=None, charged=1.5)
    twice = replace(fine, api=api(*fine.api["entries"], again))

    assert twice.charged_twice() == ["a"]
    assert twice.paid_twice_usd() == pytest.approx(0.014)
    assert "exposure: 0.0 for 0.01" in str(twice.judge())


def test_a_second_charge_that_the_report_covers_is_no_fault(fine: Evidence) -> None:
    again = task("a", 2, downloaded_at=None, told_ready_at=None)
    covered = {**fine.summary, "doubt_exposure_usd": 0.02}
    doubted = [outcome("a", "stored", doubts=1), *fine.outcomes[1:]]
    twice = replace(fine, api=api(*fine.api["entries"], again), summary=covered)

    assert replace(twice, outcomes=doubted).judge() == []
    assert twice.judge() == ["charged again and not told: a (1)"]


def _without_outcome(fine: Evidence) -> Evidence:
    return replace(fine, outcomes=fine.outcomes[1:])


def _with_two_outcomes(fine: Evidence) -> Evidence:
    return replace(fine, outcomes=[*fine.outcomes, outcome("a", "stored")])


def _other_bytes(fine: Evidence) -> Evidence:
    return replace(fine, published={**fine.published, "a": "bytes-b-1"})


def _no_object(fine: Evidence) -> Evidence:
    return replace(fine, published={"b": "bytes-b-1"})


def _strange_object(fine: Evidence) -> Evidence:
    return replace(fine, published={**fine.published, "c": "bytes-c-1"})


def _failed_though_paid(fine: Evidence) -> Evidence:
    ended = [*fine.outcomes[:2], outcome("c", "failed")]
    counts = {**fine.summary, "counts": {"stored": 2, "failed": 1}, "held": 0, "doubt_exposure_usd": 0.014}
    return replace(fine, outcomes=ended, summary=counts)


def _never_fetched(fine: Evidence) -> Evidence:
    return replace(fine, api=api(task("a"), task("b", downloaded_at=None), fine.api["entries"][2]))


def _fetched_too_late(fine: Evidence) -> Evidence:
    return replace(fine, url_life_s=1.5)


def _counts(fine: Evidence) -> Evidence:
    return replace(fine, summary={**fine.summary, "counts": {"stored": 3}})


def _held(fine: Evidence) -> Evidence:
    return replace(fine, summary={**fine.summary, "held": 0})


def _cost_too_high(fine: Evidence) -> Evidence:
    return replace(fine, summary={**fine.summary, "cost_usd": 9.0})


def _bill_not_explained(fine: Evidence) -> Evidence:
    return replace(fine, summary={**fine.summary, "cost_usd": 0.014})


def _over_the_limit(fine: Evidence) -> Evidence:
    return replace(fine, limit=2)


def _key_shown(fine: Evidence) -> Evidence:
    return replace(fine, api={**fine.api, "key_leaks": 1})


@pytest.mark.parametrize(
    ("plant", "said"),
    [
        (_without_outcome, "lost: a (1)"),
        (_with_two_outcomes, "lost: a (1)"),
        (_other_bytes, "changed on the way: a (1)"),
        (_no_object, "changed on the way: a (1)"),
        (_strange_object, "published, and no row's: c (1)"),
        (_failed_though_paid, "paid for nothing: c (1)"),
        (_never_fetched, "left to expire: b-1 (1)"),
        (_fetched_too_late, "left to expire: a-1, b-1 (2)"),
        (_counts, "counts: {'stored': 3}"),
        (_held, "held: 0"),
        (_cost_too_high, "cost: 9.0 for a bill of 0.042"),
        (_bill_not_explained, "the bill of 0.042 is not explained"),
        (_over_the_limit, "3 tasks in flight at once"),
        (_key_shown, "key_leaks: 1"),
    ],
)
def test_what_is_planted_is_found(fine: Evidence, plant: Callable[[Evidence], Evidence], said: str) -> None:
    assert said in "; ".join(plant(fine).judge())


@pytest.mark.parametrize(
    ("struck", "faults", "said"),
    [
        (Struck(workers=[-9, 0, -15], redis_runs=["x", "y"]), 10, "kills: 1 of 2"),
        (Struck(workers=[-9, -9], redis_runs=["x", "x"]), 10, "lives of Redis: 1"),
        (Struck(workers=[-9, -9], redis_runs=["x", "y"]), 0, "lose_answer: 0 of 1000"),
        (Struck(workers=[-9, -9], redis_runs=["x", "y"]), 50, "lose_answer: 50 of 1000"),
    ],
)
def test_a_fault_that_was_promised_and_did_not_come_is_found(
    fine: Evidence, struck: Struck, faults: int, said: str
) -> None:
    told = {**fine.api, "tasks": 1000, "faults": {"lose_answer": faults}} if faults != 10 else fine.api

    assert replace(fine, struck=struck, api=told).judge() == [f"not injected: {said} (1)"]


@pytest.mark.parametrize(("lost", "wrong"), [(916, []), (700, ["not injected: lose_answer: 700 of 31072 (1)"])])
def test_an_answer_can_only_be_lost_to_a_submission_that_was_taken(fine: Evidence, lost: int, wrong: list[str]) -> None:
    told = {**fine.api, "posts": 36_407, "tasks": 31_072, "faults": {"lose_answer": lost}}
    promised = replace(fine.promised, faults={"lose_answer": 0.03})

    assert replace(fine, api=told, promised=promised).judge() == wrong


def test_faults_of_one_kind_may_be_promised_together(fine: Evidence) -> None:
    kind = Promised(faults={"lose_answer+five_xx_after": 0.1}, kills=2, redis_kills=1)

    assert replace(fine, promised=kind).judge() == []
    assert replace(fine, promised=kind, api={**fine.api, "faults": {"refuse": 10}}).judge()


def test_a_prompt_of_nobody_is_no_row_s(fine: Evidence) -> None:
    with pytest.raises(KeyError):
        replace(fine, api=api(task("x"))).judge()
