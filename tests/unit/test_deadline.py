"""Deadlines as people write them."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import read_settings
from producers.cli.asked import due_at
from producers.cli.voice import Stop
from producers.deadline import DeadlineError, deadline

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = sorted(available_timezones())
DAY = 86_400
EPOCH = 1e8
"""Since then clocks everywhere are whole minutes apart."""
NOW = datetime(2026, 11, 23, 22, 15, tzinfo=UTC).timestamp()
"""23:15 in Berlin."""


def at(text: str, now: float = NOW) -> str:
    return datetime.fromtimestamp(deadline(text, now, BERLIN), UTC).isoformat(timespec="minutes")[:16]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("06:00", "2026-11-24T05:00"),
        ("6:00", "2026-11-24T05:00"),
        ("23:30", "2026-11-23T22:30"),
        ("23:15", "2026-11-24T22:15"),
        ("2026-11-24T06:00", "2026-11-24T05:00"),
        ("2026-11-24 06:00", "2026-11-24T05:00"),
        ("2026-11-24T06:00Z", "2026-11-24T06:00"),
        ("2026-11-24T06:00-05:00", "2026-11-24T11:00"),
    ],
)
def test_a_time_of_day_is_the_next_one_and_a_date_is_that_moment(text: str, found: str) -> None:
    assert at(text) == found


def test_a_time_that_the_clocks_leave_out_is_as_long_after_midnight() -> None:
    before = datetime(2026, 3, 29, 0, 30, tzinfo=UTC).timestamp()  # 01:30; at 02:00 it is 03:00

    assert at("02:30", before) == "2026-03-29T01:30"


def test_a_time_that_the_clocks_have_left_out_today_is_that_of_tomorrow() -> None:
    after = datetime(2026, 3, 29, 1, 10, tzinfo=UTC).timestamp()  # 03:10; 02:30 was not today

    assert at("02:30", after) == "2026-03-30T00:30"


@pytest.mark.parametrize("text", ["02:30", "2026-10-25T02:30"])
@pytest.mark.parametrize(
    ("utc", "minutes"),
    [("00:10", 20), ("00:40", 50), ("01:10", 20)],
    ids=["02:10 of summer", "02:40 of summer", "02:10 of winter"],
)
def test_a_time_that_clocks_show_twice_is_the_next_of_the_two(text: str, utc: str, minutes: int) -> None:
    now = datetime.fromisoformat(f"2026-10-25T{utc}+00:00").timestamp()

    assert deadline(text, now, BERLIN) - now == minutes * 60


def test_clocks_that_are_put_back_past_midnight_show_the_end_of_yesterday_once_more() -> None:
    newfoundland = ZoneInfo("America/St_Johns")  # at 00:01 it was 23:01 again
    now = datetime(2010, 11, 7, 0, 0, 30, tzinfo=newfoundland).timestamp()

    assert deadline("23:30", now, newfoundland) - now == 29.5 * 60


@st.composite
def moments(draw: st.DrawFn) -> tuple[ZoneInfo, float]:
    """Return a zone and a time there, as often as not near to when its clocks are turned."""
    zone, now = ZoneInfo(draw(st.sampled_from(ZONES))), draw(st.floats(EPOCH, 4e9))
    days = range(int(now), int(now) + 400 * DAY, DAY)
    turned = next((at for at in days if here(at, zone).utcoffset() != here(at + DAY, zone).utcoffset()), None)
    return zone, now if turned is None or draw(st.booleans()) else turned + draw(st.floats(-DAY, 2 * DAY))


def here(at: float, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(at, zone)


def is_left_out(wall: datetime, zone: ZoneInfo) -> bool:
    return here(wall.replace(tzinfo=zone).timestamp(), zone).replace(tzinfo=None) != wall


@given(where=moments(), hour=st.integers(0, 23), minute=st.integers(0, 59))
def test_a_time_of_day_is_the_next_moment_at_which_clocks_anywhere_show_it(
    where: tuple[ZoneInfo, float], hour: int, minute: int
) -> None:
    zone, now = where

    at = deadline(f"{hour:02}:{minute:02}", now, zone)

    found, wanted = here(at, zone), time(hour, minute)
    put_back = (here(now, zone).utcoffset() or timedelta()) - (found.utcoffset() or timedelta())
    assert 0 < at - now <= DAY + max(put_back.total_seconds(), 0), "within 25 hours, or what the day has there"
    assert found.time() == wanted or is_left_out(datetime.combine(found.date(), wanted), zone)
    between = (here(start, zone) for start in range((int(now) // 60 + 1) * 60, int(at), 60))
    assert all(each.time() != wanted for each in between), "none is sooner"


@pytest.mark.parametrize("text", ["", "soon", "24:00", "6", "06:60", "2026-11-24", "2026-13-01T06:00", "06:00\n"])
def test_anything_else_is_refused_with_what_would_be_right(text: str) -> None:
    with pytest.raises(DeadlineError, match=r"is no deadline\. Write 06:00"):
        at(text)


def test_what_has_passed_is_refused_with_the_time_that_it_is() -> None:
    with pytest.raises(DeadlineError, match="has passed; it is 2026-11-23 23:15 CET now"):
        at("2026-11-23T23:00")


def test_what_is_said_on_the_command_line_is_in_the_time_zone_of_the_money() -> None:
    settings = read_settings(money={"timezone": "Europe/Berlin"})

    assert due_at(None, NOW, settings) == 0.0
    assert due_at("06:00", NOW, settings) == deadline("06:00", NOW, BERLIN)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("soon", "--by: 'soon' is no deadline."),
        ("2026-11-23T23:00", "--by: The deadline 2026-11-23T23:00 has passed; it is 2026-11-23 23:15 CET now."),
    ],
)
def test_a_mistake_on_the_command_line_is_usage_and_says_what_would_be_right(text: str, message: str) -> None:
    with pytest.raises(Stop) as said:
        due_at(text, NOW, read_settings(money={"timezone": "Europe/Berlin"}))

    assert (said.value.code, said.value.exit_code, said.value.message) == ("usage", 2, message)
    assert said.value.remedy.startswith("Write 06:00")
