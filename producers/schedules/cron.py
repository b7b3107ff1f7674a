"""When a schedule fires: instants in UTC, out of five cron fields and a time zone.

One local time is one firing, whatever the clocks do: a time that does not exist (02:30 on the night when summer time
begins) fires when it would have been, an hour later by the wall; a time that comes twice fires the first time only.
Fields are read by Celery's own `crontab`, which joins day of month and day of week by *and* where cron says *or*; so
a schedule that restricts both is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Self
from zoneinfo import ZoneInfo

LOOK_BACK = timedelta(days=31)
"""Firings that are older are not caught up."""
STAMP = "%Y%m%dT%H%M%SZ"
_EVERY_DAY, _EVERY_WEEKDAY = frozenset(range(1, 32)), frozenset(range(7))
_AHEAD = timedelta(days=366 * 9)
"""29 February may be eight years away."""


class CronError(ValueError):
    """The fields are not what `crontab` understands; the message says what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """The times of one schedule."""

    text: str
    zone: ZoneInfo
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""

    @classmethod
    def parse(cls, text: str, zone: ZoneInfo) -> Self:
        """Return the times that `minute hour day month weekday` names.

        Raises:
            CronError: it is not five fields, a field is wrong, or it never comes.
        """
        if len(text.split()) != 5:
            raise CronError(f"{text!r} is not five fields: minute, hour, day of month, month, day of week")
        from celery.schedules import crontab  # loaded only where there is a schedule

        try:
            read: Any = crontab.from_string(text)  # the stubs do not know its fields
        except Exception as error:  # noqa: BLE001 - Celery raises errors of its own and the parser's
            raise CronError(f"{text!r}: {error}") from None
        found = cls(
            text=text,
            zone=zone,
            minutes=tuple(sorted(read.minute)),
            hours=tuple(sorted(read.hour)),
            days=frozenset(read.day_of_month),
            months=frozenset(read.month_of_year),
            weekdays=frozenset(read.day_of_week),
        )
        if found.days != _EVERY_DAY and found.weekdays != _EVERY_WEEKDAY:
            raise CronError(f"{text!r} restricts the day of the month and the day of the week: leave one of them *")
        return found

    def between(self, after: datetime, until: datetime) -> list[datetime]:
        """Return the firings in (after, until], oldest first, in UTC; both ends are aware."""
        return [at for at in self._from(after, until) if after < at <= until]

    def following(self, after: datetime) -> datetime | None:
        """Return the first firing after a time, in UTC; None if there is none for years."""
        return next((at for at in self._from(after, after + _AHEAD) if at > after), None)

    def _from(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """Yield firings of every local day that touches the span, ascending, each instant once."""
        day = after.astimezone(self.zone).date() - timedelta(days=1)
        last = until.astimezone(self.zone).date() + timedelta(days=1)
        before = datetime.min.replace(tzinfo=UTC)
        while day <= last:
            for at in sorted(set(self._on(day))):
                if at > before:  # a skipped hour falls together with the next one
                    before = at
                    yield at
            day += timedelta(days=1)

    def _on(self, day: date) -> Iterator[datetime]:
        if day.month not in self.months or day.day not in self.days or day.isoweekday() % 7 not in self.weekdays:
            return
        for hour in self.hours:
            for minute in self.minutes:
                # fold=0 is the offset before the clocks change: the first of two, and the hour that is skipped.
                yield datetime.combine(day, time(hour, minute), tzinfo=self.zone).astimezone(UTC)


def stamp(firing: datetime) -> str:
    """Return a firing as it stands in keys: `20261122T223000Z`."""
    return firing.astimezone(UTC).strftime(STAMP)


def from_stamp(text: str) -> datetime:
    """Return the firing that `stamp` wrote.

    Raises:
        ValueError: it is none.
    """
    return datetime.strptime(text, STAMP).replace(tzinfo=UTC)
