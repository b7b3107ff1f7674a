"""What the intake works with, and the lock that keeps two of it from the same piece of work."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from config.settings import Settings
from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket, Head
from jobs.errors import LedgerError
from jobs.ledger.port import Ledger
from jobs.models import Catalogue
from producers.known import KnownRows, known_rows
from producers.messages import Hints

LOCK_S = 15.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The records and the settings of one process."""

    settings: Settings
    catalogue: Catalogue
    ledger: Ledger
    bucket: Bucket
    layout: Layout
    hints: Hints
    origin: str
    simulated: bool = False

    def objects(self, bucket: str, prefix: str) -> Iterator[Head]:
        """List what lies under a prefix of a bucket that may be read."""
        return self.bucket.keys(prefix, bucket=bucket)

    def known(self, name: str, *, fresh: bool = False) -> AbstractContextManager[KnownRows]:
        """Open what is known of a name's rows; with `fresh` none is taken for unchanged."""
        return known_rows(
            name,
            bucket=self.bucket,
            layout=self.layout,
            origin=self.origin,
            memory=self.settings.data_dir,
            fresh=fresh,
        )

    def now(self) -> datetime:
        """Return the ledger's time, which every machine shares."""
        return datetime.fromtimestamp(self.ledger.now(), UTC)


class Lost(Exception):
    """The lock went to somebody else while the work was under way; what was begun must not be finished here."""


@contextmanager
def alone(desk: Desk, name: str) -> Iterator[Callable[[], None] | None]:
    """Hold a lock, renewed for as long as the body runs; yields None where somebody else holds it.

    Else it yields a function that raises `Lost` unless the lock is still ours.
    """
    token = uuid.uuid4().hex
    if not desk.ledger.lock(name, token, LOCK_S):
        yield None
        return
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(LOCK_S / 3):
            try:
                desk.ledger.lock(name, token, LOCK_S)
            except LedgerError as error:
                log.warning("lock not renewed", name=name, why=str(error))

    def check() -> None:
        if not desk.ledger.lock(name, token, LOCK_S):
            raise Lost(name)

    keeper = threading.Thread(target=renew, name=f"lock-{name}", daemon=True)
    keeper.start()
    try:
        yield check
    finally:
        ended.set()
        keeper.join()
        desk.ledger.unlock(name, token)
