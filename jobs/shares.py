"""How open batches share the API's places: by what they weigh, and none without a place.

A batch's priority is its weight. A deadline raises it as it comes near: a batch that needs the part p of all places to
be in time, and weighs w, weighs w / (1 - p). Beside one other of its priority that is enough for the part p, and what
is not enough raises p, and so the weight, by itself.

Two things are shared. A *window* is dealt out in whole places (D'Hondt's method, since who weighs more never has less
by it), after one for each batch; who can use fewer leaves the rest to others. And where batches meet at one free slot,
or thread, the same law says whose it is: who has none comes first, and then who has least for its weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from heapq import heapify, heappop, heappush


class Priority(StrEnum):
    """How much a batch matters beside others."""

    URGENT = "urgent"
    NORMAL = "normal"
    LOW = "low"


WEIGHTS: Mapping[Priority, float] = {Priority.URGENT: 8.0, Priority.NORMAL: 1.0, Priority.LOW: 0.25}

MOST_WEIGHT = 32.0
"""What a batch weighs whose deadline cannot be kept any more, or has passed: more than an urgent one, but not all."""

STEPS = 4
"""A raised weight is one of so many for each doubling, so that it is seldom another one."""

_FINE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a batch with work weighs, and how many places of a window it can use now."""

    weight: float
    jobs: int


def weight(priority: Priority, *, left_s: float = math.inf, needed_s: float = 0.0) -> float:
    """Return what a batch weighs.

    Args:
        priority: as it was given.
        left_s: seconds until its deadline; negative once that has passed.
        needed_s: seconds that the rest of it takes with every place of the API.
    """
    own = WEIGHTS[priority]
    if needed_s <= 0 or left_s == math.inf:
        return own
    if left_s <= needed_s:
        return MOST_WEIGHT
    raised = math.log2(own / (1 - needed_s / left_s))
    return min(max(2 ** (math.floor(raised * STEPS) / STEPS), own), MOST_WEIGHT)


def shares(window: int, wishes: Mapping[str, Wish]) -> dict[str, int]:
    """Return how many places of a window each batch may have. They add up to the window, or to one for each batch."""
    found = dict.fromkeys(wishes, 1)
    left = window - len(wishes)
    for sated in (False, True):  # what nobody can use belongs to somebody all the same: it may come to use it
        some = [(n, batch) for n, batch in enumerate(wishes) if sated or wishes[batch].jobs > 1]
        line = [_next(n, batch, wishes[batch], found[batch]) for n, batch in some]
        heapify(line)
        while left > 0 and line:
            _, n, batch = heappop(line)
            found[batch] += 1
            left -= 1
            if sated or found[batch] < wishes[batch].jobs:
                heappush(line, _next(n, batch, wishes[batch], found[batch]))
    return found


def _next(n: int, batch: str, wish: Wish, has: int) -> tuple[float, int, str]:
    return -wish.weight / (has + 1), n, batch


def place_in_line(held: int, weight: float) -> int:
    """Return where a batch stands that holds so many places of what it wants one more of: the least goes first.

    Who has none goes before all others, or beside a heavy batch a light one would never have any. Of those who have
    none, none goes first: there may be fewer places than batches. It is a whole number, since Redis keeps it as text
    (`begin.lua`).
    """
    return int((held + 1) * _FINE / weight) if held > 0 else 0


def low_water(size: int) -> int:
    """Return the number of hot jobs under which a window of this size is filled up again."""
    return max(size - max(size // 10, 1), 1)
