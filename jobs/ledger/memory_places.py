"""The API's places in memory: the twin of `jobs.ledger.places`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from jobs.accounts import MAIN
from jobs.batch import BatchState
from jobs.ledger.books import Books, Expiring, Slots
from jobs.ledger.change import COMES_S, FRONT_S
from jobs.ledger.memory_leases import MemoryLeases
from jobs.ledger.news import Freed
from jobs.ledger.port import Law, Places
from jobs.limit import FORGOTTEN_S, Limit
from jobs.models import Catalogue, LimitGroup
from jobs.shares import Priority, low_water


def pool(account: str, group: str) -> str:
    """Return the name of an account's places of a limit group."""
    return f"{account}:{group}"


class MemoryPlaces(MemoryLeases):
    """What the ledger knows of places beside the jobs that hold them."""

    def __init__(self, catalogue: Catalogue, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self._catalogue = catalogue
        self._slots = Slots()
        self._throttle: Expiring[bool] = Expiring(clock)
        self._limits: Expiring[Limit] = Expiring(clock)
        self._books: dict[str, Books] = {}
        self._fronts: Expiring[tuple[int, str]] = Expiring(clock)

    def _size(self, account: str, group: LimitGroup) -> int:
        limit = self._limits.get(pool(account, group.name))
        return min(limit.size, group.size) if limit else group.size

    def _is_full(self, account: str, group: str, *, lowered: bool = False) -> bool:
        """Whether no place of a limit group is free, whoever waits for one.

        Places are counted as in the catalogue or, with `lowered`, as 429s have left them.
        """
        lineage = self._catalogue.lineage(group)
        sizes = {each.name: self._size(account, each) if lowered else each.size for each in lineage}
        return any(self._slots.used(pool(account, name)) >= size for name, size in sizes.items())

    def _lets_in(self, account: str, group: str, books: Books) -> bool:
        """Whether there is a slot, and nobody waits for it whose turn it is."""
        place, batch = books.place_in_line, books.batch.id
        lineage = self._catalogue.lineage(group)
        for each in lineage:
            here = pool(account, each.name)
            full = self._slots.used(here) >= self._size(account, each)
            first = self._first(here, place, batch) if place is not None else None
            if place is not None and first is None and full:
                self._fronts.put(here, (place, batch), FRONT_S)
            elif first is not None and not full:
                self._fronts.put(here, first, min(self._fronts.left(here), COMES_S))
            if full or first is not None:
                return False
        for each in lineage if place is not None else ():
            self._fronts.drop(pool(account, each.name))
        return True

    def _first(self, here: str, place: int, batch: str) -> tuple[int, str] | None:
        """Return who comes before a batch at this place in line; none who was paused, cancelled or forgotten since."""
        front = self._fronts.get(here)
        if front is None or front[1] == batch or front[0] >= place:
            return None
        other = self._books.get(front[1])
        return front if other is not None and other.state is BatchState.OPEN else None

    def set_priority(self, batch: str, priority: Priority, by: float) -> None:
        with self._lock:
            if batch in self._books:
                self._books[batch].urgency = (priority, by)

    def share(self, batch: str, weight: float, places: Mapping[str, int]) -> None:
        with self._lock:
            books = self._books.get(batch)
            if books is not None:
                books.weight, books.shares = weight, {**books.shares, **places}
                books.low.update({group: low_water(size) for group, size in places.items() if size})

    def throttle(self, seconds: float, *, account: str = MAIN) -> None:
        with self._lock:
            self._throttle.put(account, True, max(seconds, self._throttle.left(account)))

    def slots_used(self, account: str = "") -> Mapping[str, int]:
        names = [account] if account else self._catalogue.holders
        with self._lock:
            return {
                group: sum(self._slots.used(pool(name, group)) for name in names) for group in self._catalogue.groups
            }

    def limits(self, account: str = MAIN) -> Mapping[str, Limit]:
        with self._lock:
            found = {group: self._limits.get(pool(account, group)) for group in self._catalogue.groups}
            return {group: limit for group, limit in found.items() if limit}

    def adjust(self, group: str, law: Law, *, account: str = MAIN) -> Limit:
        here = pool(account, group)
        with self._lock:
            whole = Limit.whole(self._catalogue.groups[group].size)
            was = self._limits.get(here) or whole
            now = law(was, Places(used=self._slots.used(here), latest=self._epoch.intents))
            if now == whole:
                self._limits.drop(here)
            elif now != was:
                self._limits.put(here, now, FORGOTTEN_S)
            if now.size > was.size:
                self._tell_freed(Freed(group="limit"))
            return now
