"""How long a model's tasks take, as it was seen, and when it is worth to look at one.

Whoever inspects something that ends at an unknown time, at a fixed cost a look, wastes least with a density of looks
of sqrt(hazard / (2 x cost)) (Keller, "Optimum checking schedules for systems subject to random failure", 1974). The
hazard is the chance to end in the next moment, of what has not ended yet: it comes from a histogram of what was seen.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

FIRST_EDGE_S, RATIO = 0.05, 2 ** (1 / 16)
LAST_BIN = 256
"""Bins of 4.4 % each, from 0.05 s to about an hour."""

WEIGHT = 64
"""What one task seen counts, so that halving keeps what was rarely seen."""

MOST = 512 * WEIGHT
"""A histogram that holds more is halved: what is older than some hundreds of tasks hardly counts."""

SEED = 5 * WEIGHT
"""What the catalogue's word counts, beside what was seen."""

LOOK_COST = 1 / 500
"""A look is worth so much of a model's typical time in which its slot stands idle."""

TAIL = 0.001
"""The part of all tasks that is reckoned to take longer than any that was seen."""

TAIL_TIMES = 16
"""How much longer that may be; the hazard there is taken for that of ages that are even in their logarithm."""

SHORTEST_S = 0.1
SHORTEST_SHARE = 1 / 60
"""No gap is shorter than both of these: 0.1 s, and this part of the typical time."""

LONGEST_S = 30.0
"""No look is later than this: a result's URL lives for 10 minutes, and what was learnt may be wrong."""

Histogram = Mapping[int, int]
"""Weights by bin."""


def bin_of(seconds: float) -> int:
    """Return the bin of a duration."""
    if seconds <= FIRST_EDGE_S:
        return 0
    return min(int(math.log(seconds / FIRST_EDGE_S) / math.log(RATIO)), LAST_BIN)


def edge(number: int) -> float:
    """Return where a bin begins, in seconds."""
    return FIRST_EDGE_S * RATIO**number


@cache
def seeded(median_s: float, p999_s: float) -> Histogram:
    """Return the histogram of a lognormal with this median and 99.9th percentile: what the catalogue knows."""
    spread = max(math.log(p999_s / median_s) / 3.09, 0.02)

    def below(seconds: float) -> float:
        return 0.5 * math.erfc(-math.log(seconds / median_s) / spread / math.sqrt(2))

    shares = {n: below(edge(n + 1)) - below(edge(n)) for n in range(LAST_BIN)}
    return {n: weight for n, share in shares.items() if (weight := round(SEED * share))}


def added(one: Histogram, other: Histogram) -> dict[int, int]:
    """Return the sum of two histograms."""
    return {n: one.get(n, 0) + other.get(n, 0) for n in one.keys() | other.keys()}


def halved(seen: Histogram) -> dict[int, int]:
    """Return a histogram that has forgotten half, if it holds more than `MOST`."""
    return (
        dict(seen) if sum(seen.values()) <= MOST else {n: half for n, weight in seen.items() if (half := weight // 2)}
    )


def quantile(seen: Histogram, share: float) -> float:
    """Return the duration in seconds that `share` of the tasks do not exceed; 0 where none was seen."""
    wanted, found = share * sum(seen.values()), 0
    for number in sorted(seen):
        found += seen[number]
        if found >= wanted:
            return edge(number + 1)
    return 0.0


@dataclass(frozen=True, slots=True)
class Looks:
    """When to look at tasks of one model. `ages` and `looks` belong together: how many looks are due up to an age."""

    typical: float
    ages: list[float]
    looks: list[float]

    @classmethod
    def of(cls, seen: Histogram) -> Looks:
        """Return the schedule that suits a histogram, which must hold something."""
        weights = _smooth(seen)
        total = sum(weights.values())
        typical = quantile(seen, 0.5)
        cost = 2 * LOOK_COST * typical
        left, due = total * (1 + TAIL), 0.0
        ages, looks = [0.0], [0.0]
        for number in range(min(weights), max(weights) + 1):
            begin, end = edge(number), edge(number + 1)
            weight = weights.get(number, 0.0)
            hazard = weight / (left - weight / 2) / (end - begin)
            ages.append(begin)
            looks.append(due)
            left -= weight
            due += math.sqrt(hazard / cost) * (end - begin)
        last = first = edge(max(weights) + 1)
        while last < first * TAIL_TIMES:
            ages.append(last)
            looks.append(due)
            longer = last * RATIO**4
            due += math.sqrt(1 / (TAIL_TIMES / 5 * last) / cost) * (longer - last)
            last = longer
        return cls(typical, ages, looks)

    def gap(self, age: float, jitter: float = 1.0) -> float:
        """Return the seconds until the next look at a task of this age; `jitter` about 1 stretches it a little."""
        wanted = self._due(age) + jitter
        n = bisect_right(self.looks, wanted)
        if n >= len(self.looks):
            gap = age / 10
        else:
            part = (wanted - self.looks[n - 1]) / (self.looks[n] - self.looks[n - 1])
            gap = self.ages[n - 1] + part * (self.ages[n] - self.ages[n - 1]) - age
        return min(max(gap, SHORTEST_S, SHORTEST_SHARE * self.typical), LONGEST_S)

    def _due(self, age: float) -> float:
        n = bisect_right(self.ages, age)
        if n >= len(self.ages):
            return self.looks[-1]
        part = (age - self.ages[n - 1]) / (self.ages[n] - self.ages[n - 1])
        return self.looks[n - 1] + part * (self.looks[n] - self.looks[n - 1])


def _smooth(seen: Histogram) -> dict[int, float]:
    """Spread each bin a little over its neighbours: few tasks were seen, and each only between two looks."""
    spread: dict[int, float] = {}
    for number, weight in seen.items():
        for away, share in ((-1, 0.25), (0, 0.5), (1, 0.25)):
            spread[max(number + away, 0)] = spread.get(max(number + away, 0), 0.0) + weight * share
    return spread
