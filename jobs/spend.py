"""Adds up what was spent, from outcome lines, by one thing. Its size is that of its answer, not of what was run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from jobs.job import DOUBT, State
from jobs.models import MICROS_PER_USD
from jobs.outcome import usd

By = Literal["day", "preset", "model", "key", "cause"]

Cause = Literal["stored", "new_attempts", "moderation", "not_delivered", "duplicates", "doubts", "running"]
"""An edit that is stored; an attempt that was charged and followed by another; a moderated row; an edit that was paid
and brought nothing; a second charge of one edit; doubts asked again, given up or held, which may have been charged;
what is at the API now."""

_ENDS: dict[str, Cause] = {
    State.STORED: "stored",
    State.UNCHANGED: "stored",
    State.MODERATED: "moderation",
    State.FAILED: "not_delivered",
}


@dataclass(slots=True)
class Entry:
    """One line of the answer: submissions charged, micro-dollars spent, and micro-dollars that may have been."""

    edits: int = 0
    micros: int = 0
    maybe: int = 0


@dataclass(slots=True)
class Spending:
    """Charges of the days from `since` on (`2026-11-22`; empty: all), added up by one thing."""

    by: By
    since: str = ""
    entries: dict[str, Entry] = field(default_factory=dict)

    def add(self, rounds: Sequence[Mapping[str, Any]], late: Sequence[Mapping[str, Any]]) -> None:
        """Add what is known of one row: the outcome that counts of each of its rounds, and charges that came late."""
        known = {outcome["task_id"] for outcome in rounds}
        for outcome in rounds:
            for charge in charges_of(outcome):
                self._count(outcome, charge, _cause(outcome, charge))
        for line in late:
            if line["task_id"] not in known:
                charge = {"day": "", "key": "", "maybe_usd": 0.0, **line}
                self._count({"model": "", "group": "", **(rounds[-1] if rounds else {}), **line}, charge, "duplicates")

    def _count(self, outcome: Mapping[str, Any], charge: Mapping[str, Any], cause: Cause) -> None:
        day = charge["day"][:10]
        if day < self.since:
            return
        names = {
            "day": day,
            "model": outcome["model"],
            "key": charge["key"],
            "cause": cause,
            "preset": " / ".join(part for part in (outcome["model"], outcome["group"]) if part),
        }
        entry = self.entries.setdefault(names[self.by] or "unknown", Entry())
        entry.edits += charge["cost_usd"] > 0
        entry.micros += round(charge["cost_usd"] * MICROS_PER_USD)
        entry.maybe += round(charge["maybe_usd"] * MICROS_PER_USD)

    def rows(self) -> list[dict[str, Any]]:
        """Return the answer: days in order, everything else the dearest first."""
        found = sorted(self.entries.items())
        if self.by != "day":
            found.sort(key=lambda item: -item[1].micros)
        return [
            {self.by: name, "edits": e.edits, "cost_usd": usd(e.micros), "maybe_usd": usd(e.maybe)} for name, e in found
        ]

    @property
    def total(self) -> Entry:
        """Everything together."""
        every = self.entries.values()
        return Entry(sum(e.edits for e in every), sum(e.micros for e in every), sum(e.maybe for e in every))


def charges_of(outcome: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the charges of an outcome; one that was written before charges were has its cost alone."""
    if "charges" in outcome:
        yield from outcome["charges"]
    elif outcome["cost_usd"]:
        known = {"attempt": outcome["attempt"], "day": "", "key": "", "source": outcome["cost_source"]}
        yield {**known, "cost_usd": outcome["cost_usd"], "maybe_usd": 0.0}


def _cause(outcome: Mapping[str, Any], charge: Mapping[str, Any]) -> Cause:
    if charge["source"] == DOUBT:
        return "doubts"
    if charge["attempt"] < outcome["attempt"]:
        return "new_attempts"
    return _ENDS.get(outcome["state"], "running")
