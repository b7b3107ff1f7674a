"""Whoever listens to the news of freed slots: as long as the process frees any."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jobs.events import NotSubmitted
from jobs.ledger.news import Freed
from running.programs import eventually
from tests.unit.desks import House, make_house
from workers.listener import Listener


@pytest.fixture
def heard(house: House, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Freed]]:
    """Let the house listen, and return the news so far."""
    heard: list[Freed] = []
    real = house.desk.gate.freed

    def freed(news: Freed) -> None:
        heard.append(news)
        real(news)

    monkeypatch.setattr(house.desk.gate, "freed", freed)
    listener = Listener(house.desk)
    listener.start()
    eventually(lambda: heard, 5, "it listens")
    yield heard
    listener.close()
    listener._thread.join(5)
    assert not listener._thread.is_alive()


@pytest.fixture
def house() -> House:
    """Return a house with a batch of one row."""
    house = make_house()
    house.open()
    return house


def test_a_slot_that_is_freed_while_the_process_ends_is_passed_on(house: House, heard: list[Freed]) -> None:
    job = house.begun()
    house.stopping.set()

    house.moved(job, NotSubmitted(wait=9.0))

    own = Freed(account="main", group="flux", by="w1")
    eventually(lambda: own in heard, 5, "it is heard of here")
    eventually(lambda: Freed(account="main", group="flux") in heard, 5, "and passed on to everybody")
