"""Writes a plan's rows to the bucket and, after the yes, opens the batch.

Rows arrive one by one while the manifest is still being read, and leave as numbered chunks of one limit group each,
so memory holds a few chunks whatever the manifest's size. Until the batch is opened nothing has begun: chunks of a
plan that was refused or broken off are removed again.
"""

from __future__ import annotations

import json
import re
import secrets
import tempfile
import threading
import unicodedata
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import IO, Self

from jobs.batch import ROWS_PER_CHUNK, STAGED_ROWS_PER_CHUNK, UNCHANGED_PER_CHUNK, Batch
from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket
from jobs.crashpoints import crashpoint
from jobs.errors import StorageError
from jobs.known.line import Known
from jobs.ledger.port import Ledger
from jobs.row import IdleRow, Row
from jobs.shares import Priority
from producers.known import KnownRows, Settled
from producers.messages import Hints
from producers.plan import Plan

PLANNED_MARK = "planned.json"
"""The object beside `batch.json` that says that the batch waits for a yes and was never opened."""
UPLOADS = 4
_WAITING = 8
"""Chunks that are full and not yet uploaded; reading the manifest waits at this many."""
_JSON_LINES = "application/x-ndjson"
_SURROGATES = "backslashreplace"
"""Half a surrogate pair cannot be written in UTF-8; as `\\udxxx` it is JSON, and reads back the same."""


