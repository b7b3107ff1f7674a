"""Finds the rows of a batch that are held in doubt."""

from __future__ import annotations

from collections.abc import Iterator

from jobs.job import Job
from jobs.ledger.port import Ledger


def held(batch: str, ledger: Ledger) -> Iterator[Job]:
    """Yield the jobs of a batch that are held in doubt.

    Raises:
        LedgerError: the ledger cannot be reached.
    """
    for name in ledger.jobs_of(batch):
        job = ledger.load(name)
        if job is not None and job.held:
            yield job
