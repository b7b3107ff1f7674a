"""Reads a deadline as people write one: a time of day, or a date with a time."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta, tzinfo

_CLOCK = re.compile(r"([01]?\d|2[0-3]):[0-5]\d")
_FORMS = "Write 06:00 (the next time that clocks show it), or 2026-11-24T06:00, with an offset where you like."


class DeadlineError(ValueError):
    """A text that is no deadline; the message says what would be one."""


def is_time_of_day(text: str) -> bool:
    """Whether a text is a time as clocks show it: `06:00`."""
    return _CLOCK.fullmatch(text) is not None


def deadline(text: str, now: float, zone: tzinfo) -> float:
    """Return a deadline in epoch seconds.

    What clocks show twice, in the night on which they are put back, is the next of the two.

    Args:
        text: `06:00` is the next time that clocks in `zone` show it; an ISO date with a time is that moment, in `zone`
            unless it names its own offset.
        now: epoch seconds.
        zone: whose clocks.

    Raises:
        DeadlineError: it is neither, or has passed.
    """
    here = datetime.fromtimestamp(now, zone)
    if is_time_of_day(text):
        hour, minute = map(int, text.split(":"))
        # Clocks that are put back past midnight show the end of yesterday once more.
        walls = (datetime.combine(here.date() + timedelta(days), time(hour, minute)) for days in (-1, 0, 1))
        return min(at for wall in walls for at in _shown(wall, here, zone) if at > now)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or ":" not in text:
        raise DeadlineError(f"{text!r} is no deadline. {_FORMS}")
    moments = [found.timestamp()] if found.tzinfo else _shown(found, here, zone)
    at = next((at for at in moments if at > now), None)
    if at is None:
        raise DeadlineError(
            f"The deadline {text} has passed; it is {here:%Y-%m-%d %H:%M} {here.tzname()} now. {_FORMS}"
        )
    return at


def _shown(wall: datetime, here: datetime, zone: tzinfo) -> list[float]:
    """Return when clocks in `zone` show `wall`, in order.

    Where they leave it out it is as long after midnight, unless they are past it already (`here` is now).
    """
    first, second = (wall.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
    if first > second:  # it is left out: reckoned with the offset from before, and with the one from after
        return [first] if wall > here.replace(tzinfo=None) else []
    return [first, second]
