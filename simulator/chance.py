"""Draws that depend on nothing but a seed and a place, so that a run replays.

There is no generator with a state here: the n-th POST draws the same number whatever was drawn before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from statistics import NormalDist
from typing import TypeVar

T = TypeVar("T")

_NORMAL = NormalDist()
_TAIL = 1e-6  # a latency further out than this would only make a test run flaky


def draw(seed: int, *place: str | int) -> float:
    """Return a number in [0, 1) that is fixed by `seed` and `place`."""
    text = "\x1f".join(str(part) for part in (seed, *place))
    return int.from_bytes(blake2b(text.encode(), digest_size=6).digest(), "big") / 2**48


def pick(choices: Sequence[T], seed: int, *place: str | int) -> T:
    """Return one of `choices`, each as likely as the next."""
    return choices[int(draw(seed, *place) * len(choices))]


def normal(seed: int, *place: str | int) -> float:
    """Return a draw from the standard normal distribution."""
    return _NORMAL.inv_cdf(min(max(draw(seed, *place), _TAIL), 1.0 - _TAIL))
