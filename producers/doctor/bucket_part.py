"""Looks at the bucket: does to a probe of its own whatever Retouch does to objects, and removes it again.

What lies under the prefix is listed, never touched. Missing rights are told together, in one sentence.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress

from jobs.bucket.conditions import keeps_conditional_deletes
from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket
from jobs.errors import BadCredentials, NotFound, PreconditionFailed, Refused, StorageError, Unavailable
from producers.doctor.findings import Finding, broken, ok, warning

PART = "bucket"
_PROBE = b"retouch doctor was here"
_RIGHTS = {
    "list": "s3:ListBucket",
    "write": "s3:PutObject",
    "read": "s3:GetObject",
    "copy": "s3:GetObject and s3:PutObject",
    "delete": "s3:DeleteObject",
}


def look_at_bucket(bucket: Bucket, layout: Layout, others: Sequence[str] = ()) -> list[Finding]:
    """Return what is to be said of the bucket, and of the `others` that pictures are read from."""
    probe = _Probe(bucket, f"{layout.prefix}doctor/{secrets.token_hex(8)}")
    found = probe.findings()
    return found + [_readable(bucket, other) for other in others if other != bucket.name]


class _Probe:
    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket = bucket
        self._key = key
        self._refused: list[str] = []
        self._may: list[str] = []

    def findings(self) -> list[Finding]:
        try:
            # The list comes first: some stores make a missing bucket at the first PUT.
            self._try("list", lambda: next(self._bucket.keys(self._key, limit=1), None))
            written = self._try("write", lambda: self._bucket.put(self._key, _PROBE, content_type="text/plain"))
            if written:
                self._with_object()
        except StorageError as error:
            return [_trouble(error)]
        finally:
            self._remove()
        return [*self._rights(), *self._condition]

    _condition: tuple[Finding, ...] = ()

    def _with_object(self) -> None:
        self._try("read", self._read)
        self._try("copy", lambda: self._bucket.copy(self._key, self._copy, metadata={"retouch-probe": "ü"}))
        self._condition = (self._conditional(),)
        if self._try("delete", lambda: self._bucket.delete(self._key)):
            self._condition += self._conditional_delete()

    @property
    def _copy(self) -> str:
        return f"{self._key}.copy"

    def _read(self) -> None:
        if self._bucket.head(self._key) is None or self._bucket.get(self._key) != _PROBE:
            raise NotFound("what was written a moment ago is not there")

    def _conditional(self) -> Finding:
        try:
            self._bucket.put(self._key, _PROBE, content_type="text/plain", if_absent=True)
        except PreconditionFailed:
            return ok(PART, "It honours conditional writes.")
        except Unavailable:
            raise
        except StorageError:
            pass
        sentence = "The store does not honour conditional writes: two workers could file two results over each other."
        return warning(PART, sentence, "Use a store that knows If-None-Match (AWS, SeaweedFS, Ceph 19, MinIO do).")

    def _conditional_delete(self) -> tuple[Finding, ...]:
        if keeps_conditional_deletes(self._bucket, self._key):
            return ()
        sentence = "The store does not honour conditional deletes: files that were taken stay in the inbox."
        remedy = "Remove each by hand once its receipt lies beside it; it is not taken twice. Nothing else needs them."
        return (warning(PART, sentence, remedy),)

    def _try(self, right: str, deed: Callable[[], object]) -> bool:
        try:
            deed()
        except (BadCredentials, PreconditionFailed, Unavailable):
            raise
        except Refused as error:
            if "credentials" not in str(error):  # not about rights: no such bucket, another region
                raise
            self._refused.append(right)
            return False
        self._may.append(right)
        return True

    def _rights(self) -> list[Finding]:
        name = self._bucket.name
        if not self._refused:
            return [ok(PART, f"s3://{name} can be listed, written, read, copied in and deleted from.")]
        rights = " and ".join(dict.fromkeys(_RIGHTS[right] for right in self._refused))
        sentence = f"These credentials may not {_listed(self._refused)} in s3://{name}."
        return [broken(PART, sentence, f"Give them {rights} on the bucket.")]

    def _remove(self) -> None:
        for key in (self._key, self._copy):
            with suppress(StorageError):
                self._bucket.delete(key)


def _trouble(error: StorageError) -> Finding:
    text = str(error)
    what, _, remedy = text.rpartition("; ")
    if not what:
        what, remedy = text, "check RETOUCH_S3__ENDPOINT_URL, and that the store runs"
    return broken(PART, f"{what[0].upper()}{what[1:]}.", f"{remedy[0].upper()}{remedy[1:]}.")


def _readable(bucket: Bucket, other: str) -> Finding:
    part = f"{PART} {other}"
    try:
        bucket.head("retouch-doctor", bucket=other)
    except StorageError:
        sentence = f"Pictures cannot be read from s3://{other} with these credentials."
        return broken(part, sentence, "Give them s3:GetObject and s3:ListBucket on it, or correct the bucket's name.")
    return ok(part, f"s3://{other} can be read from.")


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
