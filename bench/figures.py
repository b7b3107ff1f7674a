"""What the API's own ledger says of a run: pure arithmetic over its entries. Times are Unix seconds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

Entry = Mapping[str, Any]


class Step(NamedTuple):
    """From `at` on, `busy` tasks are in flight."""

    at: float
    busy: int


class Spread(NamedTuple):
    """What several runs said of one thing."""

    median: float
    least: float
    most: float
    n: int


def occupancy(entries: Iterable[Entry]) -> list[Step]:
    """Return how many tasks were in flight, as steps. A place that is freed and taken in one moment is no gap."""
    moves: dict[float, int] = {}
    for entry in entries:
        moves[entry["accepted_at"]] = moves.get(entry["accepted_at"], 0) + 1
        if entry["ended_at"] is not None:
            moves[entry["ended_at"]] = moves.get(entry["ended_at"], 0) - 1
    steps, busy = [], 0
    for at in sorted(moves):
        busy += moves[at]
        steps.append(Step(at, busy))
    return steps


def mean_busy(steps: Sequence[Step], since: float, until: float) -> float:
    """Return how many tasks were in flight on average between two moments.

    Raises:
        ValueError: there is no time between them.
    """
    if until <= since:
        raise ValueError("there is no time between the two moments")
    held, busy, at = 0.0, 0, since
    for step in steps:
        if step.at >= until:
            break
        if step.at > since:
            held += busy * (step.at - at)
            at = step.at
        busy = step.busy
    return (held + busy * (until - at)) / (until - since)


def slot_use(entries: Sequence[Entry], slots: int) -> float | None:
    """Return the share of the slots that was busy from the first time all were to the last submission.

    None where they were never all busy, or where nothing was submitted after that.
    """
    steps = occupancy(entries)
    full = next((step.at for step in steps if step.busy >= slots), None)
    last = max((entry["accepted_at"] for entry in entries), default=None)
    if full is None or last is None or last <= full:
        return None
    return mean_busy(steps, full, last) / slots


def curve(entries: Sequence[Entry], points: int) -> list[tuple[float, float]]:
    """Return the mean number of tasks in flight in `points` equal spans, each with its middle in seconds from the first
    submission."""
    steps = occupancy(entries)
    if not steps:
        return []
    start, width = steps[0].at, (steps[-1].at - steps[0].at) / points
    if not width:
        return []
    spans = [(start + n * width, start + (n + 1) * width) for n in range(points)]
    return [(round((a + b) / 2 - start, 2), round(mean_busy(steps, a, b), 2)) for a, b in spans]


def percentile(values: Iterable[float], share: float) -> float | None:
    """Return the smallest value that at least `share` (0 to 1) of the values do not exceed; None without any."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def delays(entries: Iterable[Entry], to: str) -> list[float]:
    """Return the seconds from a task's end to the time in its field `to`, of every task that has both."""
    return [entry[to] - entry["ended_at"] for entry in entries if entry["ended_at"] is not None and entry.get(to)]


def rate(entries: Sequence[Entry]) -> float | None:
    """Return the edits a second that ended in the middle four fifths of a run; its start and its end do not count."""
    ends: list[float] = sorted(entry["ended_at"] for entry in entries if entry["ended_at"] is not None)
    tenth = len(ends) // 10
    middle = ends[tenth : len(ends) - tenth]
    if len(middle) < 2 or middle[-1] <= middle[0]:
        return None
    return (len(middle) - 1) / (middle[-1] - middle[0])


def spread(values: Sequence[float]) -> Spread:
    """Return the median of `values`, with the least and the most of them.

    Raises:
        statistics.StatisticsError: there is none.
    """
    return Spread(median(values), min(values), max(values), len(values))
