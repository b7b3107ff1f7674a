"""Reads the rows of a batch's plan back, whatever round the batch is in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from jobs.batch import ROWS_PER_CHUNK, UNCHANGED_PER_CHUNK, Batch
from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket
from jobs.errors import NotFound
from jobs.report.joining import in_order
from jobs.row import IdleRow, Row

FIRST = "first.json"


def first_round(batch: Batch, bucket: Bucket, layout: Layout) -> Batch:
    """Return a batch as it was first agreed.

    Raises:
        StorageError: it cannot be read.
    """
    if batch.round == 1:
        return batch
    return Batch.from_json(bucket.get(layout.before_round(batch.id, batch.round, FIRST)).decode())


def rows_of(first: Batch, bucket: Bucket, layout: Layout) -> Iterator[Row]:
    """Yield every row of a batch's first round in order, as it was staged where it was: a later one has some of them.

    Raises:
        StorageError: from the iterator, where a chunk cannot be read.
    """

    def part(group: str, begin: int, end: int) -> Iterator[Row]:
        size = first.chunk_rows
        for chunk in range(begin // size, -(-end // size)):
            lines = _lines(_chunk(first, group, chunk, bucket, layout))
            yield from map(Row.from_line, islice(lines, max(begin - chunk * size, 0), end - chunk * size))

    def of(group: str, rows: int) -> Iterator[Row]:
        ahead = first.ahead.get(group, 0)
        return in_order([part(group, 0, ahead), part(group, ahead, rows)])

    def unchanged() -> Iterator[Row]:
        for chunk in range(-(-first.unchanged // UNCHANGED_PER_CHUNK)):
            yield from map(Row.from_line, _lines(bucket.get(layout.unchanged(first.id, chunk))))

    return in_order([*(of(group, rows) for group, rows in first.groups.items()), unchanged()])


def idle_rows_of(first: Batch, bucket: Bucket, layout: Layout) -> Iterator[IdleRow]:
    """Yield the rows of the manifest that no job was made of, in order.

    Raises:
        StorageError: from the iterator, where a chunk cannot be read.
    """
    for chunk in range(-(-first.idle // ROWS_PER_CHUNK)):
        yield from map(IdleRow.from_line, _lines(bucket.get(layout.idle(first.id, chunk))))


def gone_of(first: Batch, bucket: Bucket, layout: Layout) -> Iterator[tuple[str, str, float]]:
    """Yield what the plan found to lie at its key no more: output, ETag, and when it was looked for.

    Raises:
        StorageError: from the iterator, where a chunk cannot be read.
    """
    for chunk in range(-(-first.gone // UNCHANGED_PER_CHUNK)):
        for line in _lines(bucket.get(layout.gone(first.id, chunk))):
            output, etag, at = json.loads(line)
            yield output, etag, at


def _chunk(first: Batch, group: str, chunk: int, bucket: Bucket, layout: Layout) -> bytes:
    if first.local:
        with suppress(NotFound):  # the batch ended before it was staged so far
            return bucket.get(layout.staged_plan(first.id, 1, group, chunk))
    return bucket.get(layout.plan(first.id, 1, group, chunk))


def _lines(data: bytes) -> Iterator[str]:
    # Not splitlines(): a cell may hold one of the line ends that only Python knows.
    return (line for line in data.decode("utf-8").split("\n") if line)
