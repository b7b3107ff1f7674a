"""Brings a batch's local pictures into the bucket, so that workers on any machine can read them.

A picture lies under the hash of its bytes, so it is uploaded once however often it is named, and going on after a
break costs one HEAD a picture; where it was staged is remembered between runs. A file that is not as the plan saw it
is never uploaded: its row keeps its `file://` URI, which ends it as `image_changed`. An edit of another picture is
never bought.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from urllib.parse import unquote, urlsplit

from jobs.batch import Batch, BatchState, Progress
from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket
from jobs.crashpoints import crashpoint
from jobs.ledger.port import Ledger
from jobs.pictures import PictureError, extension, inspect, media_type
from jobs.row import Row
from producers.messages import Hints
from producers.remembered import Looks, Remembered, remembered

AHEAD = 2_000
"""Rows of a limit group that may be staged before they are fed; more would fill the bucket for a batch that may be
cancelled."""
UPLOADS = 8
ENDED = frozenset({BatchState.DONE, BatchState.CANCELLED})
_REMEMBERED = 10_000
"""Pictures whose place is remembered, so that one that many rows name is hashed once."""
_LOOK_S = 0.5

FileSeen = tuple[str, int, int]
"""URI, bytes, modification time in ns: what the plan knows of a local picture."""


def left(batch: Batch, progress: Progress) -> int:
    """Return how many rows are still to be staged."""
    return sum(max(rows - progress.staged.get(group, 0), 0) for group, rows in batch.groups.items())


@dataclass(frozen=True, slots=True)
class _Chunk:
    group: str
    number: int


class _Stopped(Exception):
    """Staging is to end before its chunk does; what was uploaded of it is remembered."""


class Staging:
    """Stages what is left of one batch. Several at once do no harm: they write the same bytes to the same keys."""

    def __init__(
        self,
        batch: Batch,
        *,
        bucket: Bucket,
        layout: Layout,
        ledger: Ledger,
        hints: Hints,
        memory: Path | None = None,
    ) -> None:
        """`memory` is the folder in which staged pictures are remembered; None remembers nothing."""
        self._batch = batch
        self._bucket = bucket
        self._layout = layout
        self._ledger = ledger
        self._hints = hints
        self._places: OrderedDict[FileSeen, str] = OrderedDict()
        self._folder = memory
        self._memory = Remembered(None)

    def run(self, stop: Event, on_progress: Callable[[int], None] = lambda _: None) -> bool:
        """Stage until nothing is left, the batch ends, or `stop` is set; True if nothing is left.

        When it stops early for any reason, the batch is paused with reason `staging` (unless it ended).

        Args:
            stop: looked at before each picture and while waiting for the feed.
            on_progress: told how many rows are left, after each chunk.

        Raises:
            StorageError: an upload failed.
            LedgerError: the mark could not be raised.
        """
        done = False
        try:
            with remembered(self._folder) as self._memory:
                done = self._run(stop, on_progress)
        finally:
            if not done:
                self._ledger.set_state(self._batch.id, BatchState.PAUSED, "staging", only_from=(BatchState.OPEN,))
        return done

    def _run(self, stop: Event, on_progress: Callable[[int], None]) -> bool:
        with ThreadPoolExecutor(UPLOADS, thread_name_prefix="staging") as pool:
            while True:
                found = self._ledger.batch(self._batch.id)
                if found is None or found[1].state in ENDED:
                    return True
                progress = found[1]
                rows_left = left(self._batch, progress)
                on_progress(rows_left)
                if not rows_left:
                    return True
                if stop.is_set():
                    return False
                chunk = self._next(progress)
                if chunk is None:
                    stop.wait(_LOOK_S)
                    continue
                try:
                    self._stage(chunk, pool, stop)
                except _Stopped:
                    return False

    def _next(self, progress: Progress) -> _Chunk | None:
        """Return the chunk that the feed will want first, or None while it has enough of everything."""
        ahead = {
            group: progress.staged.get(group, 0) - progress.cursors.get(group, 0)
            for group, rows in self._batch.groups.items()
            if progress.staged.get(group, 0) < rows
        }
        group = min(ahead, key=lambda name: ahead[name])
        if ahead[group] and ahead[group] + self._batch.chunk_rows > AHEAD:
            return None
        return _Chunk(group, progress.staged.get(group, 0) // self._batch.chunk_rows)

    def _stage(self, chunk: _Chunk, pool: ThreadPoolExecutor, stop: Event) -> None:
        batch = self._batch
        source = self._layout.plan(batch.id, batch.round, chunk.group, chunk.number)
        # Not splitlines(): a cell may hold one of the line ends that only Python knows.
        lines = self._bucket.get(source).decode().split("\n")
        rows = [Row.from_line(line) for line in lines if line]
        wanted = dict.fromkeys(seen for row in rows for seen in _local(row))
        new = [seen for seen in wanted if seen not in self._places]

        def upload(seen: FileSeen) -> str:
            if stop.is_set():
                raise _Stopped
            return self._upload(seen)

        for seen, place in zip(new, pool.map(upload, new), strict=True):
            self._places[seen] = place
        text = "".join(f"{_moved(row, self._places).as_line()}\n" for row in rows)
        while len(self._places) > _REMEMBERED:
            self._places.popitem(last=False)
        target = self._layout.staged_plan(batch.id, batch.round, chunk.group, chunk.number)
        crashpoint("pictures-staged")
        self._bucket.put(target, text.encode("utf-8", "backslashreplace"), content_type="application/x-ndjson")
        self._memory.save()
        mark = min(chunk.number * batch.chunk_rows + len(rows), batch.groups[chunk.group])
        crashpoint("chunk-staged")
        self._ledger.stage(batch.id, chunk.group, mark)
        crashpoint("mark-raised")
        self._hints.feed(batch.id, [chunk.group])

    def _upload(self, seen: FileSeen) -> str:
        """Return the `s3://` URI of a picture that is as the plan saw it, else its own `file://` URI."""
        uri, path = seen[0], path_of(seen[0])
        if key := self._known(path, seen):
            return self._layout.uri(self._bucket.name, key)
        data, looks = read_unchanged(path, seen)
        if looks is None:
            return uri
        try:
            picture = inspect(data)
        except PictureError:
            return uri
        key = self._layout.staged(hashlib.sha256(data).hexdigest(), extension(picture.format))
        head = self._bucket.head(key)
        if head is None or head.bytes != len(data):
            self._bucket.put(key, data, content_type=media_type(picture.format))
        self._memory.note(path, looks, key)
        return self._layout.uri(self._bucket.name, key)

    def _known(self, path: Path, seen: FileSeen) -> str:
        """Return the key of a picture that was staged before, is as it was then, and still lies in the bucket."""
        try:
            looks = Looks.of(path.stat())
        except OSError:
            return ""
        if (looks.bytes, looks.mtime) != seen[1:]:
            return ""
        key = self._memory.key_of(path, looks)
        if not key.startswith(f"{self._layout.prefix}inputs/"):  # of another prefix, before a setting was changed
            return ""
        head = self._bucket.head(key)
        return key if head is not None and head.bytes == looks.bytes else ""


def path_of(uri: str) -> Path:
    """Return the path that a `file://` URI names."""
    return Path(unquote(urlsplit(uri).path))


def _local(row: Row) -> Iterator[FileSeen]:
    for uri in row.request.inputs:
        if uri.startswith("file://"):
            size, mtime = row.sizes.get(uri, (-1, -1))
            yield uri, size, mtime


def read_unchanged(path: Path, seen: FileSeen) -> tuple[bytes, Looks | None]:
    """Return a file's bytes and how it looked when they were read; None where it is not as the plan saw it."""
    try:
        with path.open("rb") as file:
            before = Looks.of(os.fstat(file.fileno()))
            data = file.read(seen[1] + 1)  # one that has grown since is not wanted
            after = Looks.of(os.fstat(file.fileno()))
    except OSError:
        return b"", None
    if before != after or (len(data), after.mtime) != seen[1:]:
        return b"", None
    return data, after


def _moved(row: Row, places: Mapping[FileSeen, str]) -> Row:
    if not row.local:
        return row
    by_uri = {seen[0]: places[seen] for seen in _local(row)}
    inputs = tuple(by_uri.get(uri, uri) for uri in row.request.inputs)
    return row._replace(request=replace(row.request, inputs=inputs))
