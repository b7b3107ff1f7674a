"""What is known of a name's rows before a plan: which are new, which have changed, which are proved to be unchanged.

A row is unchanged when it asks for what it asked for, of inputs that have the same evidence, and a listing shows our
object at its output key with the ETag and the length that it was published with. That takes one request for a
thousand objects, none for a row. What cannot be proved in this way is left to a worker, which looks at it and buys
nothing that is filed.

The state is read into a file beside the listing, so memory does not grow with the name.
"""

from __future__ import annotations

import hashlib
import itertools
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any

import structlog

from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket, Head
from jobs.errors import NotFound, Refused
from jobs.events import Unchanged
from jobs.job import Job, Result
from jobs.known.evidence import asked, listed, of_object, of_url, passed
from jobs.known.line import Known
from jobs.known.state import NameState, place
from jobs.outcome import outcome
from jobs.pictures import MAX_BYTES, PictureError, extension, identity, inspect
from jobs.request import fingerprint
from jobs.row import Row
from jobs.states import apply
from producers.folders import Folders
from producers.remembered import Looks, Remembered, remembered
from producers.staging import path_of, read_unchanged

log = structlog.get_logger(__name__)

_AT_ONCE = 1_000
_READS = 8
"""Inputs that are read side by side."""
_CACHE_KIB = 16_384
LEAST_PAGES = 100
ROWS_PER_PAGE = 10
"""Listing gives up where it would take more than a page for this many known rows."""
_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE known (place INTEGER PRIMARY KEY, uri TEXT, etag TEXT, bytes INTEGER, line TEXT);
CREATE TABLE objects (uri TEXT PRIMARY KEY, etag TEXT, bytes INTEGER, listed INTEGER DEFAULT 0) WITHOUT ROWID;
"""
_GONE = """
SELECT line FROM known JOIN objects ON objects.uri = known.uri
WHERE objects.listed AND (objects.etag IS NOT known.etag OR objects.bytes IS NOT known.bytes)
"""


class Standing(StrEnum):
    """What a row is beside what is known of its output key."""

    NEW = "new"
    """Nothing was ever tried for this key."""
    CHANGED = "changed"
    """It asks for something else, an input or the output is not what it was, or it never made it."""
    UNPROVED = "unproved"
    """It asks for the same, and only a worker can tell whether its inputs and its output are what they were."""
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A row that is proved to be unchanged. Its local pictures are named as they were staged."""

    row: Row
    known: Known
    result: Result

    def outcome(self, batch: str, at: float) -> dict[str, Any]:
        """Return the outcome that a worker would have come to."""
        job = Job(order=self.row.order(batch), queued_at=at)
        event = Unchanged(result=self.result, fingerprint=self.known.fingerprint, how="kept", inputs=self.known.inputs)
        return outcome(apply(job, event, at))


