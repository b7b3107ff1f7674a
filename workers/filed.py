"""What is known of a filed result, and how it is written down in the metadata of its objects.

An object at an output key is **ours** when its metadata names that very key and its own length. S3 drops metadata when
new bytes are PUT, a copy to elsewhere takes the old key's name along, and a program that carries metadata over an edit
does not get the length right: all three are somebody else's, and are left alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal

from jobs.bucket.port import Head
from jobs.job import Result
from jobs.pictures import Format

_JOB, _BATCH, _KEY = "retouch-job", "retouch-batch", "retouch-key"
_FINGERPRINT, _SHA256, _BYTES = "retouch-fingerprint", "retouch-sha256", "retouch-bytes"
_FORMAT, _WIDTH, _HEIGHT = "retouch-format", "retouch-width", "retouch-height"
_FORMATS: dict[str, Format] = {"jpeg": "jpeg", "png": "png", "webp": "webp"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filed:
    """A filed result and what is known of it: `job` of `batch` delivered it (both empty where nobody wrote it down)."""

    key: str
    fingerprint: str
    sha256: str
    bytes: int
    format: Format
    width: int
    height: int
    job: str = ""
    batch: str = ""
    etag: str = field(default="", compare=False)
    """The store's mark of its object, where that was written just now: it need not be looked at."""

    def published(self, at: Published) -> Result:
        """Return the result as it is known outside: what was filed, and where it was published."""
        return Result(
            key=at.key,
            sha256=self.sha256,
            bytes=self.bytes,
            format=self.format,
            width=self.width,
            height=self.height,
            replaced_sha256=at.replaced_sha256,
            etag=at.etag,
        )

    def metadata(self) -> dict[str, str]:
        """Return what is written to the filed object beside its bytes."""
        return self._delivered_by(self.job) | {_BATCH: self.batch}

    def metadata_at(self, key: str, job: str) -> dict[str, str]:
        """Return what is written to the copy of it at an output key, for the job that publishes it."""
        return self._delivered_by(job) | {_KEY: _named(key)}

    def _delivered_by(self, job: str) -> dict[str, str]:
        return {
            _JOB: job,
            _FINGERPRINT: self.fingerprint,
            _SHA256: self.sha256,
            _BYTES: str(self.bytes),
            _FORMAT: self.format,
            _WIDTH: str(self.width),
            _HEIGHT: str(self.height),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Where a result was published. `replaced_sha256` is that of our own earlier object there, else empty; `etag` is
    the store's mark of these bytes."""

    key: str
    replaced_sha256: str = ""
    etag: str = ""
    how: Literal["copied", "kept"]


def recorded(head: Head, fingerprint: str) -> Filed | None:
    """Return what an object's metadata says, or None where it is not ours or not about these bytes."""
    meta = head.metadata
    if meta.get(_FINGERPRINT) != fingerprint or meta.get(_BYTES) != str(head.bytes) or not meta.get(_SHA256):
        return None
    try:
        return Filed(
            key=head.key,
            fingerprint=fingerprint,
            sha256=meta[_SHA256],
            bytes=head.bytes,
            format=_FORMATS[meta[_FORMAT]],
            width=int(meta[_WIDTH]),
            height=int(meta[_HEIGHT]),
            job=meta.get(_JOB, ""),
            batch=meta.get(_BATCH, ""),
        )
    except (KeyError, ValueError):
        return None


def ours(head: Head, key: str) -> bool:
    """Whether Retouch wrote what lies at an output key, and nobody wrote there since."""
    return names(head, key) and head.metadata.get(_BYTES) == str(head.bytes) and bool(sha256_of(head))


def names(head: Head, key: str) -> bool:
    """Whether an object's metadata says that it was published to this key."""
    return head.metadata.get(_KEY) == _named(key)


def same_edit(head: Head, fingerprint: str, sha256: str) -> bool:
    """Whether one of our objects is of this edit, and has these bytes, unless the hash is empty."""
    return head.metadata.get(_FINGERPRINT) == fingerprint and sha256 in ("", sha256_of(head))


def sha256_of(head: Head) -> str:
    """Return the hash of an object's bytes as its metadata says it; empty where that is silent."""
    return head.metadata.get(_SHA256, "")


def _named(key: str) -> str:
    """Return what stands for a key in metadata: S3 gives 2 kB to all of it, and a key may have 1 kB before encoding."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:32]