def batch_id(name: str, at: datetime, token: str = "") -> str:
    """Return a new batch's id: the name, the time in UTC, and 4 hex digits. Letters, digits and hyphens only.

    `token` takes the place of the random digits.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-").lower()[:40].strip("-") or "batch"
    return f"{slug}-{at.astimezone(UTC):%Y%m%d-%H%M%S}-{token or secrets.token_hex(2)}"


class PlanWriter:
    """Takes accepted rows and writes them as chunks; as a context manager it cleans up what was not kept.

    The size of the chunks is settled when the first one is full or the first local picture is seen, whichever
    comes first; `close` has to be called before `groups`, `ahead`, `chunk_rows` and `local` are final.

    Raises:
        StorageError: from any method, when a chunk could not be written.
    """

    def __init__(self, bucket: Bucket, layout: Layout, batch: str, *, round_: int = 1) -> None:
        self.batch = batch
        self.round = round_
        self.groups: Counter[str] = Counter()
        self.ahead: dict[str, int] = {}
        """Rows of each limit group that were not written last, where any were."""
        self.local = False
        self.chunk_rows = 0
        self._bucket = bucket
        self._layout = layout
        self._waiting: dict[str, list[str]] = {}
        self._written: dict[str, int] = {}
        self._last: IO[str] | None = None
        self._idle = self._beside(layout.idle, ROWS_PER_CHUNK)
        self._unchanged = self._beside(layout.unchanged, UNCHANGED_PER_CHUNK)
        self._settled = self._beside(layout.settled, UNCHANGED_PER_CHUNK)
        self._gone = self._beside(layout.gone, UNCHANGED_PER_CHUNK)
        self._pool = ThreadPoolExecutor(UPLOADS, thread_name_prefix="plan")
        self._room = threading.Semaphore(_WAITING)
        self._uploads: list[Future[None]] = []
        self._keys: list[str] = []
        self._kept = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        if self._last is not None:
            self._last.close()
        if not self._kept:
            self._remove()

    def write(self, row: Row) -> None:
        """Take one row; rows of a limit group keep their order."""
        self.write_line(row.limit_group, row.as_line(), row.local)

    def write_line(self, limit_group: str, line: str, local: bool) -> None:
        """Take one row, of which only this is known: its limit group, its line, and whether a picture is local."""
        self.groups[limit_group] += 1
        waiting = self._waiting.setdefault(limit_group, [])
        waiting.append(line)
        if local:
            self.local = True
            self.chunk_rows = self.chunk_rows or STAGED_ROWS_PER_CHUNK
        if len(waiting) >= (self.chunk_rows or ROWS_PER_CHUNK):
            self._write_full()

    def write_last(self, row: Row) -> None:
        """Take one row that comes after all that are written; these, too, keep their order. They wait on disk."""
        if self._last is None:
            self._last = tempfile.TemporaryFile("w+", encoding="utf-8", errors=_SURROGATES, newline="\n")  # noqa: SIM115
        self._last.write(f"{row.as_line()}\n")

    def set_aside(self, row: IdleRow) -> None:
        """Take one row that no job is made of."""
        self._idle.add(row.as_line())

    def settle(self, settled: Settled, at: float) -> None:
        """Take one row that is unchanged as of `at` (epoch seconds), with its outcome: it never becomes a job."""
        self._unchanged.add(settled.row.as_line())
        self._settled.add(json.dumps(settled.outcome(self.batch, at), separators=(",", ":")))

    def miss(self, known: Known, at: float) -> None:
        """Take what lies at its output key no more as of `at` (epoch seconds)."""
        if known.result is not None:
            self._gone.add(json.dumps([known.output, known.result.etag, at]))

    @property
    def idle(self) -> int:
        """How many lines there are for rows that no job is made of."""
        return self._idle.lines

    @property
    def unchanged(self) -> int:
        """How many rows are settled."""
        return self._unchanged.lines

    @property
    def gone(self) -> int:
        """How many outputs lie at their keys no more."""
        return self._gone.lines

    def close(self) -> None:
        """Write what is left and wait until every chunk lies in the bucket."""
        if self._last is not None:
            self.ahead = dict(self.groups)
            self._last.seek(0)
            for line in self._last:
                self.write(Row.from_line(line))
        self._write_full()
        for group, lines in self._waiting.items():
            if lines:
                self._start(group, lines)
        self._waiting.clear()
        for beside in (self._idle, self._unchanged, self._settled, self._gone):
            beside.close()
        for upload in self._uploads:
            upload.result()
        self._uploads.clear()

    def keep(self) -> None:
        """Let the chunks stay, whatever comes."""
        self._kept = True

    @property
    def kept(self) -> bool:
        """Whether the chunks stay."""
        return self._kept

    def _write_full(self) -> None:
        size = self.chunk_rows = self.chunk_rows or ROWS_PER_CHUNK
        for group, lines in self._waiting.items():
            while len(lines) >= size:
                self._start(group, lines[:size])
                del lines[:size]

    def _start(self, group: str, lines: list[str]) -> None:
        chunk = self._written.get(group, 0)
        self._written[group] = chunk + 1
        self._begin(self._layout.plan(self.batch, self.round, group, chunk), lines)

    def _beside(self, key: Callable[[str, int], str], size: int) -> _Chunks:
        return _Chunks(size, lambda chunk, lines: self._begin(key(self.batch, chunk), lines))

    def _begin(self, key: str, lines: list[str]) -> None:
        self._room.acquire()
        for upload in [u for u in self._uploads if u.done()]:
            self._uploads.remove(upload)
            upload.result()
        self._keys.append(key)
        self._uploads.append(self._pool.submit(self._upload, key, lines))

    def _upload(self, key: str, lines: list[str]) -> None:
        try:
            data = "".join(f"{line}\n" for line in lines).encode("utf-8", _SURROGATES)
            self._bucket.put(key, data, content_type=_JSON_LINES)
        finally:
            self._room.release()

    def _remove(self) -> None:
        # A later round's batch was there before it.
        agreed = [self._layout.batch(self.batch, "batch.json")] if self.round == 1 else []
        with ThreadPoolExecutor(UPLOADS) as pool:
            for key in [*self._keys, *agreed]:
                pool.submit(_forget, self._bucket, key)


class _Chunks:
    """Lines that lie beside the plan, in chunks of one size."""

    def __init__(self, size: int, begin: Callable[[int, list[str]], None]) -> None:
        self.lines = 0
        self._size = size
        self._begin = begin
        self._waiting: list[str] = []

    def add(self, line: str) -> None:
        self._waiting.append(line)
        self.lines += 1
        if len(self._waiting) >= self._size:
            self.close()

    def close(self) -> None:
        if self._waiting:
            self._begin((self.lines - 1) // self._size, self._waiting)
            self._waiting = []


def settling(known: KnownRows, writer: PlanWriter, at: float) -> Callable[[Row], bool]:
    """Return what settles a row and says so, if it is unchanged as of `at` (epoch seconds)."""

    def settle(row: Row) -> bool:
        settled = known.settled(row)
        if settled is not None:
            writer.settle(settled, at)
        return settled is not None

    return settle


def agreed(
    writer: PlanWriter,
    made: Plan,
    *,
    at: float,
    origin: str,
    simulated: bool,
    manifest: str,
    overwrite: bool,
    fresh: bool,
    priority: Priority = Priority.NORMAL,
    by: float = 0.0,
) -> Batch:
    """Return the batch that a plan becomes when its price is accepted; `writer` was closed.

    Args:
        writer: has the plan's rows.
        made: the plan.
        at: now, in epoch seconds by the ledger's clock.
        origin: the name under which results are filed.
        simulated: nothing is bought.
        manifest: where it came from, as `batch.json` shows it.
        overwrite: whatever lies at an output key may be replaced.
        fresh: every row is bought anew.
        priority: how much it matters beside others.
        by: when it is to be done, in epoch seconds; 0 for no matter when.
    """
    return Batch(
        id=writer.batch,
        name=made.name,
        created_at=at,
        rows=writer.groups.total() + writer.unchanged,
        groups=dict(writer.groups),
        ahead=writer.ahead,
        chunk_rows=writer.chunk_rows,
        local=writer.local,
        origin=origin,
        simulated=simulated,
        expected=made.estimate.expected,
        at_most=made.estimate.at_most,
        ceiling=made.ceiling,
        bounds=made.bounds,
        lone=made.lone,
        allowance=made.estimate.allowance,
        priority=priority,
        by=by,
        estimate=tuple(item.as_json() for item in made.estimate.items),
        overwrite=overwrite,
        fresh=fresh,
        skipped=made.invalid,
        idle=writer.idle,
        unchanged=writer.unchanged,
        gone=writer.gone,
        manifest=manifest,
        table=made.table,
    )


def begin(batch: Batch, ledger: Ledger, hints: Hints) -> None:
    """Open a batch in the ledger, if it is not known there, and say that it can be worked on.

    Raises:
        LedgerError: the ledger could not be reached; it may have taken the batch all the same.
    """
    ledger.open_batch(batch)
    crashpoint("batch-opened")
    if batch.groups:
        hints.feed(batch.id, batch.groups)
    else:  # every row is settled: what is left is the report
        hints.finish(batch.id)


def open_batch(batch: Batch, plan: PlanWriter, *, bucket: Bucket, layout: Layout, ledger: Ledger, hints: Hints) -> None:
    """Open a batch whose plan lies in the bucket: the user has said yes to its price.

    The plan stays from here on: when the ledger's answer is lost, the batch may be open all the same.

    Raises:
        StorageError: `batch.json` could not be written; nothing has begun.
        LedgerError: the ledger could not be reached; if it took the batch, `retouch status` shows it.
    """
    data = batch.as_json().encode("utf-8", _SURROGATES)
    crashpoint("plan-written")
    bucket.put(layout.batch(batch.id, "batch.json"), data, content_type="application/json")
    plan.keep()
    crashpoint("batch-written")
    begin(batch, ledger, hints)


def _forget(bucket: Bucket, key: str) -> None:
    with suppress(StorageError):  # a chunk that stays costs nothing and is never read
        bucket.delete(key)
