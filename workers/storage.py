"""Whether storage answers, known to all threads of a process: while it is away nobody waits for it in vain.

The store is away after a few calls in a row that found nobody, or when one has been hanging and none has come back.
From then on every call fails at once, and one probe at a time finds out when it is back.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import structlog

from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket, Head, Read
from jobs.errors import StorageError, Unavailable

FAILURES = 3
"""So many calls in a row that found nobody, and storage is away."""

HANGS_S = 5.0
"""A call that hangs for so long while no other one comes back, and storage is away."""

_NOTE = b"Retouch wrote this to learn whether the store is back. It may be deleted.\n"

log = structlog.get_logger(__name__)


class Storage:
    """What one process knows of its store. Any number of threads may use it at once."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._calls = itertools.count()
        self._under_way: dict[int, float] = {}
        self._answered_at = clock()
        self._failures = 0
        self._trouble = ""
        self.probe: Callable[[], None] = lambda: None
        """Writes a note into the store; raises StorageError where that cannot be done."""

    @property
    def trouble(self) -> str:
        """Why storage counts as away; empty while it does not."""
        with self._lock:
            self._look_for_hanging()
            return self._trouble

    def look(self) -> bool:
        """Ask a store that is away whether it can be written again, and return whether it can."""
        try:
            self.probe()
        except StorageError:
            return False
        with self._lock:
            log.warning("storage is back")
            self._trouble, self._failures, self._answered_at = "", 0, self._clock()
        return True

    @contextmanager
    def asking(self, *, lasts: bool = False) -> Iterator[None]:
        """Run one call to the store, or raise Unavailable at once; `lasts` is one that may take its time."""
        number = next(self._calls)
        with self._lock:
            self._look_for_hanging()
            if self._trouble:
                raise Unavailable(f"storage is away: {self._trouble}")
            if not lasts:
                self._under_way[number] = self._clock()
        try:
            yield
        except Unavailable as error:
            self._failed(str(error))
            raise
        except StorageError:  # an answer, too
            self._answered()
            raise
        else:
            self._answered()
        finally:
            with self._lock:
                self._under_way.pop(number, None)

    def _answered(self) -> None:
        with self._lock:
            self._failures, self._answered_at = 0, self._clock()

    def _failed(self, why: str) -> None:
        with self._lock:
            self._failures += 1
            if self._failures >= FAILURES:
                self._is_away(why)

    def _look_for_hanging(self) -> None:
        oldest = min(self._under_way.values(), default=None)
        if oldest is not None and self._clock() - max(oldest, self._answered_at) > HANGS_S:
            self._is_away(f"no answer for {HANGS_S:g} s")

    def _is_away(self, why: str) -> None:
        if not self._trouble:
            log.warning("storage is away", why=why)
            self._trouble = why


class WatchedBucket:
    """A `jobs.bucket.port.Bucket` whose calls tell `storage` how it is, and fail at once while it is away."""

    def __init__(self, bucket: Bucket, storage: Storage, layout: Layout) -> None:
        self._bucket = bucket
        self._storage = storage
        self._key = f"{layout.prefix}probe/back"
        storage.probe = self._probe

    @property
    def name(self) -> str:
        """The bucket's name."""
        return self._bucket.name

    def _probe(self) -> None:
        self._bucket.put(self._key, _NOTE, content_type="text/plain")

    def get(self, key: str, *, bucket: str = "", max_bytes: int | None = None) -> bytes:
        """Return an object; see `jobs.bucket.port.Bucket.get`."""
        with self._asking(bucket):
            return self._bucket.get(key, bucket=bucket, max_bytes=max_bytes)

    def read(self, key: str, *, bucket: str = "", max_bytes: int | None = None) -> Read:
        """Return an object as `get` does, with its ETag."""
        with self._asking(bucket):
            return self._bucket.read(key, bucket=bucket, max_bytes=max_bytes)

    def head(self, key: str, *, bucket: str = "") -> Head | None:
        """Return what the store knows of an object, or None where there is none."""
        with self._asking(bucket):
            return self._bucket.head(key, bucket=bucket)

    def put(
        self,
        key: str,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
    ) -> str:
        """Write an object and return its ETag; with `if_absent` raise `PreconditionFailed` where there is one."""
        with self._storage.asking():
            return self._bucket.put(key, data, content_type=content_type, metadata=metadata, if_absent=if_absent)

    def put_file(self, key: str, path: Path, *, content_type: str = "application/octet-stream") -> None:
        """Write a file as an object, without holding it in memory."""
        with self._storage.asking(lasts=True):
            self._bucket.put_file(key, path, content_type=content_type)

    def download(self, key: str, path: Path, *, if_match: str = "") -> None:
        """Write an object into a file; see `jobs.bucket.port.Bucket.download`."""
        with self._storage.asking(lasts=True):
            self._bucket.download(key, path, if_match=if_match)

    def copy(
        self,
        source: str,
        target: str,
        *,
        content_type: str = "",
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
        if_match: str = "",
        if_source: str = "",
    ) -> str:
        """Copy an object within the bucket; see `jobs.bucket.port.Bucket.copy`."""
        with self._storage.asking():
            return self._bucket.copy(
                source,
                target,
                content_type=content_type,
                metadata=metadata,
                if_absent=if_absent,
                if_match=if_match,
                if_source=if_source,
            )

    def keys(self, prefix: str, *, limit: int | None = None, bucket: str = "") -> Iterator[Head]:
        """Yield what lies under a prefix, in the order of keys; see `jobs.bucket.port.Bucket.keys`."""
        with self._asking(bucket, lasts=True):
            yield from self._bucket.keys(prefix, limit=limit, bucket=bucket)

    def delete(self, key: str, *, if_match: str = "") -> None:
        """Remove an object; see `jobs.bucket.port.Bucket.delete`."""
        with self._storage.asking():
            self._bucket.delete(key, if_match=if_match)

    def _asking(self, bucket: str, *, lasts: bool = False) -> AbstractContextManager[None]:
        """Watch a call to our own bucket; another one may be away by itself."""
        return self._storage.asking(lasts=lasts) if bucket in ("", self.name) else nullcontext()
