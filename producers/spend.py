"""Reads what was spent: from the outcomes in the bucket, and from the ledger what is not there yet.

A batch is read at a time, and of it one range of rows, so memory does not grow with what was ever run.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket
from jobs.errors import NotFound
from jobs.ledger.port import Ledger
from jobs.outcome import outcome
from jobs.report.joining import by_row
from jobs.spend import Spending


def add_batch(spending: Spending, batch: str, *, ledger: Ledger, bucket: Bucket, layout: Layout) -> None:
    """Add what one batch has spent, whether it runs or has ended.

    Raises:
        LedgerError, StorageError: they are away.
    """
    with tempfile.TemporaryDirectory(prefix="retouch-spend-") as scratch:
        for rounds, late in by_row(_lines(batch, ledger, bucket, layout), Path(scratch)):
            spending.add(rounds, late)


def _lines(batch: str, ledger: Ledger, bucket: Bucket, layout: Layout) -> Iterator[dict[str, Any]]:
    """Yield every line. What moves on meanwhile comes twice and counts once; the ledger is read first, lest it miss."""
    for job_id in ledger.jobs_of(batch):
        job = ledger.load(job_id)
        if job is not None and (job.charges or job.held):
            yield outcome(job)
    yield from map(json.loads, ledger.outcomes(batch))
    for part in bucket.keys(layout.batch(batch, "outcomes/")):
        try:
            text = bucket.get(part.key).decode("utf-8")
        except NotFound:
            continue
        yield from (json.loads(line) for line in text.split("\n") if line)
