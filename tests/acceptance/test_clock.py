"""Nights by a clock that is turned: real beats and intakes, a real Redis that is told what time it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from producers.schedules.cron import stamp
from running.programs import Program, eventually
from tests.acceptance.clock import Clock
from tests.acceptance.harness import House
from tests.acceptance.nights import batches, records, said, start

SCHEDULE = """
[[schedule]]
name = "nightly"
cron = "{cron}"
time_zone = "Europe/Berlin"
manifest = "manifest.csv"
max_cost_usd = 5
settle_s = 0
catch_up = "all"
"""


def _newer(file: Path, than: int) -> bool:
    return file.exists() and file.stat().st_mtime_ns > than


class Night:
    """Two beats and two intakes before a schedule, some seconds before its time."""

    def __init__(self, house: House, clock: Clock, cron: str, at: datetime) -> None:
        self.house, self.clock = house, clock
        house.manifest([{"id": "a", "image": house.picture_in_bucket(), "prompt": "on white"}])
        (house.folder / "schedules.toml").write_text(SCHEDULE.format(cron=cron), encoding="utf-8")
        clock.stand(at - timedelta(seconds=10))
        first = self._started("beat", 0)
        eventually(lambda: house.redis.exists("retouch:lock:beat"), 60, lambda: f"the first holds it{said(first)}")
        self.beats = [first, self._started("beat", 1)]
        self.intakes = [start(house, "intake", number) for number in range(2)]
        for name in ("beat-1", "intake-0", "intake-1"):
            self._alive(name)
        clock.run_from(at - timedelta(seconds=2))

    def kill_at(self, at: datetime) -> None:
        """Kill a beat at the minute, and start another in its place, as a supervisor would."""
        self.clock.until(at)
        self.beats.pop(0).kill()
        self.beats.append(self._started("beat", 2))

    def fired(self, count: int) -> None:
        """Wait for so many records."""
        programs = (*self.beats, *self.intakes)
        found = partial(records, self.house, "nightly")
        eventually(lambda: len(found()) >= count, 90, lambda: f"{count} firings{said(*programs)}")

    def looked(self) -> None:
        """Wait until each beat has taken two more turns: by then it has sent what it wanted to."""
        for _ in range(2):
            self.clock.run_from(self.clock.now() + timedelta(seconds=21))  # a lock of somebody who is gone has lapsed
            for beat in self.beats:
                file = self.house.folder / f"{beat.name}.beat"
                before = file.stat().st_mtime_ns if file.exists() else 0
                eventually(partial(_newer, file, before), 60, lambda: f"the beats look{said(*self.beats)}")

    def _started(self, command: str, number: int) -> Program:
        return start(self.house, command, number)

    def _alive(self, name: str) -> None:
        path = self.house.folder / f"{name}.beat"
        eventually(path.exists, 60, f"{name} works")


def berlin(text: str, fold: int = 0) -> datetime:
    """Return in UTC what the wall shows in Berlin; `fold` 1 is the second time."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Berlin"), fold=fold).astimezone(UTC)


Case = tuple[str, list[datetime], str, list[datetime], str]

ON_A_COMMON_NIGHT: Case = ("30 23 * * *", [], "2026-11-22T23:30", [], "2026-11-23T23:30")
WHEN_THERE_IS_NONE: Case = ("30 2 * * *", [berlin("2027-03-28T01:30")], "2027-03-28T03:30", [], "2027-03-29T02:30")
WHEN_IT_COMES_TWICE: Case = (
    "30 2 * * *",
    [],
    "2026-10-25T02:30",
    [berlin("2026-10-25T02:30", fold=1)],
    "2026-10-26T02:30",
)
"""Cron, times before that are passed in silence, when it fires, times after that are silent, when it fires next."""


@pytest.mark.parametrize(
    ("cron", "before", "fires", "after", "tomorrow"),
    [
        pytest.param(*ON_A_COMMON_NIGHT, id="at 23:30"),
        pytest.param(*WHEN_THERE_IS_NONE, id="at 02:30, when there is none"),
        pytest.param(*WHEN_IT_COMES_TWICE, id="at 02:30, when it comes twice"),
    ],
)
def test_two_beats_of_which_one_is_killed_at_the_minute_make_one_batch(
    turned_house: tuple[House, Clock],
    cron: str,
    before: list[datetime],
    fires: str,
    after: list[datetime],
    tomorrow: str,
) -> None:
    house, clock = turned_house
    first, second = berlin(fires), berlin(tomorrow)
    scene = Night(house, clock, cron, (before or [first])[0])

    for at in before:
        clock.until(at)
        scene.looked()
        assert records(house, "nightly") == []
        clock.run_from(first - timedelta(seconds=2))
    scene.kill_at(first)
    clock.run_from(clock.now() + timedelta(seconds=21))  # the lock of the killed one has lapsed
    scene.fired(1)
    for at in after:
        clock.run_from(at - timedelta(seconds=1))
        clock.until(at)
    scene.looked()
    quiet = [record["firing"] for record in records(house, "nightly")]
    clock.run_from(second - timedelta(seconds=2))
    scene.fired(2)
    scene.looked()

    found = records(house, "nightly")
    assert quiet == [stamp(first)]
    assert [record["firing"] for record in found] == [stamp(first), stamp(second)]
    assert [record["outcome"] for record in found] == ["opened", "opened"]
    assert sorted(record["batch"] for record in found) == sorted(batches(house))
    assert len(set(batches(house))) == 2
