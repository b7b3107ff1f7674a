"""Flushing: finished outcomes leave Redis for the bucket, in numbered parts.

A part is dropped from Redis only once it lies in the bucket; after a crash in between anyone writes the same bytes
to the same key again.
"""

from __future__ import annotations

from workers.desk import Desk


def flush(batch_id: str, desk: Desk) -> int:
    """Write every finished outcome of a batch to the bucket, and return how many there were."""
    written = 0
    while (taken := desk.ledger.take_outcomes(batch_id)) is not None:
        part, lines = taken
        text = "".join(f"{line}\n" for line in lines)
        desk.bucket.put(desk.layout.outcomes(batch_id, part), text.encode("utf-8"), content_type="application/x-ndjson")
        desk.ledger.drop_outcomes(batch_id, part)
        written += len(lines)
    return written
