"""Ceilings: what is open and what is spent of a batch and of a day, and whether one more edit still fits.

All sums are whole micro-dollars. What is decided here the ledger's script repeats step by step (`begin.lua`), because
slot and money are taken in one; the contract tests hold the two together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, Self

UNPROVED = 10
"""While no cost of a model is known in a batch, its edits may cost so many times their reserve: only as many begin at
once as the ceiling carries then."""

NO_CEILING = 10**18
"""More than any sum."""

PROOF_EDITS = 20
"""So many settled edits are compared with what they were expected to cost."""

PROOF_PERCENT = 120
"""A batch whose first edits cost more than this of what was expected pauses."""

DAYS_KEPT = 8
"""So many days after its last change the ledger forgets a day's sums."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What a batch, a day, or a key on a day has spent and may still have to pay.

    `reserved` is open; `withheld` is the part of it that belongs to doubts held for a person, which nothing settles by
    itself. `doubt_used` may have been paid for doubts that were asked again. `unproved` is what open edits may cost
    beyond their reserves while nobody knows what their model costs. `unsure` counts costs that need not be what the API
    charged (`jobs.ledger.change`).
    """

    settled: int = 0
    reserved: int = 0
    withheld: int = 0
    doubt_used: int = 0
    unproved: int = 0
    unsure: int = 0

    @property
    def gone(self) -> int:
        """What no settlement brings back."""
        return self.settled + self.doubt_used + self.withheld

    @property
    def open(self) -> int:
        """What settles by itself, at the most."""
        return self.reserved - self.withheld + self.unproved


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What all edits of a day may cost, and those of one key; None is no cap."""

    day: int | None = None
    key_day: int | None = None


NO_CAPS = Caps()


SIMULATED_DAY = "-simulated"
"""Ends the name of a simulated batch's day: what is not bought does not count against what is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """Which day a moment belongs to, and what a day may cost."""

    zone: tzinfo = UTC
    caps: Caps = NO_CAPS

    def book(self, at: float, *, simulated: bool) -> str:
        """Return the name of the day of `at` (epoch seconds) in the ledger: `2026-11-22`, `2026-11-22-simulated`."""
        day = datetime.fromtimestamp(at, self.zone).date().isoformat()
        return day + SIMULATED_DAY if simulated else day


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """A ceiling that the next edit, which needs `needed`, does not fit under: `ceiling`, `day_cap` or `key_cap`.

    Of the batch's own ceiling there is no `limit` here: it can be raised, and the batch says how high it is.
    """

    which: str
    needed: int
    limit: int = 0
    day: str = ""
    zone: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the JSON form; `from_json` reads it back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return what `as_json` made."""
        return cls(**data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """The edit fits: what is reserved for it, and what it may cost beyond that."""

    reserve: int
    unproved: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TooDear:
    """The edit does not fit under the ceiling at `place`; `waits` where only open reserves stand in the way."""

    place: int
    waits: bool
    needed: int


def admit(reserve: int, *, paid: int, due: int, ceilings: Sequence[tuple[int, Sums]]) -> Admitted | TooDear:
    """Return whether one more edit fits under every ceiling.

    Args:
        reserve: the most that it costs by the catalogue.
        paid: what this batch's edits of the same model have cost so far.
        due: the most that they should have cost; where they cost more, the reserve rises with them.
        ceilings: each ceiling with the sums under it.
    """
    if due > 0 and paid > due:
        reserve = math.ceil(reserve * paid / due)
    wished = reserve if due > 0 else reserve * UNPROVED
    waits_at = None
    for place, (ceiling, sums) in enumerate(ceilings):
        room = ceiling - sums.gone
        if reserve > room:
            return TooDear(place=place, waits=False, needed=reserve)
        if wished > room - sums.open:
            if sums.open > 0:
                waits_at = place if waits_at is None else waits_at
            else:
                wished = room  # nothing else is open here: it may go alone
    if waits_at is not None:
        return TooDear(place=waits_at, waits=True, needed=reserve)
    return Admitted(reserve=reserve, unproved=wished - reserve)


def over_estimate(edits: int, cost: int, expected: int) -> bool:
    """Whether the first edits of a batch cost so much more than expected that it pauses: exactly when the last of
    them settles."""
    return edits == PROOF_EDITS and cost * 100 > expected * PROOF_PERCENT
