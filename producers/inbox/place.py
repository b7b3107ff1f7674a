"""Where things lie in the inbox: uploads, their receipts, and where they go when they were answered.

Everything that ends like a manifest is one; what else lies there (pictures, receipts) is left alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket
from producers.manifest.output import batch_name, slug

DONE, REFUSED, TAKEN = "done/", "refused/", ".taken/"
RECEIPT = ".receipt.json"
_ENDING = re.compile(r"\.(?:(?:csv|tsv|txt|jsonl|ndjson|json)(?:\.gz)?|xls[xm]|parquet)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A manifest in the inbox. Another ETag under the same key is another upload."""

    key: str
    etag: str
    inbox: str

    @property
    def token(self) -> str:
        """Twelve hex digits that stand for key and ETag."""
        return hashlib.sha256(f"{self.key}\n{self.etag}".encode("utf-8", "surrogatepass")).hexdigest()[:12]

    @property
    def file_name(self) -> str:
        """The name without folders."""
        return self.key.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """The folder's key, with its slash."""
        return self.key[: len(self.key) - len(self.file_name)]

    @property
    def name(self) -> str:
        """The batch's name: folders below the inbox count, so that two teams never publish over each other."""
        folders = [slug(part) for part in self.folder[len(self.inbox) :].split("/") if part]
        return "-".join([*folders, batch_name(Path(self.file_name))])

    @property
    def receipt(self) -> str:
        """The key of its receipt, beside it; the token tells versions of one file apart."""
        return f"{self.key}.{self.token[:8]}{RECEIPT}"

    @property
    def taken(self) -> str:
        """The key of the note that says when it was first seen."""
        return f"{self.inbox}{TAKEN}{self.token}.json"

    @property
    def probe(self) -> str:
        """The key of an object that shows whether the store keeps conditions when it deletes."""
        return f"{self.inbox}{TAKEN}{self.token}.probe"

    def answered(self, *, accepted: bool) -> str:
        """Return the key to which it goes when its receipt lies there."""
        return f"{self.inbox}{DONE if accepted else REFUSED}{self.token}/{self.file_name}"


def inbox_of(layout: Layout) -> str:
    """Return the inbox's prefix."""
    return f"{layout.prefix}inbox/"


def uploads(bucket: Bucket, inbox: str) -> Iterator[Upload]:
    """Yield the manifests that wait in the inbox; those that have their receipt already come last.

    Raises:
        StorageError: it cannot be listed.
    """
    found: list[Upload] = []
    receipts: set[str] = set()
    for head in bucket.keys(inbox):
        rest = head.key[len(inbox) :]
        if rest.startswith((DONE, REFUSED, TAKEN)):
            continue
        if rest.endswith(RECEIPT):
            receipts.add(head.key)
        elif _ENDING.search(rest):
            found.append(Upload(key=head.key, etag=head.etag, inbox=inbox))
    yield from sorted(found, key=lambda upload: upload.receipt in receipts)
