"""When to look at a task: late enough to find it finished, soon enough not to keep its slot idle.

All processes learn together how long a model's tasks take: each notes what it saw finish, and the tick adds it to
what the ledger holds for all.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping

from jobs.latency import LONGEST_S, WEIGHT, Histogram, Looks, added, bin_of, halved, quantile, seeded
from jobs.models import Model

NEW = 20
"""So many tasks of a model must have been seen finishing before what was learnt is all that counts."""

STEADY = 100
"""When so many were seen, the looks follow whenever news are shared, and not with every task."""

UNSEEN_S = 2 * LONGEST_S
"""Looks that were further apart than this were not made as they should have been."""

Learn = Callable[[str, Histogram], Histogram]
"""Adds what was seen of a model to what all processes saw, and returns that."""


class Pace:
    """Learns from tasks that finished, and says how long to wait before the next look. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, Histogram] = {}
        self._news: dict[str, Counter[int]] = {}
        self._looks: dict[str, Looks] = {}
        self._used: set[str] = set()

    def saw(self, model: Model, after: float, by: float) -> None:
        """Note a task of `model` that was not finished `after` seconds from its submission, and was `by` seconds.

        Where nobody looked for long in between (the process was asleep), it is not said how long the task took.
        """
        if by - after > UNSEEN_S:
            return
        seen = {bin_of((after + by) / 2): WEIGHT}
        with self._lock:
            self._news.setdefault(model.name, Counter()).update(seen)
            known = halved(added(self._seen.get(model.name, {}), seen))
            if sum(known.values()) < STEADY * WEIGHT or model.name not in self._looks:
                self._know(model, known)
            else:  # one more changes little; `share` comes in seconds
                self._seen[model.name] = known

    def share(self, models: Mapping[str, Model], learn: Learn) -> None:
        """Tell the others what was seen, and learn what they saw, of the models that are in use.

        Raises:
            LedgerError: nothing is lost, the next call tells it.
        """
        with self._lock:
            used, self._used = self._used, set()
        for name in used & models.keys():
            with self._lock:
                news = self._news.pop(name, Counter())
            try:
                known = learn(name, news)
            except BaseException:
                with self._lock:
                    self._news.setdefault(name, Counter()).update(news)
                    self._used.add(name)
                raise
            with self._lock:
                self._know(models[name], halved(added(known, self._news.get(name, {}))))

    def wait(self, model: Model, age: float) -> float:
        """Return how many seconds to wait before looking at a task of `model` that is `age` seconds old."""
        with self._lock:
            self._used.add(model.name)
            if model.name not in self._looks:
                self._know(model, {})
            looks, seen = self._looks[model.name], sum(self._seen[model.name].values())
        gap = looks.gap(age, jitter=random.uniform(0.85, 1.15))
        # The catalogue may be wrong, and so may the first few: then also look now and then.
        return min(gap, (0.5 + age / 10) * random.uniform(0.9, 1.1)) if seen < NEW * WEIGHT else gap

    def longest(self, model: Model) -> float:
        """Return how many seconds a task of `model` may take: the 99.9th percentile, the catalogue's at least."""
        with self._lock:
            return max(quantile(self._seen.get(model.name, {}), 0.999), model.latency.p999_s)

    def typical(self, models: Collection[Model]) -> float:
        """Return how many seconds a task of these takes: the longest median of those that were seen, or of all."""
        with self._lock:
            seen = [model for model in models if sum(self._seen.get(model.name, {}).values()) >= NEW * WEIGHT]
            medians = [quantile(self._seen[model.name], 0.5) for model in seen]
        return max(medians or [model.latency.median_s for model in models], default=0.0)

    def _know(self, model: Model, seen: Histogram) -> None:
        self._seen[model.name] = seen
        known = seen
        if sum(seen.values()) < NEW * WEIGHT:
            known = added(seen, seeded(model.latency.median_s, model.latency.p999_s))
        self._looks[model.name] = Looks.of(known)
