"""Which firings a beat still has to see to, after any time in which nobody looked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from producers.schedules.file import CatchUp

ON_TIME = timedelta(minutes=5)
"""A firing that is seen within this is on time; an older one was missed and is for the catch-up policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Firings to run, and firings that are let go; both oldest first."""

    run: tuple[datetime, ...] = ()
    missed: tuple[datetime, ...] = ()


def due(firings: Sequence[datetime], now: datetime, catch_up: CatchUp) -> Due:
    """Return what becomes of firings (ascending, none after `now`) that nobody has recorded yet.

    `all` runs each; `last` runs the newest; `none` runs only what is on time.
    """
    match catch_up:
        case "all":
            return Due(run=tuple(firings))
        case "last":
            return Due(run=tuple(firings[-1:]), missed=tuple(firings[:-1]))
        case "none":
            on_time = tuple(at for at in firings if now - at <= ON_TIME)
            return Due(run=on_time, missed=tuple(firings[: len(firings) - len(on_time)]))
