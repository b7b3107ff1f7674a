"""The ledger's life in Redis: the epoch in which submissions begin, and what keeps them from it."""

from __future__ import annotations

from jobs.ledger.port import Epoch
from jobs.ledger.presence import RedisCalls


class RedisLife(RedisCalls):
    """One life of a ledger, as it says itself, and as its user has come to know it."""

    _trusted = Epoch()

    def epoch(self) -> Epoch:
        """Return what the ledger says of its life."""
        found: dict[str, str] = self._guarded(self._client.hgetall, self._keys.epoch)
        return Epoch(id=found.get("id", ""), intents=int(found.get("n", 0)), guard=found.get("guard", ""))

    def trust(self, epoch: Epoch) -> None:
        """Let this process submit only while the ledger knows at least this much."""
        self._trusted = epoch

    def begin_epoch(self, epoch: Epoch, *, after: str = "") -> bool:
        """Begin a life in place of another, or of none."""
        return bool(self._script("epoch", [self._keys.epoch], [epoch.id, epoch.intents, after])[0] == "done")

    def guard(self, why: str) -> None:
        """Let nobody begin a submission until another epoch begins."""
        self._script("guard", [self._keys.epoch, self._keys.absent], [why])
