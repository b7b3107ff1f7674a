"""Where failures are no longer those of single rows: what stops a group of the manifest, a batch, and trying again.

Definite failures are counted over the last ends of each group and of the batch; moderated rows apart, by share and by
what they cost. Both ledgers count by these rules; `jobs/ledger/lua/bounds.lua` is the same in Redis.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

GROUP_ENDS = 30
"""So many of a group's last ends are looked at,"""
BATCH_ENDS = 100
"""and so many of a batch's."""

GROUPS_STOPPED = 16
"""So many stopped groups stop their batch: they are not the groups' own trouble any more."""

GROUPS_KNOWN = 1_000
"""Of so many groups the last ends are remembered; then those are forgotten of which nothing ended for longest."""

RETRY_PERCENT = 20
"""New tries may be so much of the calls that were made,"""
RETRY_FLOOR = 20
"""and so many in any batch."""

DEFAULT_SHARE = 0.5
MODERATED_PERCENT, MODERATED_FLOOR = 10, 5_000_000
"""What moderated rows may cost unless somebody says otherwise: of the estimate, and at the least (micro-dollars)."""

LONGEST_NAME = 80


class End(StrEnum):
    """How an edit ended, as far as these bounds look at it; a letter of a window."""

    NONE = ""
    STORED = "s"
    FAILED = "f"
    MODERATED = "m"


class Why(StrEnum):
    """What a group, or a batch, was stopped for."""

    FAILED = "failed"
    MODERATED = "moderated"
    MODERATED_COST = "moderated_cost"
    GROUPS = "groups"
    """GROUPS_STOPPED groups are stopped."""
    LEFT = "left"
    """All that is left belongs to stopped groups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a batch bears, as it was agreed. More than these among the last ends stop a group, or the batch."""

    failed: int = int(DEFAULT_SHARE * GROUP_ENDS)
    failed_batch: int = int(DEFAULT_SHARE * BATCH_ENDS)
    moderated: int = int(DEFAULT_SHARE * GROUP_ENDS)
    moderated_cost: int = -1
    """What moderated rows may cost before the batch stops (micro-dollars); -1: nothing stops it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """What the settings say: shares from 0 to 1 (1: never stops), and dollars as micro-dollars (None: by estimate)."""

    failed: float = DEFAULT_SHARE
    moderated: float = DEFAULT_SHARE
    moderated_cost: int | None = None

    def of(self, expected: int) -> Bounds:
        """Return the bounds of a batch that is expected to cost so many micro-dollars."""
        most = max(expected * MODERATED_PERCENT // 100, MODERATED_FLOOR)
        return Bounds(
            failed=int(self.failed * GROUP_ENDS),
            failed_batch=int(self.failed * BATCH_ENDS),
            moderated=int(self.moderated * GROUP_ENDS),
            moderated_cost=most if self.moderated_cost is None else self.moderated_cost,
        )


DEFAULT_SHARES = Shares()


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Why a group waits: `count` of its last `of` ends were of this kind. `at` is in epoch seconds."""

    why: str
    count: int
    of: int
    at: float

    def as_text(self) -> str:
        """Return the form in which Redis has it; `from_text` reads it back."""
        return f"{self.why} {self.count} {self.of} {round(self.at * 1000)}"

    @classmethod
    def from_text(cls, text: str) -> Stop:
        """Return the stop that `as_text`, or the script, wrote."""
        why, count, of, at = text.split(" ")
        return cls(why=why, count=int(count), of=int(of), at=int(at) / 1000)


def slid(window: str, end: End, size: int) -> str:
    """Return a window of the last ends after one more."""
    return (window + end)[-size:]


def may_try_again(calls: int, retried: int) -> bool:
    """Whether one more new try is within what a batch may ask for beyond its first calls."""
    return retried < max(RETRY_FLOOR, calls * RETRY_PERCENT // 100)


def name_of(group: str, model: str, template: str) -> str:
    """Return the group under which a row's end counts: the manifest's own, else model and template."""
    name = group or (f"{model}/{template}" if template else model)
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[:LONGEST_NAME]}~{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def failures_sentence(about: Mapping[str, Any]) -> str:
    """Return why a whole batch was stopped, with the arithmetic; empty where nothing is known."""
    count, of = about.get("count", 0), about.get("of", 0)
    match about.get("why"):
        case Why.FAILED:
            return f"{count} of the batch's last {of} edits failed."
        case Why.MODERATED:
            return f"{count} of the batch's last {of} edits were moderated."
        case Why.MODERATED_COST:
            return f"Moderated rows have cost ${about['cost'] / 1e6:,.2f}, more than ${about['limit'] / 1e6:,.2f}."
        case Why.GROUPS:
            return f"{count} groups are stopped."
        case Why.LEFT:
            return "All rows that are left belong to groups that are stopped."
        case _:
            return ""
