"""Flushing: finished outcomes leave Redis for the bucket."""

from __future__ import annotations

from jobs.report.parts import write_parts
from workers.desk import Desk


def flush(batch_id: str, desk: Desk) -> int:
    """Write every finished outcome of a batch to the bucket, and return how many there were."""
    return write_parts(batch_id, desk.ledger, desk.bucket, desk.layout)
