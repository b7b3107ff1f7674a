"""An intent in the bucket: what is known of one submission without Redis, from before its POST on.

It is written where there is none yet, so two ledgers that both believe that a POST is theirs to make cannot both make
it. The receipt is added to it as soon as it is there.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Self

from jobs.accounts import MAIN
from jobs.job import Job, Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One submission. `epoch` and `number` place it in the life of the ledger that began it; `at` is epoch seconds,
    `day` the book that its money is in, `account` whose place it takes."""

    row: int
    round: int
    attempt: int
    epoch: str
    number: int
    owner: str
    fingerprint: str
    key_id: str
    day: str
    at: float
    doubts: int = 0
    account: str = MAIN
    receipt: Receipt | None = None

    @classmethod
    def of(cls, job: Job, epoch: str) -> Self:
        """Return the intent of a job that has begun."""
        return cls(
            row=job.order.row,
            round=job.round,
            attempt=job.attempt,
            epoch=epoch,
            number=job.intent,
            owner=job.owner,
            fingerprint=job.fingerprint,
            key_id=job.key_id,
            day=job.day,
            at=job.submitted_at,
            doubts=job.doubts,
            account=job.account,
            receipt=job.receipt,
        )

    def as_json(self) -> bytes:
        """Return the object's bytes; `from_json` reads them back."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Return the intent that `as_json` wrote."""
        known = json.loads(data)
        receipt = known.pop("receipt")
        return cls(**known, receipt=Receipt(**receipt) if receipt else None)
