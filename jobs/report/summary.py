"""Adds a batch up: the dict that becomes `summary.json`, and that the page and the closing text are made of.

It is the batch document with keys added. Counts, reasons and cost are those of the outcomes, not the ledger's:
the outcomes are what the bucket keeps. Money is added in whole micro-dollars.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs.batch import reason_rows
from jobs.job import MADE_IT, State
from jobs.models import MICROS_PER_USD
from jobs.outcome import usd
from jobs.reasons import FLAGS, REASONS

EXAMPLES = 20
"""How many ids a reason, and tasks a list of duplicates, are illustrated with."""


@dataclass(slots=True)
class _Group:
    """Rows that are added up together: those of one reason, or of one model."""

    states: Counter[str] = field(default_factory=Counter)
    micros: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, outcome: Mapping[str, Any], micros: int) -> None:
        self.states[outcome["state"]] += 1
        self.micros += micros
        if len(self.examples) < EXAMPLES:
            self.examples.append(outcome["id"])

    @property
    def rows(self) -> int:
        return self.states.total()


@dataclass(slots=True)
class Summary:
    """Outcomes added up one by one; `summary` makes the dict of them. Its size does not depend on the batch's."""

    rows: int = 0
    states: Counter[str] = field(default_factory=Counter)
    micros: int = 0
    bytes: int = 0
    how: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, _Group] = field(default_factory=dict)
    models: dict[str, _Group] = field(default_factory=dict)
    doubted_rows: int = 0
    doubts: int = 0
    resubmitted: int = 0
    found: int = 0
    duplicate_rows: int = 0
    duplicate_micros: int = 0
    duplicates: int = 0
    duplicate_examples: list[dict[str, Any]] = field(default_factory=list)
    first: float | None = None
    last: float | None = None

    def add(self, outcome: Mapping[str, Any], *, earlier_usd: float = 0.0) -> None:
        """Add the outcome of one more row; `earlier_usd` is what its earlier rounds have cost."""
        micros = _micros(outcome["cost_usd"] + earlier_usd)
        state = outcome["state"]
        self.rows += 1
        self.states[state] += 1
        self.micros += micros
        self.bytes += outcome["bytes"]
        self.how[outcome["how"]] += 1
        self.flags.update(outcome["flags"])
        self.models.setdefault(outcome["model"], _Group()).add(outcome, micros)
        if outcome["cost_source"]:
            self.sources[outcome["cost_source"]] += micros
        if state not in MADE_IT:
            self.reasons.setdefault(outcome["reason"] or state, _Group()).add(outcome, micros)
        self.found += outcome["found"]
        self._add_doubts(outcome)
        settled_by_plan = state == State.UNCHANGED and outcome["at"]["queued"] == outcome["at"]["ended"]
        if state != State.CANCELLED and not settled_by_plan:
            self._add_times(outcome["at"])

    def _add_doubts(self, outcome: Mapping[str, Any]) -> None:
        doubts = outcome["doubts"]
        if doubts:
            self.doubted_rows += 1
            self.doubts += doubts
            self.resubmitted += min(doubts, outcome["attempt"] - 1)
        if outcome["duplicates"]:
            self.duplicate_rows += 1
        for second in outcome["duplicates"]:
            self.duplicates += 1
            self.duplicate_micros += _micros(second["cost_usd"])
            if len(self.duplicate_examples) < EXAMPLES:
                self.duplicate_examples.append({"id": outcome["id"], **second})

    def _add_times(self, at: Mapping[str, float | None]) -> None:
        begun = at["submitted"] or at["queued"]
        known = [time for time in at.values() if time]
        if begun:
            self.first = begun if self.first is None else min(self.first, begun)
        if known:
            self.last = max(known) if self.last is None else max(self.last, *known)


def summary(document: Mapping[str, Any], totals: Summary, *, files: Sequence[str] = ()) -> dict[str, Any]:
    """Return `summary.json`: the batch document (`jobs.batch.document`) with what `totals` knows.

    Costs are in dollars, times in epoch seconds, durations in seconds. `images_per_minute` is over the whole time
    from the first submission to the last end, pauses included, cancelled rows and those that the plan has settled left
    out; it is None where there is nothing to measure.
    `doubt.resubmitted_at_most` is a ceiling: an outcome counts its doubts, but not how each of them ended.
    """
    counts = {str(state): totals.states[state] for state in State}
    counts["queued"] += max(document["rows"] - totals.rows, 0)
    delivered = counts[State.STORED] + counts[State.UNCHANGED]
    seconds = totals.last - totals.first if totals.first is not None and totals.last is not None else 0.0
    return {
        **document,
        "counts": counts,
        "held": counts[State.IN_DOUBT],
        "reasons": _reasons(totals.reasons),
        "cost_usd": usd(totals.micros),
        "cost_sources": {source: usd(micros) for source, micros in sorted(totals.sources.items())},
        "models": _models(totals.models),
        "made_it": delivered,
        "did_not_make_it": totals.rows - delivered,
        "how": {how: totals.how[how] for how in ("bought", "kept", "copied")},
        "flags": {flag: totals.flags[flag] for flag in FLAGS},
        "bytes": totals.bytes,
        "doubt": {
            "rows": totals.doubted_rows,
            "times": totals.doubts,
            "held": counts[State.IN_DOUBT],
            "resubmitted_at_most": totals.resubmitted,
            "paid_twice_at_most_usd": document["doubt_exposure_usd"],
        },
        "duplicates": {
            "rows": totals.duplicate_rows,
            "tasks": totals.duplicates,
            "cost_usd": usd(totals.duplicate_micros),
            "examples": totals.duplicate_examples,
        },
        "found": totals.found,
        "first_at": totals.first,
        "last_at": totals.last,
        "duration_s": round(seconds, 3),
        "images_per_minute": round(counts[State.STORED] * 60 / seconds, 2) if seconds > 0 else None,
        "files": list(files),
    }


def _reasons(groups: Mapping[str, _Group]) -> list[dict[str, Any]]:
    found = reason_rows({code: (group.rows, group.micros) for code, group in groups.items()})
    found.sort(key=lambda reason: bool(reason["code"] == State.CANCELLED))  # chosen, so it is nobody's first task
    for reason in found:
        code = reason["code"]
        reason["charged"] = REASONS[code].charged if code in REASONS else "maybe"
        reason["examples"] = groups[code].examples
    return found


def _models(groups: Mapping[str, _Group]) -> list[dict[str, Any]]:
    """Return one entry for each model, the dearest first."""
    found = [
        {
            "model": model,
            "rows": group.rows,
            "stored": group.states[State.STORED],
            "unchanged": group.states[State.UNCHANGED],
            "did_not_make_it": group.rows - group.states[State.STORED] - group.states[State.UNCHANGED],
            "cost_usd": usd(group.micros),
        }
        for model, group in groups.items()
    ]
    return sorted(found, key=lambda entry: (-entry["cost_usd"], entry["model"]))


def _micros(amount: float) -> int:
    return round(amount * MICROS_PER_USD)
