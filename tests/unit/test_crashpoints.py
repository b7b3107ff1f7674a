"""The places at which a process can be told to die: nothing happens unless it was told, and never on a real API."""

from __future__ import annotations

import os
import signal

import pytest

from config.arming import arm
from config.settings import SettingsError, read_settings
from jobs import crashpoints
from jobs.crashpoints import crashpoint
from jobs.events import Cancelled, GivenBack

LOCAL = {"base_url": "http://127.0.0.1:8787"}


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What was killed, and with which signal."""
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(crashpoints, "_armed", None)
    monkeypatch.setattr(os, "kill", lambda pid, number: seen.append((pid, number)))
    return seen


def test_nobody_dies_unless_told_to(kills: list[tuple[int, int]]) -> None:
    arm(read_settings(api=LOCAL))

    for place in crashpoints.PLACES:
        crashpoint(place)

    assert kills == []


def test_a_process_kills_itself_where_it_was_told_to(kills: list[tuple[int, int]]) -> None:
    arm(read_settings(api=LOCAL, test={"crash_at": "sent"}))

    crashpoint("begun")
    assert kills == []
    crashpoint("sent")

    assert kills == [(os.getpid(), signal.SIGKILL)]


def test_a_place_that_is_passed_often_can_be_died_at_later(kills: list[tuple[int, int]]) -> None:
    arm(read_settings(api=LOCAL, test={"crash_at": "claimed*3"}))

    for times in (1, 2, 3):
        crashpoint("claimed")
        assert len(kills) == (times == 3)


def test_a_place_of_an_event_is_that_event_s_alone(kills: list[tuple[int, int]]) -> None:
    arm(read_settings(api=LOCAL, test={"crash_at": "recorded:GivenBack"}))

    crashpoint("recorded", Cancelled())
    assert kills == []
    crashpoint("recorded", GivenBack(wait=0.0))

    assert len(kills) == 1


@pytest.mark.parametrize("place", ["snet", "recorded", "recorded:Nothing", "sent*0", "sent*x"])
def test_a_place_that_does_not_exist_is_refused(kills: list[tuple[int, int]], place: str) -> None:
    with pytest.raises(SettingsError, match="RETOUCH_TEST__CRASH_AT"):
        arm(read_settings(api=LOCAL, test={"crash_at": place}))


@pytest.mark.parametrize("url", ["https://api.bfl.ai", "http://192.0.2.1:8787", "https://localhost.example"])
def test_a_process_that_may_spend_money_cannot_be_armed(kills: list[tuple[int, int]], url: str) -> None:
    with pytest.raises(SettingsError, match="unset it"):
        arm(read_settings(api={"base_url": url}, test={"crash_at": "sent"}))

    crashpoint("sent")

    assert kills == []
