"""The life of a worker: it drains when it is told to stop, and ends by itself when it takes no messages any more."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from jobs.queues import EDIT_QUEUE, KEY_PREFIX
from running.programs import Program, eventually
from tests.acceptance.harness import House
from tests.acceptance.test_main_job import ids_of

DEAF = """
import os, sys
from kombu.transport.redis import Channel
from workers.__main__ import main

brpop = Channel._brpop_start

def deaf(self, *args, **named):
    if not os.path.exists(sys.argv[1]):
        brpop(self, *args, **named)

Channel._brpop_start = deaf
main([])
"""
"""A worker whose consumer takes nothing once a file is there, as after a reconnection that went wrong."""


def listens(house: House) -> bool:
    """Whether anybody waits at a queue of this Redis: what it had asked for before would still reach it."""
    return any(client["cmd"] == "brpop" and "b" in client["flags"] for client in house.redis.client_list())


def test_a_worker_that_takes_no_messages_any_more_ends_and_another_one_does_its_work(house: House) -> None:
    house.simulate("--latency", "0.2")
    cotton = house.folder / "cotton"
    deaf = Program("deaf", [sys.executable, "-P", "-c", DEAF, str(cotton)], house.env(), house.folder)
    house.own(deaf)
    house.working(deaf)
    cotton.touch()
    eventually(lambda: not listens(house), 20, "it has taken its ears off the queues")
    rows = house.rows(3)
    batch = house.submit(house.manifest(rows))
    eventually(lambda: house.redis.llen(KEY_PREFIX + "house"), 20, "a message waits")

    code = deaf.ended(120)
    house.workers(1)
    books = house.ended(batch, 60)

    assert code == 1
    assert "takes no messages" in deaf.said
    books.check(ids_of(rows))
    assert books.states == {"stored": 3}


LIMIT = {"RETOUCH_API__ACTIVE_LIMIT": "6"}


@contextmanager
def rolling_restarts(house: House, every_s: float) -> Iterator[list[int]]:
    """Replace the oldest of three workers every few seconds, gently; yields the exit codes of those that left."""
    codes: list[int] = []
    running = house.workers(3, **LIMIT)
    over = threading.Event()

    def roll() -> None:
        while not over.wait(every_s):
            running.append(house.worker(**LIMIT))
            leaving = running.pop(0)
            leaving.terminate()
            codes.append(leaving.ended(60))

    thread = threading.Thread(target=roll, name="rolling")
    thread.start()
    try:
        yield codes
    finally:
        over.set()
        thread.join()


def test_rolling_restarts_leave_no_doubt_behind_and_cost_no_attempt(house: House) -> None:
    api = house.simulate("--latency", "2", "--slow-answer", "0.2", "--slow-answer-s", "2", "--active-limit", "6")
    rows = house.rows(80)

    with rolling_restarts(house, 5) as codes:
        batch = house.submit(house.manifest(rows), allowance="0")
        began = time.monotonic()
        books = house.ended(batch, 240)
        took = time.monotonic() - began

    assert len(codes) >= 3, f"workers were replaced in its {took:.0f} s"
    assert set(codes) == {0}
    assert api.totals()["faults"]["slow_answer"] > 0
    books.check(ids_of(rows), limit=6)
    assert books.states == {"stored": 80}
    assert books.in_doubt() == set()
    assert {outcome["attempts"] for outcome in books.outcomes} == {1}
    assert set(books.charged.values()) == {1}
    assert house.redis.llen(KEY_PREFIX + EDIT_QUEUE) == 0
