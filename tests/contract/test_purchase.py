"""A purchase against the simulator over a slow line: what the API has of the next body while every slot is taken."""

from __future__ import annotations

import io
import random
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from jobs.events import Accepted, Event, GivenBack, Ready
from jobs.job import State
from running.programs import eventually
from simulator.options import Options
from simulator.threaded import running
from tests.unit.desks import URL, House, make_house
from workers.api.client import LAST, Api

LATENCY_S = 7.0
LINE_MBIT = 4.0


def noise() -> bytes:
    """Return a picture of about 100 KB, which takes the line a quarter of a second."""
    file = io.BytesIO()
    Image.frombytes("RGB", (240, 180), random.Random(7).randbytes(240 * 180 * 3)).save(file, "PNG")
    return file.getvalue()


class Scene:
    """One slot, which the first of two rows has, and the second row's purchase under way in a thread."""

    def __init__(self, house: House, base_url: str) -> None:
        self.house = house
        self._base_url = base_url
        first, second = house.purchase("b.1"), house.purchase("b.2")
        self.bodies = sum(len(each.body) for each in house.desk.prepared.values())
        event = first.made()
        self.first = house.moved(first.job, event)
        self.events: list[Event] = []
        self._thread = threading.Thread(target=lambda: self.events.append(second.made()), daemon=True)
        self._thread.start()
        eventually(lambda: self.api["received"] == self.bodies - LAST, 20, "all but the last part is there")

    @property
    def api(self) -> Any:
        """What the API counts."""
        return httpx.get(f"{self._base_url}/admin/ledger", trust_env=False).json()

    def ends(self) -> Event:
        """Wait for the second purchase and return what became of it."""
        self.house.desk.gate.freed()
        self._thread.join(20)
        (event,) = self.events
        return event


@pytest.fixture
def scene() -> Iterator[Scene]:
    house = make_house(slots=1)
    house.open(rows=2)
    for row in (1, 2):
        house.bucket.lay(f"in/{row}.png", noise())
    options = Options(
        port=0, latency=LATENCY_S, spread=0.0, active_limit=1, upload_mbit=LINE_MBIT, result_size=(64, 64)
    )
    with running(options, clock=house.clock) as at:
        house.desk.api = Api(base_url=at.base_url, timeout_s=10.0)
        scene = Scene(house, at.base_url)
        yield scene
        house.stopping.set()
        scene.ends()
        house.desk.api.close()


def test_while_the_slot_is_taken_the_api_has_the_next_body_but_for_its_last_part_and_no_task_of_it(
    scene: Scene,
) -> None:
    api = scene.api

    assert (api["begun"], api["posts"], api["tasks"]) == (2, 1, 1)
    assert scene.house.ledger.slots_used()["flux"] == 1
    assert scene.house.stands("b.2").state is State.QUEUED
    assert scene.events == []


def test_a_freed_slot_is_filled_by_the_last_part_of_a_body_alone(scene: Scene) -> None:
    scene.house.clock.advance(LATENCY_S)
    scene.house.moved(scene.first, Ready(url=URL, deadline=scene.house.clock() + 600))

    event = scene.ends()
    api = scene.api

    assert isinstance(event, Accepted)
    assert api["answers"] == {"200": 2}
    assert api["received"] == scene.bodies
    first, second = api["entries"]
    assert first["ended_at"] == second["accepted_at"]


def test_a_shutdown_ends_a_body_that_waits_and_the_api_has_no_task_of_it(scene: Scene) -> None:
    scene.house.stopping.set()

    event = scene.ends()

    assert event == GivenBack(wait=0.0, why="shutting down")
    assert (scene.api["posts"], scene.api["tasks"]) == (1, 1)
    assert scene.api["received"] == scene.bodies - LAST
