"""The ledger's life in memory: the twin of `jobs.ledger.life`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from jobs.ledger.memory_presence import MemoryPresence
from jobs.ledger.port import Epoch


class MemoryLife(MemoryPresence):
    """One life of a ledger, as it says itself, and as its user has come to know it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self._epoch = Epoch()
        self._trusted = Epoch()

    def epoch(self) -> Epoch:
        return self._epoch

    def trust(self, epoch: Epoch) -> None:
        self._trusted = epoch

    def begin_epoch(self, epoch: Epoch, *, after: str = "") -> bool:
        with self._lock:
            if self._epoch.id != after:
                return False
            self._epoch = replace(epoch, guard="")
            return True

    def guard(self, why: str) -> None:
        with self._lock:
            self._epoch = replace(self._epoch, guard=why)
