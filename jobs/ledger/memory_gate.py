"""What is closed to a job, in memory: the twin of what the scripts of Redis look at before they change anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from jobs.batch import BatchState
from jobs.bounds import may_try_again
from jobs.ledger.books import Books, DayBooks, Expiring, Hot
from jobs.ledger.change import CEILINGS, FILED_S, Change, Closed
from jobs.ledger.memory_places import MemoryPlaces
from jobs.ledger.port import Recorded
from jobs.models import Catalogue
from jobs.money import Caps, TooDear

Gate = Callable[[Change, Hot, Books], Recorded | Change]
"""Says what is closed, or which change is carried out."""


class MemoryGate(MemoryPlaces):
    """The gates of the ledger in memory. Each is asked under its lock, and changes nothing but who waits first."""

    def __init__(self, catalogue: Catalogue, clock: Callable[[], float]) -> None:
        super().__init__(catalogue, clock)
        self._bought: dict[str, str] = {}
        self._filed: Expiring[float] = Expiring(clock)
        self._days = DayBooks()

    def _asked(self, looked_at: float, caps: Caps, change: Change, hot: Hot, books: Books) -> Recorded | Change:
        said = self._stands(change, books) or self._fits(looked_at, caps, change, books)
        return said if isinstance(said, Recorded) and said.closed is not Closed.MONEY_OPEN else Recorded()

    def _gate(self, looked_at: float, caps: Caps, change: Change, hot: Hot, books: Books) -> Recorded | Change:
        stands = self._stands(change, books)
        if stands is None and books.place_in_line is None and self._is_full(change.account, change.group):
            return Recorded(closed=Closed.NO_SLOT)
        said = stands or self._fits(looked_at, caps, change, books)
        if isinstance(said, Change) and not self._lets_in(change.account, change.group, books):
            return Recorded(closed=Closed.NO_SLOT)
        return said

    def _stands(self, change: Change, books: Books) -> Recorded | None:
        """What a batch or a group that does not go on answers, whatever is free."""
        if books.state is not BatchState.OPEN:
            return Recorded(closed=Closed.CANCELLED if books.state is BatchState.CANCELLED else Closed.PAUSED)
        return Recorded(closed=Closed.GROUP_STOPPED) if change.bound in books.ends.stops else None

    def _fits(self, looked_at: float, caps: Caps, change: Change, books: Books) -> Recorded | Change:
        if self._epoch.guard:
            return Recorded(closed=Closed.GUARDED)
        seen = self._trusted
        if seen.id and (self._epoch.id != seen.id or self._epoch.intents < seen.intents):
            return Recorded(closed=Closed.WENT_BACK)
        if wait := self._throttle.left(change.account):
            return Recorded(closed=Closed.THROTTLED, wait_s=wait)
        filed_at = self._filed.get(change.fingerprint)
        if (filed_at is not None and filed_at >= looked_at) or 0.0 < looked_at < self.now() - FILED_S:
            return Recorded(closed=Closed.JUST_FILED)
        if self._bought_by(change.fingerprint) not in (None, change.job):
            return Recorded(closed=Closed.BEING_BOUGHT)
        fits = self._days.admit(change, books, caps)
        if isinstance(fits, TooDear):
            closed = Closed.MONEY_OPEN if fits.waits else CEILINGS[fits.place]
            return Recorded(closed=closed, needed=0 if fits.waits else fits.needed)
        return replace(change, reserve=fits.reserve, unproved=fits.unproved)

    def _bought_by(self, fingerprint: str) -> str | None:
        """Return the job that buys a fingerprint; none where that has left the ledger without an end."""
        buyer = self._bought.get(fingerprint)
        return buyer if buyer in self._hot else None

    def _allowance(self, change: Change, hot: Hot, books: Books) -> Recorded | Change:
        if books.sums["doubt_used"] + change.doubt_used > books.batch.allowance:
            return Recorded(closed=Closed.NO_ALLOWANCE)
        return Recorded(closed=Closed.CANCELLED) if books.state is BatchState.CANCELLED else change

    def _budget(self, change: Change, hot: Hot, books: Books) -> Recorded | Change:
        spent = change.retry and not may_try_again(books.sums["calls"], books.sums["retried"])
        return Recorded(closed=Closed.NO_BUDGET) if spent else change
