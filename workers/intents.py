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
from jobs.job import Job

log = structlog.get_logger(__name__)

_JSON = "application/json"
TRIES = 5


class MayBeBought(RetouchError):
    """Somebody else has written the intent of this submission, and may have made it."""


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

        Raises:
            MayBeBought: another ledger, or this one before it went back in time, has begun the same submission.
            StorageError: it could not be written; nothing may leave.
        """
        if not self._on:
            return
        intent, key = Intent.of(job, epoch), self._key(job)
        for _ in range(TRIES):
            try:
                self._bucket.put(key, intent.as_json(), content_type=_JSON, if_absent=True)
            except PreconditionFailed:
                if self._known(key, intent):
                    return
            else:
                return
        raise MayBeBought("its intent changes all the time")

    def _known(self, key: str, intent: Intent) -> bool:
        """Return whether the intent there is this one; one whose end the ledger knows is removed.

        Raises:
            MayBeBought: it is a stranger's.
        """
        try:
            found = Intent.from_json(self._bucket.get(key))
        except NotFound:
            return False
        if found == intent:  # our own PUT, whose answer was lost
            return True
        if not found.before(intent):
            raise MayBeBought("the intent of this submission was written by another ledger, or in another time")
        self._bucket.delete(key)
        return False

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
