"""When to look at a task: late enough to find it finished, soon enough not to keep its slot idle.

Each process learns how long a model's tasks take from those that it saw finish.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Mapping

SHORTEST_S = 0.25
LONGEST_S = 2.0
LONGEST_FIRST_S = 30.0
"""No first look is later than this: a result's URL lives for 10 minutes, and what was learnt may be wrong."""


class Pace:
    """Learns from tasks that finished, and says how long to wait before the next look."""

    def __init__(self) -> None:
        self._typical: dict[str, float] = {}
        self._lock = threading.Lock()

    def saw(self, model: str, seconds: float) -> None:
        """Note that a task of `model` was found finished `seconds` after its submission."""
        with self._lock:
            known = self._typical.get(model)
            self._typical[model] = seconds if known is None else known + 0.2 * (seconds - known)

    def typical(self) -> Mapping[str, float]:
        """Return what was learnt: seconds from submission to finish, by model."""
        with self._lock:
            return dict(self._typical)

    def wait(self, model: str, age: float) -> float:
        """Return how many seconds to wait before looking at a task of `model` that is `age` seconds old."""
        with self._lock:
            typical = self._typical.get(model)
        if typical is None:
            gap = 0.5 + age / 10
        elif age < 0.8 * typical:
            gap = 0.85 * typical - age
        else:
            gap = typical / 12
        gap = max(gap, SHORTEST_S)
        learnt = typical is not None and age < 0.8 * typical
        gap = min(gap, LONGEST_FIRST_S if learnt else LONGEST_S)
        return gap * random.uniform(0.9, 1.1)
