"""Whether a scheduled run is held for a person: its source looks broken, or it would buy far more than usual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

USUAL_TIMES = 10
RUNS_KNOWN = 3
"""Runs after the first one that are needed before anything is usual: the first run buys everything."""
SMALL = 50
"""A delta up to this is never too large: ten times hardly anything is still little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """What a run found: all rows of its source, the invalid ones, and those that are new or changed."""

    rows: int
    invalid: int
    delta: int


def why_held(found: Night, earlier: Sequence[Night], tolerance: float = 0.2) -> str:
    """Return why a run is held, as one sentence, or an empty text.

    Args:
        found: what this run has before it.
        earlier: the runs that were opened, oldest first.
        tolerance: the part of the rows that may vanish or be invalid.
    """
    if not found.rows:
        return "The source is empty."
    if found.invalid > tolerance * found.rows:
        return f"{found.invalid:,} of {found.rows:,} rows are invalid, over {tolerance:.0%}."
    if earlier:
        before = earlier[-1].rows
        if found.rows <= (1 - tolerance) * before:
            return f"The source has shrunk from {before:,} rows to {found.rows:,}, by {tolerance:.0%} or more."
    usual = median(night.delta for night in earlier[1:]) if len(earlier) > RUNS_KNOWN else None
    if usual is not None and found.delta > max(USUAL_TIMES * usual, SMALL):
        return f"{found.delta:,} rows are new or changed, over {USUAL_TIMES} times the usual {usual:,.0f}."
    return ""
