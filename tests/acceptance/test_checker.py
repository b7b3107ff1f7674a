"""The checker itself: what it is there to find, it finds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.acceptance.checker import Books

IDS = ["a", "b"]


def task(name: str, **other: Any) -> dict[str, Any]:
    return {
        "id": f"task-{name}",
        "content": f"content-{name}",
        "charged": 1.4,
        "status": "Ready",
        "result_sha256": f"sha-{name}",
        "polls": 2,
        "downloads": 1,
    } | other


def outcome(name: str) -> dict[str, Any]:
    return {
        "id": name,
        "state": "stored",
        "output": f"out/{name}.jpg",
        "fingerprint": f"print-{name}",
        "sha256": f"sha-{name}",
        "task_id": f"task-{name}",
        "doubts": 0,
    }


@pytest.fixture
def books() -> Books:
    return Books(
        outcomes=[outcome("a"), outcome("b")],
        summary={"rows": 2, "counts": {"stored": 2, "failed": 0}},
        objects={"out/a.jpg": "sha-a", "out/b.jpg": "sha-b"},
        filed={"print-a": "sha-a", "print-b": "sha-b"},
        files=frozenset({"summary.json", "results.csv", "report.html"}),
        api={
            "entries": [task("a"), task("b")],
            "keys": {"k": {"peaks": {"flux": 2}}},
            "over_limit": 0,
            "key_leaks": 0,
            "wrong_host_polls": 0,
        },
    )


def test_a_batch_without_fault_passes(books: Books) -> None:
    books.check(IDS)


def test_a_row_without_an_outcome_is_found(books: Books) -> None:
    assert books.lost([*IDS, "c"]) == ["c"]


def test_a_row_with_two_outcomes_is_found(books: Books) -> None:
    assert replace(books, outcomes=[*books.outcomes, outcome("a")]).lost(IDS) == ["a"]


def test_a_second_charge_that_no_doubt_explains_is_found(books: Books) -> None:
    again = task("a", id="task-other", polls=0, downloads=0, result_sha256=None)
    twice = replace(books, api={**books.api, "entries": [*books.tasks, again]})

    assert twice.charged_again() == {"a"}
    with pytest.raises(AssertionError):
        twice.check(IDS)


def test_a_second_charge_that_a_doubt_explains_passes(books: Books) -> None:
    again = task("a", id="task-other", polls=0, downloads=0, result_sha256=None)
    doubted = [{**outcome("a"), "doubts": 1}, outcome("b")]

    replace(books, outcomes=doubted, api={**books.api, "entries": [*books.tasks, again]}).check(IDS)


@pytest.mark.parametrize(
    "changed", [{"objects": {"out/a.jpg": "sha-x", "out/b.jpg": "sha-b"}}, {"filed": {"print-b": "sha-b"}}]
)
def test_bytes_that_are_not_those_of_the_api_are_found(books: Books, changed: dict[str, Any]) -> None:
    assert replace(books, **changed).changed_on_the_way() == ["a"]


def test_a_paid_result_that_is_not_in_the_bucket_is_found(books: Books) -> None:
    third = replace(books, api={**books.api, "entries": [*books.tasks, task("c")]})

    assert third.unpublished_purchases() == ["task-c"]


@pytest.mark.parametrize("count", ["over_limit", "key_leaks", "wrong_host_polls"])
def test_what_the_api_counts_against_us_is_found(books: Books, count: str) -> None:
    with pytest.raises(AssertionError):
        replace(books, api={**books.api, count: 1}).check(IDS)


def test_a_peak_over_the_limit_is_found(books: Books) -> None:
    with pytest.raises(AssertionError):
        books.check(IDS, limit=1)
