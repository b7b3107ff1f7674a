"""Stand-ins for unit tests of the steps: a bucket in memory.

It passes the same tests as the real one (`tests/integration/test_bucket.py`), so a step that works over it works over
S3. What S3 servers do differently from each other is a choice here: `conditional`.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from jobs.bucket.port import Head, Read
from jobs.errors import NotFound, PreconditionFailed, Refused, StorageError, TooLarge
from jobs.job import Charge

Conditional = Literal["kept", "ignored", "refused"]


class FakeBucket:
    """`jobs.bucket.port.Bucket` in memory; any number of threads may use it at once.

    `conditional` is what a conditional PUT, copy or DELETE meets: it is kept, it is ignored (the object is replaced or
    removed), it is refused as not implemented. `failing` maps the name of a method to the error that it raises from now
    on; `calls` lists what was asked: method and key.
    """

    def __init__(self, name: str = "bucket", *, conditional: Conditional = "kept") -> None:
        self._name = name
        self._conditional = conditional
        self._lock = threading.Lock()
        self._objects: dict[tuple[str, str], tuple[Head, bytes]] = {}
        self.failing: dict[str, StorageError] = {}
        self.calls: list[tuple[str, str]] = []
        self.modified = 0.0
        """When what is written from now on was written, in epoch seconds."""

    @property
    def name(self) -> str:
        """The bucket's name."""
        return self._name

    def get(self, key: str, *, bucket: str = "", max_bytes: int | None = None) -> bytes:
        """Return an object; more than `max_bytes` raises `TooLarge`."""
        return self.read(key, bucket=bucket, max_bytes=max_bytes).data

    def read(self, key: str, *, bucket: str = "", max_bytes: int | None = None) -> Read:
        """Return an object as `get` does, with its ETag."""
        self._asked("get", key)
        head, data = self._at(key, bucket)
        if max_bytes is not None and len(data) > max_bytes:
            raise TooLarge(f"{key}: larger than the {max_bytes} bytes that are taken here")
        return Read(data, head.etag)

    def head(self, key: str, *, bucket: str = "") -> Head | None:
        """Return what is known of an object, or None where there is none."""
        self._asked("head", key)
        found = self._objects.get((bucket or self._name, key))
        return found[0] if found else None

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
        self._asked("put", key)
        if if_absent and self._conditional == "refused":
            raise Refused(f"{key} cannot be written: the store does not know this request")
        with self._lock:
            if if_absent and self._conditional == "kept" and (self._name, key) in self._objects:
                raise PreconditionFailed(f"{key}: something lies there already")
            return self._write(self._name, key, data, content_type, dict(metadata or {}))

    def put_file(self, key: str, path: Path, *, content_type: str = "application/octet-stream") -> None:
        """Write a file as an object."""
        data = path.read_bytes()
        self._asked("put_file", key)
        with self._lock:
            self._write(self._name, key, data, content_type, {})

    def download(self, key: str, path: Path, *, if_match: str = "") -> None:
        """Write an object into a file; one of another ETag than `if_match` raises `PreconditionFailed`."""
        self._asked("download", key)
        head, data = self._at(key)
        if if_match not in ("", head.etag):
            raise PreconditionFailed(f"{key}: something else lies there already")
        path.write_bytes(data)

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
        """Copy an object and return the copy's ETag; what is not given is the source's."""
        self._asked("copy", target)
        if (if_absent or if_match) and self._conditional == "refused":
            raise Refused(f"{target} cannot be copied to: the store does not know this request")
        with self._lock:
            there = self._objects.get((self._name, target))
            wrong = there is not None if if_absent else bool(if_match) and (there is None or there[0].etag != if_match)
            if wrong and self._conditional == "kept":
                raise PreconditionFailed(f"{target}: something else lies there already")
            head, data = self._at(source)
            if if_source not in ("", head.etag) and self._conditional == "kept":
                raise PreconditionFailed(f"{source}: something else lies there now")
            known = head.metadata if metadata is None else metadata
            return self._write(self._name, target, data, content_type or head.content_type, dict(known))

    def keys(self, prefix: str, *, limit: int | None = None, bucket: str = "") -> Iterator[Head]:
        """Yield what lies under a prefix, in the order of keys, without metadata."""
        self._asked("keys", prefix)
        with self._lock:
            wanted = bucket or self._name
            found = sorted(key for place, key in self._objects if place == wanted and key.startswith(prefix))
        for key in itertools.islice(found, limit):
            head, _ = self._at(key, bucket)
            yield Head(key=key, bytes=head.bytes, etag=head.etag, modified=head.modified)

    def delete(self, key: str, *, if_match: str = "") -> None:
        """Remove an object; nothing happens where there is none, but `if_match` is not met by it."""
        self._asked("delete", key)
        if if_match and self._conditional == "refused":
            raise Refused(f"{key} cannot be deleted: the store does not know this request")
        with self._lock:
            there = self._objects.get((self._name, key))
            if if_match and self._conditional == "kept" and (there is None or there[0].etag != if_match):
                raise PreconditionFailed(f"{key}: something else lies there already")
            self._objects.pop((self._name, key), None)

    def lay(self, key: str, data: bytes, *, bucket: str = "", metadata: Mapping[str, str] | None = None) -> None:
        """Put an object where a test wants it, in any bucket, without its showing in `calls`."""
        with self._lock:
            self._write(bucket or self._name, key, data, "application/octet-stream", dict(metadata or {}))

    def _asked(self, method: str, key: str) -> None:
        self.calls.append((method, key))
        if method in self.failing:
            raise self.failing[method]

    def _at(self, key: str, bucket: str = "") -> tuple[Head, bytes]:
        try:
            return self._objects[bucket or self._name, key]
        except KeyError:
            raise NotFound(f"{key}: nothing lies there") from None

    def _write(self, bucket: str, key: str, data: bytes, content_type: str, metadata: Mapping[str, str]) -> str:
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        head = Head(
            key=key,
            bytes=len(data),
            etag=etag,
            content_type=content_type,
            metadata=metadata,
            modified=self.modified,
        )
        self._objects[bucket, key] = (head, data)
        return etag


def charged(cost: int, source: str = "receipt", attempt: int = 1) -> tuple[Charge, ...]:
    """Return the charges of a job of which one submission is known to have cost something."""
    return (Charge(attempt=attempt, day="2026-11-22", key_id="k1", cost=cost, source=source),)