class KnownRows:
    """The rows of one name as they are known; made by `known_rows`, of no use after its `with`. One thread.

    Raises:
        StorageError: from any method, where the bucket is away.
    """

    def __init__(
        self,
        name: str,
        database: sqlite3.Connection,
        pictures: Callable[[], Remembered],
        *,
        bucket: Bucket,
        layout: Layout,
        origin: str,
        fresh: bool,
    ) -> None:
        self._database = database
        self._pictures = pictures
        self._bucket = bucket
        self._layout = layout
        self._origin = origin
        self._fresh = fresh
        self._hashed = 0
        self._rows = 0
        self._unread = name

    @property
    def nothing(self) -> bool:
        """Whether nothing is known of any row."""
        self._read()
        return not self._rows

    def standing(self, row: Row) -> Standing:
        """Return what a row is beside what is known of it."""
        return self._found(row)[0]

    def settled(self, row: Row) -> Settled | None:
        """Return what settles a row that is proved to be unchanged; None for any other."""
        return self._found(row)[1]

    def repainted(self, rows: Sequence[Row]) -> list[Row]:
        """Return those rows, of some that were done before, whose inputs show something else now.

        Inputs whose evidence is another one are read to see: tools rewrite the metadata of many a file. One that cannot
        be read counts as another.
        """
        touched = [(row, known) for row in rows if (known := self._touched(row)) is not None]
        with ThreadPoolExecutor(_READS, thread_name_prefix="inputs") as pool:
            same = list(pool.map(lambda one: self._fingerprint(one[0]) == one[1].fingerprint, touched))
        return [row for (row, _), is_same in zip(touched, same, strict=True) if not is_same]

    def gone(self) -> Iterator[Known]:
        """Yield what was published once and lies at its key no more, as far as it was listed."""
        self._read()
        for (line,) in self._database.execute(_GONE):
            yield Known.from_line(line)

    def _read(self) -> None:
        """Read the state, when it is first asked for: a manifest may turn out to be none."""
        if not self._unread:
            return
        name, self._unread = self._unread, ""
        try:
            self._load(name)
        except sqlite3.Error as error:  # a full disk, most likely: what was not noted is left to the workers
            log.warning("not all that is known could be noted", name=name, why=str(error))

    def _load(self, name: str) -> None:
        """Note the lines of a state, and list what they speak of."""
        lines = NameState(name, self._bucket, self._layout).lines()
        folders = Folders()
        while some := list(itertools.islice(lines, _AT_ONCE)):
            self._rows += len(some)
            uris = [uri for known in some if known.proves for uri in self._objects_of(known)]
            folders.add(uris, self._rows)
            with self._database:
                self._database.executemany(
                    "INSERT OR REPLACE INTO known VALUES (?, ?, ?, ?, ?)", [self._entry(known) for known in some]
                )
                self._database.executemany("INSERT OR IGNORE INTO objects (uri) VALUES (?)", [(uri,) for uri in uris])
        if not self._fresh:
            self._list(folders.found(), budget=max(LEAST_PAGES, self._rows // ROWS_PER_PAGE) * _AT_ONCE)

    def _list(self, folders: Iterable[str], budget: int) -> None:
        """Note what lies in these folders, until so many objects were listed."""
        for folder in folders:
            bucket, _, prefix = folder.removeprefix("s3://").partition("/")
            try:
                heads = self._bucket.keys(prefix, bucket=bucket)
                while some := list(itertools.islice(heads, _AT_ONCE)):
                    self._note(bucket, some)
                    budget -= len(some)
                    if budget < 0:
                        log.info("rows are left to the workers: too much else lies beside them", folder=folder)
                        return
            except Refused as error:
                log.info("rows are left to the workers", folder=folder, why=str(error))
                continue
            with self._database:
                self._database.execute(
                    "UPDATE objects SET listed = 1 WHERE uri >= ? AND uri < ?",
                    (folder, folder[:-1] + chr(ord("/") + 1)),
                )

    def _note(self, bucket: str, heads: Iterable[Head]) -> None:
        with self._database:
            self._database.executemany(
                "UPDATE objects SET etag = ?, bytes = ? WHERE uri = ?",
                [(head.etag, head.bytes, f"s3://{bucket}/{head.key}") for head in heads],
            )

    def _entry(self, known: Known) -> tuple[int, str | None, str | None, int | None, str]:
        result = known.result if known.proves else None
        at = (self._uri(result.key), result.etag, result.bytes) if result is not None else (None, None, None)
        return place(known.output), *at, known.as_line()

    def _objects_of(self, known: Known) -> Iterator[str]:
        if known.result is not None:
            yield self._uri(known.result.key)
        yield from filter(None, map(listed, known.inputs))

    def _line(self, row: Row) -> Known | None:
        if self.nothing:
            return None
        found = self._database.execute("SELECT line FROM known WHERE place = ?", (place(row.output),)).fetchone()
        known = Known.from_line(found[0]) if found is not None else None
        return known if known is not None and known.output == row.output else None

    def _found(self, row: Row) -> tuple[Standing, Settled | None]:
        known = self._line(row)
        if known is None:
            return Standing.NEW, None
        if self._fresh or known.result is None or known.asked != asked(self._origin, row.request):
            return Standing.CHANGED, None
        if not known.proves:
            return Standing.UNPROVED, None
        standing = self._published(known.result)
        inputs = []
        for uri, evidence in zip(row.request.inputs, known.inputs, strict=True):
            if standing is not Standing.UNCHANGED:
                return standing, None
            standing, staged = self._input(row, uri, evidence)
            inputs.append(staged)
        if standing is not Standing.UNCHANGED:
            return standing, None
        asks = replace(row.request, inputs=tuple(inputs))
        return standing, Settled(row=row._replace(request=asks), known=known, result=known.result)

    def _touched(self, row: Row) -> Known | None:
        """Return what is known of a row that asks for what it asked for, of inputs with other evidence."""
        known = self._line(row)
        if known is None or not known.proves or known.asked != asked(self._origin, row.request):
            return None
        inputs = zip(row.request.inputs, known.inputs, strict=True)
        return known if any(self._input(row, *one)[0] is Standing.CHANGED for one in inputs) else None

    def _fingerprint(self, row: Row) -> str:
        """Return the fingerprint that a row has now; empty where an input cannot be read."""
        identities = []
        for uri in row.request.inputs:
            if passed(row.request, uri):
                identities.append(uri)
                continue
            try:
                identities.append(identity(self._bytes(row, uri)))
            except (NotFound, Refused):
                return ""
        return fingerprint(self._origin, row.request, identities)

    def _bytes(self, row: Row, uri: str) -> bytes:
        if uri.startswith("file://"):
            data, looks = read_unchanged(path_of(uri), (uri, *row.sizes.get(uri, (-1, -1))))
            if looks is None:
                raise NotFound(uri)
            return data
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return self._bucket.get(key, bucket=bucket, max_bytes=MAX_BYTES)

    def _published(self, result: Result) -> Standing:
        """Return whether a result lies where it was published."""
        there = self._database.execute(
            "SELECT etag, bytes, listed FROM objects WHERE uri = ?", (self._uri(result.key),)
        ).fetchone()
        if there is None or (there[0] is None and not there[2]):
            return Standing.UNPROVED
        return Standing.UNCHANGED if there[:2] == (result.etag, result.bytes) else Standing.CHANGED

    def _input(self, row: Row, uri: str, evidence: str) -> tuple[Standing, str]:
        """Return whether an input still has this evidence, and where it lies: a local picture was staged once."""
        if passed(row.request, uri):
            now = of_url(uri)
        elif uri.startswith("file://"):
            key = self._staged(row, uri)
            uri = self._uri(key) if key else uri
            now = of_object(uri, "", self._layout, self._bucket.name)
        elif uri == listed(evidence):
            etag, seen = self._database.execute("SELECT etag, listed FROM objects WHERE uri = ?", (uri,)).fetchone()
            if etag is None and not seen:
                return Standing.UNPROVED, uri
            now = of_object(uri, etag or "", self._layout, self._bucket.name)
        else:
            now = of_object(uri, "", self._layout, self._bucket.name)
        return Standing.UNCHANGED if now == evidence else Standing.CHANGED, uri

    def _staged(self, row: Row, uri: str) -> str:
        """Return the key under which a local picture is staged, empty where it is not as the plan saw it.

        It is read only where nothing remembers it; staging would have to read it too.
        """
        path, seen = path_of(uri), row.sizes.get(uri, (-1, -1))
        try:
            looks = Looks.of(path.stat())
        except OSError:
            return ""
        if (looks.bytes, looks.mtime) != seen:
            return ""
        memory = self._pictures()
        key = memory.key_of(path, looks)
        if self._layout.staged_sha256(key):
            return key
        data, read = read_unchanged(path, (uri, *seen))
        if read is None:
            return ""
        try:
            key = self._layout.staged(hashlib.sha256(data).hexdigest(), extension(inspect(data).format))
        except PictureError:
            return ""
        memory.note(path, read, key)
        self._hashed += 1
        if self._hashed % _AT_ONCE == 0:
            memory.save()
        return key

    def _uri(self, key: str) -> str:
        return self._layout.uri(self._bucket.name, key)


@contextmanager
def known_rows(
    name: str, *, bucket: Bucket, layout: Layout, origin: str, memory: Path | None = None, fresh: bool = False
) -> Iterator[KnownRows]:
    """Open what is known of a name's rows.

    Args:
        name: the batch's.
        bucket: where the state and the outputs lie.
        layout: under which keys.
        origin: the name under which results are filed: another API's rows are not the same.
        memory: the folder in which local pictures are remembered.
        fresh: every row is to be bought anew, so none is unchanged.
    """
    with (
        tempfile.TemporaryDirectory(prefix="retouch-") as scratch,
        ExitStack() as stack,
        closing(sqlite3.connect(Path(scratch) / "known.sqlite3")) as database,
    ):
        database.executescript(_TABLES)
        database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")

        @cache
        def pictures() -> Remembered:
            """Open the memory when the first local picture is met: it makes a folder."""
            return stack.enter_context(remembered(memory))

        yield KnownRows(name, database, pictures, bucket=bucket, layout=layout, origin=origin, fresh=fresh)
