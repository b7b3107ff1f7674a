"""Deadlines as people write them."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import read_settings
from producers.cli.asked import due_at
from producers.cli.voice import Stop
from producers.deadline import DeadlineError, deadline

BERLIN = ZoneInfo("Europe/Berlin")
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


@given(now=st.floats(0, 4e9), hour=st.integers(0, 23), minute=st.integers(0, 59))
def test_a_time_of_day_is_always_ahead_and_within_a_day(now: float, hour: int, minute: int) -> None:
    found = deadline(f"{hour:02}:{minute:02}", now, BERLIN)

    assert 0 < found - now <= 25 * 3600


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
