"""Outcomes on their way to the bucket, and back: numbered parts of lines.

A part is dropped from the ledger only once it lies in the bucket; after a crash in between anyone writes the same
bytes to the same key again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket
from jobs.crashpoints import crashpoint
from jobs.ledger.port import Ledger


def write_parts(batch: str, ledger: Ledger, bucket: Bucket, layout: Layout) -> int:
    """Write every finished outcome of a batch to the bucket, and return how many there were.

    Raises:
        LedgerError, StorageError: what was written stays, the rest waits in the ledger.
    """
    written = 0
    while (taken := ledger.take_outcomes(batch)) is not None:
        part, lines = taken
        crashpoint("outcomes-set-apart")
        data = "".join(f"{line}\n" for line in lines).encode("utf-8")
        bucket.put(layout.outcomes(batch, part, data), data, content_type="application/x-ndjson")
        crashpoint("outcomes-written")
        ledger.drop_outcomes(batch, part)
        crashpoint("outcomes-dropped")
        written += len(lines)
    return written


def read_parts(batch: str, bucket: Bucket, layout: Layout) -> Iterator[dict[str, Any]]:
    """Yield every line of a batch's outcomes, part after part.

    Raises:
        StorageError: a part cannot be read.
    """
    for part in bucket.keys(layout.batch(batch, "outcomes/")):
        for line in bucket.get(part.key).decode("utf-8").split("\n"):
            if line:
                yield json.loads(line)
