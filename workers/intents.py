"""Intents in the bucket: a second record of every submission, which survives the loss of Redis.

Off by default: it costs a PUT before and one after each POST. With it, a Redis that was emptied or went back in time
leads to no second purchase, and `retouch reconcile` finds every task that was bought.
"""

from __future__ import annotations

from contextlib import suppress

import structlog

from jobs.bucket.conditions import Conditions
from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket
from jobs.errors import NotFound, PreconditionFailed, RetouchError, StorageError
from jobs.intent import Intent
from jobs.job import Job, Receipt

log = structlog.get_logger(__name__)

_JSON = "application/json"
TRIES = 5


class MayBeBought(RetouchError):
    """Somebody else has written the intent of this submission at `at` (epoch seconds), and may have made it."""

    def __init__(self, message: str, *, at: float) -> None:
        super().__init__(message)
        self.at = at


class Bought(RetouchError):
    """This submission was made, and its receipt lies in the bucket: the ledger has forgotten it."""

    def __init__(self, receipt: Receipt) -> None:
        super().__init__()
        self.receipt = receipt


class Intents:
    """Writes the intents of one process. Does nothing where it is switched off."""

    def __init__(self, bucket: Bucket, layout: Layout, *, on: bool) -> None:
        self._bucket = bucket
        self._layout = layout
        self._on = on

    def check(self) -> None:
        """Make sure that the store refuses a second conditional PUT, if intents are on.

        Raises:
            StorageError: it cannot be reached.
            RetouchError: it overwrites, so intents would prove nothing.
        """
        if self._on and not Conditions(self._bucket, self._layout).puts():
            raise RetouchError(
                "the store writes in spite of If-None-Match, so intents in the bucket would prove nothing: "
                "set RETOUCH_SUBMIT__INTENTS_IN_BUCKET=false, or take a store that keeps conditions"
            )

    def declare(self, job: Job, epoch: str) -> None:
        """Write the intent of a submission that is about to leave.

        One that lies there already is no other's to remove, whatever the ledger says of it: a ledger that went back
        by no more than a `sent` mark believes that nothing was sent. Who was refused has withdrawn his own.

        Raises:
            Bought: the same submission was made, and accepted.
            MayBeBought: it was begun, and may have been made.
            StorageError: it could not be written; nothing may leave.
        """
        if not self._on:
            return None
        intent, key = Intent.of(job, epoch), self._key(job)
        for _ in range(TRIES):
            try:
                self._bucket.put(key, intent.as_json(), content_type=_JSON, if_absent=True)
            except PreconditionFailed:
                found = self._found(job)
                if found is not None:
                    return _go_on(found, intent)
            else:
                return None
        raise MayBeBought("its intent changes all the time", at=intent.at)

    def receipt(self, job: Job) -> Receipt | None:
        """Return the receipt of a job's submission, if the bucket knows it.

        Raises:
            StorageError: it cannot be told.
        """
        found = self._found(job) if self._on else None
        return found.receipt if found is not None and found.fingerprint == job.fingerprint else None

    def forgotten(self, job: Job, fingerprint: str, since: float) -> bool:
        """Whether a queued job's own edit was bought, at `since` (epoch seconds) or later, and no outcome says so: the
        ledger has gone back in time, by so little that nobody could tell.

        Raises:
            StorageError: it cannot be told.
        """
        found = self._found(job) if self._on else None
        if found is None or found.receipt is None or found.fingerprint != fingerprint or found.at < since:
            return False
        return self._bucket.head(self._layout.found(job.order.batch, found.receipt.task_id)) is None

    def _found(self, job: Job) -> Intent | None:
        try:
            return Intent.from_json(self._bucket.get(self._key(job)))
        except NotFound:
            return None

    def settle(self, job: Job, epoch: str) -> None:
        """Add the receipt to an intent. What fails is only told: the ledger has the receipt."""
        if not self._on:
            return
        try:
            self._bucket.put(self._key(job), Intent.of(job, epoch).as_json(), content_type=_JSON)
        except StorageError as error:
            log.warning("receipt not in the bucket", job=job.id, why=str(error))

    def withdraw(self, job: Job) -> None:
        """Remove the intent of a submission that was refused. One that stays is a doubt if Redis is lost."""
        if self._on:
            with suppress(StorageError):
                self._bucket.delete(self._key(job))

    def _key(self, job: Job) -> str:
        return self._layout.intent(job.order.batch, job.round, job.order.row, job.attempt)


def _go_on(found: Intent, mine: Intent) -> None:
    """Return if the intent that lies there is this one: our own PUT, whose answer was lost."""
    if found == mine:
        return
    if found.receipt is not None and found.fingerprint == mine.fingerprint:
        raise Bought(found.receipt)
    raise MayBeBought("the intent of this submission was written before, and it may have been made", at=found.at)
