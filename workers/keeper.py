"""Keeps the leases of all jobs of a process alive, from one thread.

A job whose lease lapses is taken over by somebody else. The holder learns it at its next change at the latest.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from jobs.errors import LedgerError
from jobs.job import Job
from jobs.ledger.port import Ledger

RENEW_S = 8.0

log = structlog.get_logger(__name__)


class LeaseKeeper:
    """Renews every lease of its process every 8 s, until it is closed."""

    def __init__(self, ledger: Ledger, owner: str) -> None:
        self._ledger = ledger
        self._owner = owner
        self._fences: dict[str, int] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease-keeper", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def close(self) -> None:
        """Stop renewing."""
        self._closed.set()

    @contextmanager
    def holding(self, job: Job) -> Iterator[None]:
        """Keep this job's lease alive while the body runs."""
        with self._lock:
            self._fences[job.id] = job.fence
        try:
            yield
        finally:
            with self._lock:
                if self._fences.get(job.id) == job.fence:
                    del self._fences[job.id]

    def held(self) -> int:
        """Return how many jobs this process holds."""
        with self._lock:
            return len(self._fences)

    def renew(self) -> None:
        """Renew once."""
        with self._lock:
            fences = dict(self._fences)
        lost = self._ledger.renew(self._owner, fences)
        with self._lock:
            for job in lost:
                if self._fences.get(job) == fences[job]:
                    del self._fences[job]
        for job in lost:
            log.warning("lease lost", job=job)

    def _keep(self) -> None:
        while not self._closed.wait(RENEW_S):
            try:
                self.renew()
            except LedgerError as error:
                log.warning("leases not renewed", error=str(error))
            except Exception:  # without this thread every job of the process would be taken over, again and again
                log.exception("leases not renewed")
