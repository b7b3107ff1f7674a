"""Writes a plan's rows to the bucket and, after the yes, opens the batch.

Rows arrive one by one while the manifest is still being read, and leave as numbered chunks of one limit group each,
so memory holds a few chunks whatever the manifest's size. Until the batch is opened nothing has begun: chunks of a
plan that was refused or broken off are removed again.
"""

from __future__ import annotations

import re
import secrets
import threading
import unicodedata
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from jobs.batch import ROWS_PER_CHUNK, STAGED_ROWS_PER_CHUNK, Batch
from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket
from jobs.errors import StorageError
from jobs.ledger.port import Ledger
from jobs.row import IdleRow, Row
from producers.messages import Hints

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
    comes first; `close` has to be called before `groups`, `chunk_rows`, `local` and `idle` are final.

    Raises:
        StorageError: from any method, when a chunk could not be written.
    """

    def __init__(self, bucket: Bucket, layout: Layout, batch: str, *, round_: int = 1) -> None:
        self.batch = batch
        self.round = round_
        self.groups: Counter[str] = Counter()
        self.local = False
        self.chunk_rows = 0
        self._bucket = bucket
        self._layout = layout
        self.idle = 0
        self._waiting: dict[str, list[str]] = {}
        self._written: dict[str, int] = {}
        self._aside: list[str] = []
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
        if not self._kept:
            self._remove()

    def write(self, row: Row) -> None:
        """Take one row; rows of a limit group keep their order."""
        self.groups[row.limit_group] += 1
        self._waiting.setdefault(row.limit_group, []).append(row.as_line())
        if row.local:
            self.local = True
            self.chunk_rows = self.chunk_rows or STAGED_ROWS_PER_CHUNK
        if len(self._waiting[row.limit_group]) >= (self.chunk_rows or ROWS_PER_CHUNK):
            self._write_full()

    def set_aside(self, row: IdleRow) -> None:
        """Take one row that no job is made of."""
        self._aside.append(row.as_line())
        self.idle += 1
        if len(self._aside) >= ROWS_PER_CHUNK:
            self._start_aside()

    def close(self) -> None:
        """Write what is left and wait until every chunk lies in the bucket."""
        self._write_full()
        for group, lines in self._waiting.items():
            if lines:
                self._start(group, lines)
        self._waiting.clear()
        if self._aside:
            self._start_aside()
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

    def _start_aside(self) -> None:
        chunk = (self.idle - 1) // ROWS_PER_CHUNK
        self._begin(self._layout.idle(self.batch, chunk), self._aside)
        self._aside = []

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


def open_batch(batch: Batch, plan: PlanWriter, *, bucket: Bucket, layout: Layout, ledger: Ledger, hints: Hints) -> None:
    """Open a batch whose plan lies in the bucket: the user has said yes to its price.

    The plan stays from here on: when the ledger's answer is lost, the batch may be open all the same.

    Raises:
        StorageError: `batch.json` could not be written; nothing has begun.
        LedgerError: the ledger could not be reached; if it took the batch, `retouch status` shows it.
    """
    data = batch.as_json().encode("utf-8", _SURROGATES)
    bucket.put(layout.batch(batch.id, "batch.json"), data, content_type="application/json")
    plan.keep()
    ledger.open_batch(batch)
    hints.feed(batch.id, batch.groups)


def _forget(bucket: Bucket, key: str) -> None:
    with suppress(StorageError):  # a chunk that stays costs nothing and is never read
        bucket.delete(key)
