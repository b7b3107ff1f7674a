"""Following a batch: what ends it, what it waits for, and what it says meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from config.catalogue import shipped_catalogue
from jobs.batch import Batch, BatchState
from jobs.bucket.layout import Layout
from jobs.errors import LedgerError
from jobs.ledger.memory import MemoryLedger
from producers.follow import FAR_LOOK_S, LOOK_S, OUTAGE_S, Following, Pace, until_next
from producers.view import NO_WORKER, View
from tests.fakes import FakeBucket

LAYOUT = Layout()
BATCH = Batch(
    id="autumn-20261122-171213-ab12",
    name="autumn",
    created_at=0.0,
    rows=3,
    groups={"flux": 3},
    expected=1,
    at_most=1,
    ceiling=1,
    allowance=0,
)


class Told:
    """A screen that remembers."""

    def __init__(self) -> None:
        self.shown: list[dict[str, Any]] = []
        self.said: list[str] = []

    def show(self, found: dict[str, Any]) -> None:
        self.shown.append(found)

    def say(self, text: str) -> None:
        self.said.append(text)


class House:
    """A batch to follow, with a clock that moves only while following sleeps, and things that happen then."""

    def __init__(self) -> None:
        self.time = 0.0
        self.ledger = MemoryLedger(shipped_catalogue(), clock=lambda: self.time)
        self.bucket = FakeBucket()
        self.view = View(self.ledger, self.bucket, LAYOUT, shipped_catalogue())
        self.screen = Told()
        self.at: list[tuple[float, Callable[[], object]]] = []
        self.ledger.open_batch(BATCH)

    def sleep(self, seconds: float) -> None:
        assert self.time < 600, "following never ended"
        self.time += seconds
        for due, happen in [entry for entry in self.at if entry[0] <= self.time]:
            self.at.remove((due, happen))
            happen()

    def later(self, seconds: float, happen: Callable[[], object]) -> None:
        self.at.append((seconds, happen))

    def state(self, state: BatchState, reason: str = "") -> None:
        self.ledger.set_state(BATCH.id, state, reason, only_from=tuple(BatchState))

    def finish(self, state: str = "done") -> None:
        summary = {"batch": BATCH.id, "state": state, "reason": ""}
        self.bucket.put(LAYOUT.batch(BATCH.id, "summary.json"), json.dumps(summary).encode())
        self.ledger.forget(BATCH.id)

    def follow(self) -> dict[str, Any]:
        return Following(self.view, BATCH.id, self.screen, clock=lambda: self.time, sleep=self.sleep).run()


@pytest.fixture
def house() -> House:
    return House()


def test_following_ends_with_the_summary_of_a_finished_batch(house: House) -> None:
    house.later(5, house.finish)

    found = house.follow()

    assert found["state"] == "done"
    assert house.screen.shown[-1] is found


@pytest.mark.parametrize("reason", ["cap", "key", "storage", "failures", "proof", "doubt"])
def test_a_pause_that_needs_a_decision_ends_following(house: House, reason: str) -> None:
    house.later(1, lambda: house.state(BatchState.PAUSED, reason))

    found = house.follow()

    assert (found["state"], found["reason"]) == ("paused", reason)


def test_a_pause_by_hand_is_waited_through(house: House) -> None:
    house.later(1, lambda: house.state(BatchState.PAUSED, "operator"))
    house.later(60, lambda: house.state(BatchState.OPEN))
    house.later(70, house.finish)

    found = house.follow()

    assert found["state"] == "done"
    assert any(each["state"] == "paused" for each in house.screen.shown)


def test_a_cancelled_batch_is_followed_until_its_report_is_written(house: House) -> None:
    house.later(1, lambda: house.state(BatchState.CANCELLED))
    house.later(9, lambda: house.finish("cancelled"))

    found = house.follow()

    assert found["state"] == "cancelled"
    assert house.time >= 9


def test_a_worker_that_is_just_starting_is_not_missed(house: House) -> None:
    house.later(5, house.finish)

    house.follow()

    assert all(each["warnings"] == [] for each in house.screen.shown)


def test_a_worker_that_never_comes_is_missed(house: House) -> None:
    house.later(30, house.finish)

    house.follow()

    assert house.screen.shown[-2]["warnings"] == [NO_WORKER]


def test_a_redis_that_is_away_for_a_while_is_waited_for(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    real, away = house.view.progress, [True] * 20

    def progress(batch: str) -> object:
        if away:
            away.pop()
            raise LedgerError
        return real(batch)

    monkeypatch.setattr(house.view, "progress", progress)
    house.later(30, house.finish)

    found = house.follow()

    assert found["state"] == "done"
    assert len(house.screen.said) == 1


def test_a_redis_that_stays_away_ends_following(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    following = Following(house.view, BATCH.id, house.screen, clock=lambda: house.time, sleep=house.sleep)

    def progress(batch: str) -> object:
        raise LedgerError

    monkeypatch.setattr(house.view, "progress", progress)

    with pytest.raises(LedgerError):
        following.run()

    assert house.time >= OUTAGE_S


@pytest.mark.parametrize(
    ("left", "wait"), [(None, LOOK_S), (0.0, LOOK_S), (8.0, LOOK_S), (20.0, 1.0), (3600.0, FAR_LOOK_S)]
)
def test_the_further_away_the_end_the_later_is_the_next_look(left: float | None, wait: float) -> None:
    assert until_next({"live": {"eta_s": left}}) == wait


def test_a_batch_with_hours_to_go_is_looked_at_every_two_seconds(house: House) -> None:
    looks: list[float] = []
    real = house.view.document

    def document(*about: Any, **more: Any) -> dict[str, Any]:
        looks.append(house.time)
        found = real(*about, **more)
        found["counts"]["stored"] = int(house.time)
        return {**found, "rows": 100_000}

    house.view.document = document  # type: ignore[method-assign]
    house.later(60, house.finish)

    house.follow()

    assert looks[-1] - looks[-2] == FAR_LOOK_S
    assert looks[1] - looks[0] == LOOK_S


def test_the_pace_is_that_of_the_last_minute() -> None:
    pace = Pace()
    for second, stored in ((0, 0), (60, 0), (90, 30), (120, 60)):
        counts = {"stored": stored, "unchanged": 0, "moderated": 0, "failed": 0, "cancelled": 0}
        pace.add(float(second), {"counts": counts})

    images, rows = pace.per_minute()

    assert (images, rows) == (60.0, 60.0)
