"""Looks after the API keys: takes over a rotated file, learns what others have parked, and probes what is parked.

A parked key costs nothing to ask about (`/v1/credits`), so it comes back by itself once it works; so do the batches
that only waited for a key.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from config.settings import SettingsError
from jobs.batch import BatchState, Progress
from jobs.ledger.seen import ParkedKey
from jobs.money import DAYS_KEPT
from workers.api.protocol import KeyRefused, KeyWorks
from workers.desk import Desk
from workers.keys import PARKED_S

FORGOTTEN_S = DAYS_KEPT * 86_400.0
"""A key that left the settings may come back within some days, and is then still known to be refused."""

UNNAMED = "name its account there, and restart the workers"

log = structlog.get_logger(__name__)


class KeyWatch:
    """The keys' part of the tick of one process."""

    def __init__(self, desk: Desk, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._desk = desk
        self._now = monotonic
        self._probed: dict[str, float] = {}
        self._unnamed: set[str] = set()

    def look(self) -> None:
        """Have the keys that the settings name now, and know which of them are parked.

        Raises:
            LedgerError: the ledger cannot be asked.
        """
        desk = self._desk
        try:
            if desk.keys.replace(desk.read_keys()):
                log.info("the API keys have changed", keys=list(desk.keys.ids))
        except SettingsError as error:  # in the middle of a rotation the file may be away; the old keys stay
            log.warning("keys not read", why=str(error))
        unnamed = set(desk.keys.unnamed)
        for key_id in sorted(unnamed - self._unnamed):
            log.warning("key left out: RETOUCH_API__ACCOUNTS does not say whose it is", key=key_id, remedy=UNNAMED)
        self._unnamed = unnamed
        self._know_parked()

    def probe(self) -> None:
        """Ask the API about each parked key of ours, once a minute; let one that works be used again.

        What is noted of a key that nobody has any more is forgotten after some days.

        Raises:
            LedgerError: the ledger cannot be told.
        """
        desk = self._desk
        for key_id, parked in desk.ledger.parked_keys().items():
            key = desk.keys.of(key_id)
            if key is None and self._is_gone(key_id, parked):
                desk.ledger.unpark_key(key_id)
                log.info("a parked key that no worker has is forgotten", key=key_id)
            if key is None or self._now() - self._probed.get(key_id, -PARKED_S) < PARKED_S:
                continue
            self._probed[key_id] = self._now()
            found = desk.api.credits(key)
            if isinstance(found, KeyWorks) and (found.micros is None or found.micros > 0):
                desk.ledger.unpark_key(key_id)
                self._know_parked()
                log.info("the API takes the key again", key=key_id)
            elif isinstance(found, KeyRefused):
                log.info("key still refused", key=key_id, status=found.status)

    def _know_parked(self) -> None:
        self._desk.keys.parked({key_id: each.why for key_id, each in self._desk.ledger.parked_keys().items()})

    def _is_gone(self, key_id: str, parked: ParkedKey) -> bool:
        if self._desk.now() - parked.since < FORGOTTEN_S:
            return False
        return not any(key_id in worker.about.get("keys", ()) for worker in self._desk.ledger.workers())

    def ask_resting(self) -> None:
        """Ask the API whether it answers the keys that rest; it may take as long as the API does not answer."""
        desk = self._desk
        for key in desk.keys.resting():
            found = desk.api.credits(key)
            if found is None:
                desk.away.failed("api", "it does not say what credits are left")
            desk.keys.looked(key.id, answers=found is not None)

    def let_go(self, batch: str, progress: Progress) -> None:
        """Let a batch go on that waited for a key, once one works.

        Raises:
            LedgerError: the ledger cannot be told.
        """
        if progress.state is BatchState.PAUSED and progress.reason == "key" and self._desk.keys.works:
            self._desk.ledger.set_state(batch, BatchState.OPEN, "", only_from=[BatchState.PAUSED])
            log.info("the batch goes on: a key works", batch=batch)
