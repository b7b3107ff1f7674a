"""The bucket as everybody else sees it: objects by key, and errors that say whether to try again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What the store says of an object without sending it. Metadata is ASCII in S3; ours is percent-encoded."""

    key: str
    bytes: int
    etag: str = ""
    content_type: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    modified: float = 0.0
    """When the object was written, in epoch seconds by the store's clock; only a listing says so, else it is 0."""


@dataclass(frozen=True, slots=True)
class Read:
    """An object's bytes, and the ETag that they had: empty where the store gave none."""

    data: bytes
    etag: str


class Bucket(Protocol):
    """One bucket, and read access to others.

    Every method raises `jobs.errors.NotFound`, `Refused` (with `PreconditionFailed`) or `Unavailable`.
    """

    @property
    def name(self) -> str:
        """The bucket's name."""

    def get(self, key: str, *, bucket: str = "", max_bytes: int | None = None) -> bytes:
        """Return an object; more than `max_bytes` raises `TooLarge`. `bucket` names another one."""

    def read(self, key: str, *, bucket: str = "", max_bytes: int | None = None) -> Read:
        """Return an object as `get` does, with its ETag."""

    def head(self, key: str, *, bucket: str = "") -> Head | None:
        """Return what the store knows of an object, or None where there is none."""

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

    def put_file(self, key: str, path: Path, *, content_type: str = "application/octet-stream") -> None:
        """Write a file as an object, without holding it in memory."""

    def download(self, key: str, path: Path, *, if_match: str = "") -> None:
        """Write an object into a file, without holding it in memory.

        `PreconditionFailed` where it is not the object of the ETag `if_match`.
        """

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
        """Copy an object within the bucket and return the copy's ETag; with `metadata` its metadata is replaced.

        `PreconditionFailed` where something lies at the target with `if_absent`, or anything else than the object of
        the ETag `if_match`, or anything else at the source than that of `if_source`. Not every store keeps these
        conditions, nor says so.
        """

    def keys(self, prefix: str, *, limit: int | None = None, bucket: str = "") -> Iterator[Head]:
        """Yield what lies under a prefix, in the order of keys. `bucket` names another one."""

    def delete(self, key: str, *, if_match: str = "") -> None:
        """Remove an object; nothing happens where there is none.

        With `if_match` only the object of that ETag goes, else `PreconditionFailed` (or `NotFound`) is raised. Not
        every store keeps that, nor says so.
        """
