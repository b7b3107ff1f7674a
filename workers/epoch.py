"""The epoch guard: it notices that Redis was emptied or went back in time, and then lets nobody submit.

A live process knows it from the numbers of its own submissions, which the gate compares in the script that would
begin the next. A process that starts has seen nothing; what was last seen of the ledger lies in the bucket for it.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence

import structlog

from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket
from jobs.errors import NotFound
from jobs.ledger.port import Epoch, Ledger
from jobs.life import Life, Standing, open_rounds, standing
from jobs.report.build import SUMMARY

log = structlog.get_logger(__name__)

WRITE_S = 5.0
"""What was seen is written down so often while submissions begin; a batch that is opened or ends, at once."""

WENT_BACK = "Redis was emptied or went back in time while batches were open: `retouch reconcile` puts them right"


_LOCK, _LOCK_S, _AGAIN_S = "epoch", 30.0, 0.05
_UNDECIDED = "undecided"
"""No ledger says this of itself: who trusts it submits nothing."""


class EpochGuard:
    """Looks after the life of one ledger, at one address. One process's tick uses it, and its start."""

    def __init__(self, ledger: Ledger, bucket: Bucket, layout: Layout, place: str, *, patience_s: float = 2.0) -> None:
        self._ledger = ledger
        self._bucket = bucket
        self._key = layout.life(place)
        self._layout = layout
        self._patience_s = patience_s
        self._token = uuid.uuid4().hex
        self._trusted = Epoch()
        self._written: Life | None = None
        self._written_at = 0.0
        self._names: Sequence[str] = ()

    @property
    def id(self) -> str:
        """The epoch that this process submits in."""
        return self._trusted.id

    def look(self) -> None:
        """Compare the ledger with what was seen of it, and guard it if it knows less.

        One process at a time decides; the others submit nothing until they know the epoch that it began.

        Raises:
            LedgerError, StorageError: it cannot be told, so nothing was changed.
        """
        now = self._ledger.epoch()
        if now.guard or (self._trusted.id == now.id and now.intents >= self._trusted.intents and now.id):
            self._trusted = self._trusted if now.guard else now
            return
        patient_until = time.monotonic() + self._patience_s
        while not self._ledger.lock(_LOCK, self._token, _LOCK_S):
            if time.monotonic() >= patient_until:
                self._ledger.trust(Epoch(id=_UNDECIDED))
                return
            time.sleep(_AGAIN_S)
        try:
            self._decide(self._ledger.epoch())
        finally:
            self._ledger.unlock(_LOCK, self._token)

    def _decide(self, now: Epoch) -> None:
        seen = self._read()
        match standing(now, seen):
            case Standing.GOES_ON:
                self._rely_on(now)
            case Standing.NEW:
                self._begin(now, 0)
            case Standing.WENT_BACK if seen is not None:
                if lost := [batch for batch, round_ in seen.batches.items() if not self._ended(batch, round_)]:
                    self._ledger.guard(WENT_BACK)
                    log.error(WENT_BACK, batches=lost, seen=seen.intents, known=now.intents)
                else:
                    self._begin(now, max(seen.intents, now.intents))

    def write(self) -> None:
        """Write down what is seen of the ledger, if it has changed.

        Raises:
            LedgerError, StorageError: another time.
        """
        if not self._trusted.id:
            return
        names = self._ledger.batches()
        if names == self._names and time.monotonic() - self._written_at < WRITE_S:
            return
        now = self._ledger.epoch()
        if now.guard or now.id != self._trusted.id:
            return
        self._write(now)
        self._names, self._written_at = names, time.monotonic()

    def _write(self, now: Epoch) -> None:
        life = Life(id=now.id, intents=now.intents, batches=open_rounds(self._ledger), at=self._ledger.now())
        before = self._written
        if before is None or (before.id, before.intents, before.batches) != (life.id, life.intents, life.batches):
            self._bucket.put(self._key, life.as_json(), content_type="application/json")
            self._written = life

    def _begin(self, now: Epoch, intents: int) -> None:
        begun = Epoch(id=uuid.uuid4().hex, intents=intents + 1)
        if self._ledger.begin_epoch(begun, after=now.id):
            self._write(begun)
            self._rely_on(begun)

    def _rely_on(self, epoch: Epoch) -> None:
        self._trusted = epoch
        self._ledger.trust(epoch)

    def _read(self) -> Life | None:
        try:
            return Life.from_json(self._bucket.get(self._key))
        except NotFound:
            return None

    def _ended(self, batch: str, round_: int) -> bool:
        """Whether that round of the batch has its report: then the bucket has all of it.

        A later round may have been agreed since, by a command that found the ledger empty: nothing of it was begun.
        """
        try:
            summary = self._bucket.get(self._layout.batch(batch, SUMMARY))
        except NotFound:
            return False
        return int(json.loads(summary).get("round", 1)) >= round_
