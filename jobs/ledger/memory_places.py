"""The API's places in memory: the twin of `jobs.ledger.places`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from jobs.ledger.books import Expiring, Slots
from jobs.ledger.memory_presence import MemoryPresence
from jobs.ledger.port import Epoch, Law, Places
from jobs.limit import FORGOTTEN_S, Limit
from jobs.models import Catalogue, LimitGroup


class MemoryPlaces(MemoryPresence):
    """What the ledger knows of places beside the jobs that hold them."""

    def __init__(self, catalogue: Catalogue, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self._catalogue = catalogue
        self._slots = Slots()
        self._throttle: Expiring[bool] = Expiring(clock)
        self._limits: Expiring[Limit] = Expiring(clock)
        self._epoch = Epoch()

    def _size(self, group: LimitGroup) -> int:
        limit = self._limits.get(group.name)
        return min(limit.size, group.size) if limit else group.size

    def throttle(self, seconds: float) -> None:
        with self._lock:
            self._throttle.put("main", True, max(seconds, self._throttle.left("main")))

    def slots_used(self) -> Mapping[str, int]:
        with self._lock:
            return {group: self._slots.used(group) for group in self._catalogue.groups}

    def limits(self) -> Mapping[str, Limit]:
        with self._lock:
            found = {group: self._limits.get(group) for group in self._catalogue.groups}
            return {group: limit for group, limit in found.items() if limit}

    def adjust(self, group: str, law: Law) -> Limit:
        with self._lock:
            whole = Limit.whole(self._catalogue.groups[group].size)
            was = self._limits.get(group) or whole
            now = law(was, Places(used=self._slots.used(group), latest=self._epoch.intents))
            if now == whole:
                self._limits.drop(group)
            elif now != was:
                self._limits.put(group, now, FORGOTTEN_S)
            if now.size > was.size:
                self._tell_freed()
            return now
