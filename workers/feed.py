"""Feeding: jobs are created from the plan, never more than a window of them at a time.

A window belongs to a batch and a limit group, and counts only jobs that hold or want a slot. It is what makes a
batch of a million rows cost no more of Redis than one of a hundred.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import structlog

from jobs.batch import Batch, BatchState, Progress
from jobs.crashpoints import crashpoint
from jobs.errors import StorageError, Unavailable
from jobs.ledger.change import WAITING_LIMIT
from jobs.queues import EDIT
from jobs.row import Row
from workers.desk import Desk

log = structlog.get_logger(__name__)

CHUNKS_REMEMBERED = 8


def share(whole: int, batches: int) -> int:
    """Return one batch's part of a window that so many batches want."""
    return max(math.ceil(whole / max(batches, 1)), 2)


def low_water(size: int) -> int:
    """Return the number of hot jobs under which a window of this size is filled up again."""
    return max(size - max(size // 10, 1), 1)


def wants(batch: Batch, progress: Progress, group: str) -> bool:
    """Whether this batch has rows of `group` that can be fed now."""
    if progress.state is not BatchState.OPEN or progress.waiting >= WAITING_LIMIT:
        return False
    return progress.cursors.get(group, 0) < min(progress.staged.get(group, 0), batch.groups.get(group, 0))


def feed(batch_id: str, group: str, desk: Desk) -> None:
    """Create jobs of a batch's limit group until its window is full, and send a message for each."""
    size = share(desk.catalogue.groups[group].window, _wanting(group, desk))
    while True:
        found = desk.ledger.batch(batch_id)
        if found is None or not wants(*found, group):
            return
        batch, progress = found
        cursor = progress.cursors.get(group, 0)
        room = size - progress.hot.get(group, 0)
        ready = min(progress.staged[group], batch.groups[group]) - cursor
        in_chunk = batch.chunk_rows - cursor % batch.chunk_rows
        n = min(room, ready, in_chunk)
        if n <= 0:
            return
        try:
            rows = _chunks.rows(batch, group, cursor // batch.chunk_rows, desk)
        except StorageError as error:
            _without_plan(batch_id, error, desk)
            return
        start = cursor % batch.chunk_rows
        orders = [row.order(batch.id) for row in rows[start : start + n]]
        crashpoint("rows-read")
        if not desk.ledger.feed(batch_id, group, cursor, orders, low=low_water(size), round_=batch.round):
            return
        crashpoint("jobs-created")
        for order in orders:
            desk.send(EDIT, order.job)


def _without_plan(batch_id: str, error: StorageError, desk: Desk) -> None:
    """Say so. Where storage is only away, the tick asks again; else the batch waits for a person."""
    log.warning("plan not read", batch=batch_id, why=str(error))
    if not isinstance(error, Unavailable):
        desk.ledger.set_state(batch_id, BatchState.PAUSED, "storage", only_from=[BatchState.OPEN])


def _wanting(group: str, desk: Desk) -> int:
    """Return how many open batches have rows of this group left or hot."""
    count = 0
    for batch_id in desk.ledger.batches():
        found = desk.ledger.batch(batch_id)
        if found is None or group not in found[0].groups:
            continue
        if wants(*found, group) or found[1].hot.get(group, 0):
            count += 1
    return count


class _Chunks:
    """Remembers the chunks of the plan that were read last."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Sequence[Row]] = OrderedDict()
        self._lock = Lock()

    def rows(self, batch: Batch, group: str, chunk: int, desk: Desk) -> Sequence[Row]:
        make = desk.layout.staged_plan if batch.local else desk.layout.plan
        key = make(batch.id, batch.round, group, chunk)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        text = desk.bucket.get(key).decode("utf-8")
        rows = [Row.from_line(line) for line in text.split("\n") if line]
        with self._lock:
            self._known[key] = rows
            while len(self._known) > CHUNKS_REMEMBERED:
                self._known.popitem(last=False)
        return rows


_chunks = _Chunks()
