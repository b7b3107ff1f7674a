"""What was last seen of a ledger, as it lies in the bucket: it tells whether a ledger went back in time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Self

from jobs.batch import BatchState
from jobs.ledger.port import Epoch, Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """A ledger's epoch, its last intent's number, the batches it held open, each with its round, at `at` (epoch s)."""

    id: str
    intents: int
    batches: Mapping[str, int]
    at: float = 0.0

    def as_json(self) -> bytes:
        """Return the object's bytes; `from_json` reads them back."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Return the life that `as_json` wrote."""
        return cls(**json.loads(data))


class Standing(StrEnum):
    """How a ledger stands to what was last seen of it."""

    GOES_ON = "goes on"
    NEW = "new"
    """Nothing was ever seen at its address."""
    WENT_BACK = "went back"


def standing(epoch: Epoch, seen: Life | None) -> Standing:
    """Return how the ledger that says `epoch` of itself stands to what was seen at its address."""
    if seen is None:
        return Standing.GOES_ON if epoch.id else Standing.NEW
    same = epoch.id == seen.id and epoch.intents >= seen.intents
    return Standing.GOES_ON if same else Standing.WENT_BACK


def open_rounds(ledger: Ledger) -> Mapping[str, int]:
    """Return the batches that the ledger holds open, each with its round.

    Raises:
        LedgerError: it cannot be told.
    """
    found = {}
    for name in ledger.batches():
        known = ledger.batch(name)
        if known is not None and known[1].state in (BatchState.OPEN, BatchState.PAUSED, BatchState.CANCELLED):
            found[name] = known[0].round
    return found
