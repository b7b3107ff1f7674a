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
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from enum import StrEnum
from pathlib import Path

import structlog

from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket, Head
from jobs.errors import Refused
from jobs.known.evidence import asked, listed, of_bytes, of_object, of_url, passed
from jobs.known.line import Known
from jobs.known.state import NameState, place
from jobs.pictures import PictureError, extension, inspect
from jobs.row import Row
from producers.folders import Folders
from producers.remembered import Looks, Remembered, remembered
from producers.staging import path_of, read_unchanged

log = structlog.get_logger(__name__)

_AT_ONCE = 1_000
_CACHE_KIB = 16_384
LEAST_PAGES = 100
ROWS_PER_PAGE = 10
"""Listing gives up where it would take more than a page for this many known rows."""
_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE known (place INTEGER PRIMARY KEY, line TEXT);
CREATE TABLE objects (uri TEXT PRIMARY KEY, etag TEXT, bytes INTEGER, listed INTEGER DEFAULT 0) WITHOUT ROWID;
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


class KnownRows:
    """The rows of one name as they are known; made by `known_rows`, of no use after its `with`. One thread."""

    def __init__(
        self,
        database: sqlite3.Connection,
        memory: Remembered,
        *,
        bucket: Bucket,
        layout: Layout,
        origin: str,
        fresh: bool,
    ) -> None:
        self._database = database
        self._memory = memory
        self._bucket = bucket
        self._layout = layout
        self._origin = origin
        self._fresh = fresh
        self._hashed = 0

    def standing(self, row: Row) -> Standing:
        """Return what a row is beside what is known of it."""
        return self._found(row)[0]

    def unchanged(self, row: Row) -> Known | None:
        """Return what is known of a row that is proved to be unchanged; None for any other."""
        standing, known = self._found(row)
        return known if standing is Standing.UNCHANGED else None

    def gone(self) -> Iterator[Known]:
        """Yield what was published once and lies at its key no more, as far as it was listed."""
        for (line,) in self._database.execute("SELECT line FROM known"):
            known = Known.from_line(line)
            if known.result is not None and known.proves and self._published(known) is Standing.CHANGED:
                yield known

    def load(self, name: str) -> None:
        """Read the state of a name, and list what it speaks of.

        Raises:
            StorageError: the bucket is away.
        """
        lines = NameState(name, self._bucket, self._layout).lines()
        folders, rows = Folders(), 0
        while some := list(itertools.islice(lines, _AT_ONCE)):
            rows += len(some)
            uris = [uri for known in some if known.proves for uri in self._objects_of(known)]
            folders.add(uris, rows)
            with self._database:
                self._database.executemany(
                    "INSERT OR REPLACE INTO known VALUES (?, ?)",
                    [(place(known.output), known.as_line()) for known in some],
                )
                self._database.executemany("INSERT OR IGNORE INTO objects (uri) VALUES (?)", [(uri,) for uri in uris])
        if not self._fresh:
            self._list(folders.found(), budget=max(LEAST_PAGES, rows // ROWS_PER_PAGE) * _AT_ONCE)

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

    def _objects_of(self, known: Known) -> Iterator[str]:
        if known.result is not None:
            yield self._uri(known.result.key)
        yield from filter(None, map(listed, known.inputs))

    def _found(self, row: Row) -> tuple[Standing, Known | None]:
        found = self._database.execute("SELECT line FROM known WHERE place = ?", (place(row.output),)).fetchone()
        known = Known.from_line(found[0]) if found is not None else None
        if known is None or known.output != row.output:
            return Standing.NEW, None
        if self._fresh or known.result is None or known.asked != asked(self._origin, row.request):
            return Standing.CHANGED, known
        if not known.proves:
            return Standing.UNPROVED, known
        standing = self._published(known)
        for uri, evidence in zip(row.request.inputs, known.inputs, strict=True):
            if standing is Standing.UNCHANGED:
                standing = self._input(row, uri, evidence)
        return standing, known

    def _published(self, known: Known) -> Standing:
        """Return whether a result lies where it was published."""
        result = known.result
        if result is None:
            return Standing.CHANGED
        there = self._database.execute(
            "SELECT etag, bytes, listed FROM objects WHERE uri = ?", (self._uri(result.key),)
        ).fetchone()
        if there is None or (there[0] is None and not there[2]):
            return Standing.UNPROVED
        return Standing.UNCHANGED if there[:2] == (result.etag, result.bytes) else Standing.CHANGED

    def _input(self, row: Row, uri: str, evidence: str) -> Standing:
        """Return whether an input still has this evidence."""
        if passed(row.request, uri):
            now = of_url(uri)
        elif uri.startswith("file://"):
            now = of_bytes(self._sha256(row, uri))
        elif uri == listed(evidence):
            etag, seen = self._database.execute("SELECT etag, listed FROM objects WHERE uri = ?", (uri,)).fetchone()
            if etag is None and not seen:
                return Standing.UNPROVED
            now = of_object(uri, etag or "", self._layout, self._bucket.name)
        else:
            now = of_object(uri, "", self._layout, self._bucket.name)
        return Standing.UNCHANGED if now == evidence else Standing.CHANGED

    def _sha256(self, row: Row, uri: str) -> str:
        """Return the sha256 of a local picture, empty where it is not as the plan saw it.

        It is read only where nothing remembers it; staging would have to read it too.
        """
        path, seen = path_of(uri), row.sizes.get(uri, (-1, -1))
        try:
            looks = Looks.of(path.stat())
        except OSError:
            return ""
        if (looks.bytes, looks.mtime) != seen:
            return ""
        sha256 = self._layout.staged_sha256(self._memory.key_of(path, looks))
        if sha256:
            return sha256
        data, read = read_unchanged(path, (uri, *seen))
        if read is None:
            return ""
        sha256 = hashlib.sha256(data).hexdigest()
        try:
            self._memory.note(path, read, self._layout.staged(sha256, extension(inspect(data).format)))
        except PictureError:
            return ""
        self._hashed += 1
        if self._hashed % _AT_ONCE == 0:
            self._memory.save()
        return sha256

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

    Raises:
        StorageError: the bucket is away.
    """
    with (
        tempfile.TemporaryDirectory(prefix="retouch-") as scratch,
        remembered(memory) as pictures,
        closing(sqlite3.connect(Path(scratch) / "known.sqlite3")) as database,
    ):
        database.executescript(_TABLES)
        database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        found = KnownRows(database, pictures, bucket=bucket, layout=layout, origin=origin, fresh=fresh)
        try:
            found.load(name)
        except sqlite3.Error as error:  # a full disk, most likely: what was not noted is left to the workers
            log.warning("not all that is known could be noted", name=name, why=str(error))
        yield found
