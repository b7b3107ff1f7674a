"""Keys, their credits, and their places in flight.

A place is taken when a POST's body has arrived and is given back by time, at the end of the task, whether or
not anybody polled. A task of an inner group takes a place in every group around it too.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from hashlib import sha256

from jobs.models import LimitGroup


class KeyRefused(Exception):
    """A key that may not do this, with the HTTP status and the detail to answer."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(slots=True, kw_only=True)
class Account:
    """What belongs to one account. `id` stands for its key, or the first of its keys, wherever it is shown."""

    id: str
    credits: float
    charged: float = 0.0
    in_flight: Counter[str] = field(default_factory=Counter)
    peaks: dict[str, int] = field(default_factory=dict)
    over_limit: int = 0
    crowded_out: int = 0
    """Tries that would have had a place but for those that another program holds."""
    ends: list[tuple[float, int, tuple[str, ...]]] = field(default_factory=list)
    places: int = 0

    def take(self, lineage: tuple[LimitGroup, ...], now: float, *, elsewhere: int = 0) -> bool:
        """Take a place in every group of `lineage`; False, and counted, where one of them is full.

        `elsewhere` places of the outermost group are held by another program.
        """
        self.free(now)
        if any(self.in_flight[group.name] >= group.size for group in lineage):
            self.over_limit += 1
            return False
        if self.in_flight[lineage[-1].name] + elsewhere >= lineage[-1].size:
            self.crowded_out += 1
            return False
        for group in lineage:
            self.in_flight[group.name] += 1
            self.peaks[group.name] = max(self.peaks.get(group.name, 0), self.in_flight[group.name])
        return True

    def hold_until(self, lineage: tuple[LimitGroup, ...], ends_at: float) -> None:
        """Let a taken place go at `ends_at` (Unix seconds)."""
        self.places += 1
        heapq.heappush(self.ends, (ends_at, self.places, tuple(group.name for group in lineage)))

    def give_back(self, lineage: tuple[LimitGroup, ...]) -> None:
        """Let a taken place go now: the POST came to nothing."""
        self.in_flight.subtract(group.name for group in lineage)

    def free(self, now: float) -> None:
        """Let every place go whose task has ended."""
        while self.ends and self.ends[0][0] <= now:
            self.in_flight.subtract(heapq.heappop(self.ends)[2])

    def charge(self, amount: float) -> None:
        """Take `amount` credits; a negative one gives them back."""
        self.credits -= amount
        self.charged += amount


class Accounts:
    """Every key that has been seen. Each has an account of its own, unless it is one of several that are `shared`."""

    def __init__(
        self, *, credits_: float, keys: tuple[str, ...] = (), shared: Collection[tuple[str, ...]] = ()
    ) -> None:
        self._credits = credits_
        self._known = frozenset(keys)
        self._first = {key: together[0] for together in shared for key in together}
        self.by_key: dict[str, Account] = {}

    def of(self, key: str | None) -> Account:
        """Return the account of `key`.

        Raises:
            KeyRefused: 403 for none or an unknown one, 422 for a malformed one. The form is looked at first,
                as the API does.
        """
        if not key:
            raise KeyRefused(403, "Not authenticated")
        if len(key) < 8 or not key.isascii() or not key.isprintable():
            raise KeyRefused(422, "Invalid API key format")
        if self._known and key not in self._known:
            raise KeyRefused(403, "Not authenticated")
        key = self._first.get(key, key)
        account = self.by_key.get(key)
        if account is not None:
            return account
        account = Account(id=sha256(key.encode()).hexdigest()[:8], credits=self._credits)
        self.by_key[key] = account
        return account

    def know(self, keys: Collection[str]) -> None:
        """Take these keys from now on and no others; with none, any."""
        self._known = frozenset(keys)

    def top_up(self, credits_: float) -> None:
        """Set what every key has, and what every new key starts with."""
        self._credits = credits_
        for account in self.by_key.values():
            account.credits = credits_
