"""When schedules fire, over the nights on which clocks change above all."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.schedules.cron import Cron, CronError, from_stamp, stamp

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC")


def firings(text: str, zone: ZoneInfo, first: str, days: int) -> list[datetime]:
    begin = datetime.fromisoformat(first).replace(tzinfo=UTC)
    return Cron.parse(text, zone).between(begin, begin + timedelta(days=days))


def test_half_past_eleven_at_night_is_one_firing_a_night() -> None:
    found = firings("30 23 * * *", BERLIN, "2026-11-20", 3)

    assert [stamp(at) for at in found] == ["20261120T223000Z", "20261121T223000Z", "20261122T223000Z"]


def test_a_time_that_does_not_exist_fires_once_an_hour_later_by_the_wall() -> None:
    found = firings("30 2 * * *", BERLIN, "2026-03-28T12:00", 1)

    assert [at.astimezone(BERLIN).isoformat() for at in found] == ["2026-03-29T03:30:00+02:00"]


def test_a_time_that_comes_twice_fires_the_first_time_only() -> None:
    found = firings("30 2 * * *", BERLIN, "2026-10-24T12:00", 1)

    assert [at.astimezone(BERLIN).isoformat() for at in found] == ["2026-10-25T02:30:00+02:00"]


def test_a_skipped_hour_does_not_double_the_hour_after_it() -> None:
    found = firings("*/30 1-4 * * *", BERLIN, "2026-03-28T20:00", 1)

    assert [f"{at.astimezone(BERLIN):%H:%M}" for at in found] == ["01:00", "01:30", "03:00", "03:30", "04:00", "04:30"]


@given(
    zone=st.sampled_from(ZONES),
    hour=st.integers(0, 23),
    minute=st.integers(0, 59),
    start=st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)),  # noqa: DTZ001 - made aware below
)
def test_a_daily_time_fires_once_on_every_local_day(zone: str, hour: int, minute: int, start: datetime) -> None:
    begin = start.replace(hour=12, tzinfo=ZoneInfo(zone))

    found = Cron.parse(f"{minute} {hour} * * *", ZoneInfo(zone)).between(
        begin.astimezone(UTC), (begin + timedelta(days=30)).astimezone(UTC)
    )

    asked = {at.date() for at in (begin + timedelta(days=n) for n in range(31))}
    days = [at.astimezone(ZoneInfo(zone)).date() for at in found]
    assert len(set(days)) == len(days) == 30
    assert set(days) <= asked


@given(
    text=st.sampled_from(["*/15 * * * *", "30 2 * * *", "0 1-4 * * *", "59 23 * * 1-5", "0 0 1 * *"]),
    zone=st.sampled_from(ZONES),
    start=st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1)),  # noqa: DTZ001 - made aware below
    cuts=st.lists(st.integers(1, 14 * 24 * 60), max_size=6),
)
def test_looking_often_finds_what_looking_once_finds(text: str, zone: str, start: datetime, cuts: list[int]) -> None:
    begin = start.replace(tzinfo=UTC)
    end = begin + timedelta(days=14)
    cron = Cron.parse(text, ZoneInfo(zone))

    marks = [begin, *(begin + timedelta(minutes=cut) for cut in sorted(set(cuts)) if cut < 14 * 24 * 60), end]
    pieces = [at for a, b in itertools.pairwise(marks) for at in cron.between(a, b)]

    assert pieces == cron.between(begin, end)
    assert pieces == sorted(set(pieces))


def test_the_next_firing_is_after_now_even_on_the_minute() -> None:
    cron = Cron.parse("30 23 * * *", BERLIN)

    assert cron.following(datetime(2026, 11, 22, 22, 30, tzinfo=UTC)) == datetime(2026, 11, 23, 22, 30, tzinfo=UTC)


def test_a_leap_day_is_found_years_ahead() -> None:
    cron = Cron.parse("0 12 29 2 *", ZoneInfo("UTC"))

    assert cron.following(datetime(2096, 3, 1, tzinfo=UTC)) == datetime(2104, 2, 29, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("61 * * * *", "61"),
        ("30 23 * *", "not five fields"),
        ("@daily", "not five fields"),
        ("0 0 31 2 *", "never"),
        ("0 0 1 * mon", "leave one of them"),
    ],
)
def test_wrong_fields_are_named(text: str, why: str) -> None:
    with pytest.raises(CronError, match=why):
        Cron.parse(text, BERLIN)


def test_sunday_is_0_and_7_and_sun() -> None:
    times = [firings(f"0 12 * * {name}", BERLIN, "2026-11-16", 14) for name in ("0", "sun")]

    assert times[0] == times[1]
    assert [at.isoweekday() for at in times[0]] == [7, 7]


def test_a_stamp_reads_back() -> None:
    at = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)

    assert from_stamp(stamp(at)) == at
