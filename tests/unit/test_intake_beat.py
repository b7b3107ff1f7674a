"""What a beat sends, and when it sends it again."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

from jobs.queues import PLAN_FIRING, PLAN_UPLOAD
from producers.intake.beat import AGAIN_S, UPLOADS_AT_ONCE, Beat
from producers.intake.desk import Desk
from producers.intake.firing import fire
from producers.schedules.cron import from_stamp
from producers.schedules.file import read_schedules
from producers.schedules.history import History
from tests.fakes import FakeBucket
from tests.unit.intaking import HEADER, NOW, Clock, desk, lines

SCHEDULE = """
[[schedule]]
name = "autumn"
cron = "30 23 * * *"
time_zone = "Europe/Berlin"
manifest = "autumn.csv"
max_cost_usd = 5
settle_s = 0
"""
TONIGHT = "20261122T223000Z"


class World:
    """Beats and their clock, over one bucket and one ledger."""

    def __init__(self, folder: Path, text: str = SCHEDULE) -> None:
        (folder / "schedules.toml").write_text(text, encoding="utf-8")
        (folder / "autumn.csv").write_text(HEADER + lines(3), encoding="utf-8")
        self.clock = Clock(NOW - timedelta(minutes=5))
        self.desk: Desk = desk(folder, self.clock)
        self.sent: list[tuple[str, ...]] = []

    def beat(self) -> Beat:
        return Beat(self.desk, lambda task, args: self.sent.append((task, *args)), monotonic=self.clock)

    def pass_(self, **time: float) -> None:
        self.clock.at += timedelta(**time)

    def intake(self) -> None:
        """Do what was sent."""
        schedules = read_schedules(self.desk.settings.schedules)
        for task, *args in self.sent:
            assert task == PLAN_FIRING
            fire(schedules[args[0]], from_stamp(args[1]), self.desk)
        self.sent.clear()

    def outcomes(self) -> list[tuple[str, str]]:
        records = History("autumn", self.desk.bucket, self.desk.layout).records()
        return [(record.firing, record.outcome) for record in records]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_nothing_is_sent_before_its_time_and_the_beat_wakes_for_it(world: World) -> None:
    beat = world.beat()
    world.pass_(minutes=4, seconds=56)

    wait = beat.once()

    assert world.sent == []
    assert wait == pytest.approx(2.0)


def test_a_due_firing_is_sent_once_and_after_its_record_never_again(world: World) -> None:
    beat = world.beat()
    beat.once()
    world.pass_(minutes=5)

    for _ in range(3):
        beat.once()
        world.pass_(seconds=2)
    assert world.sent == [(PLAN_FIRING, "autumn", TONIGHT)]
    world.intake()
    world.pass_(minutes=5)
    beat.once()

    assert world.sent == []
    assert world.outcomes() == [(TONIGHT, "opened")]


def test_a_firing_of_which_nothing_came_is_sent_again(world: World) -> None:
    beat = world.beat()
    beat.once()
    world.pass_(minutes=5)

    beat.once()
    world.pass_(seconds=AGAIN_S)
    beat.once()

    assert world.sent == [(PLAN_FIRING, "autumn", TONIGHT)] * 2


def test_messages_do_not_pile_up_while_no_intake_runs(world: World) -> None:
    beat = world.beat()
    beat.once()
    world.pass_(minutes=5)

    for _ in range(3600 * 24 // 30):
        beat.once()
        world.pass_(seconds=30)

    assert len(world.sent) < 4 * 24 + 10


def test_a_flood_of_uploads_is_sent_a_part_at_a_time(world: World) -> None:
    for n in range(UPLOADS_AT_ONCE + 50):
        cast("FakeBucket", world.desk.bucket).lay(f"retouch/inbox/{n:04d}.csv", b"x")
    beat = world.beat()

    beat.once()

    assert len(world.sent) == UPLOADS_AT_ONCE
    for n in range(60):
        world.desk.bucket.delete(f"retouch/inbox/{n:04d}.csv")
    world.pass_(seconds=11)
    beat.once()
    assert len(world.sent) == UPLOADS_AT_ONCE + 50


def test_a_second_beat_is_silent_until_the_first_one_is_gone(world: World) -> None:
    first, second = world.beat(), world.beat()
    first.once()
    second.once()
    world.pass_(minutes=5)  # the first one was killed, and its lock has lapsed

    second.once()
    first.once()

    assert world.sent == [(PLAN_FIRING, "autumn", TONIGHT)]


def test_a_new_schedule_does_not_catch_up_what_was_before_it(world: World) -> None:
    world.pass_(hours=1)

    world.beat().once()

    assert world.sent == []


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("all", ["opened"] * 4),
        ("last", ["missed", "missed", "missed", "opened"]),
        ("none", ["missed"] * 4),
    ],
)
def test_an_outage_of_four_nights_is_caught_up_as_configured(tmp_path: Path, policy: str, expected: list[str]) -> None:
    world = World(tmp_path, SCHEDULE + f'catch_up = "{policy}"\n')
    world.beat().once()
    world.pass_(days=3, hours=8)
    beat = world.beat()

    for _ in range(10):
        beat.once()
        world.intake()
        world.pass_(seconds=10)

    assert [outcome for _, outcome in world.outcomes()] == expected
    assert world.outcomes()[0][0] == TONIGHT


def test_uploads_are_sent_once_until_they_are_gone(world: World) -> None:
    beat = world.beat()
    bucket = cast("FakeBucket", world.desk.bucket)
    bucket.lay("retouch/inbox/a.csv", b"x")
    head = bucket.head("retouch/inbox/a.csv")
    assert head is not None

    beat.once()
    world.pass_(seconds=11)
    beat.once()
    assert world.sent == [(PLAN_UPLOAD, "retouch/inbox/a.csv", head.etag)]
    bucket.delete("retouch/inbox/a.csv")
    world.pass_(seconds=AGAIN_S)
    beat.once()

    assert len(world.sent) == 1


def test_a_mistake_in_the_file_stops_schedules_and_not_the_inbox(tmp_path: Path) -> None:
    world = World(tmp_path, SCHEDULE.replace("30 23", "99 23"))
    cast("FakeBucket", world.desk.bucket).lay("retouch/inbox/a.csv", b"x")
    world.pass_(minutes=5)

    world.beat().once()

    assert [task for task, *_ in world.sent] == [PLAN_UPLOAD]


def test_a_schedule_that_was_added_later_is_seen(world: World, tmp_path: Path) -> None:
    beat = world.beat()
    beat.once()
    more = SCHEDULE.replace('"autumn"', '"winter"', 1)
    (tmp_path / "schedules.toml").write_text(SCHEDULE + more, encoding="utf-8")
    world.pass_(seconds=5)
    beat.once()
    world.pass_(minutes=5)

    beat.once()

    assert {args[1] for args in world.sent} == {"autumn", "winter"}
