"""Opens a manifest by what it is, which its first bytes tell: a text, a workbook, a Parquet file, or a folder."""

from __future__ import annotations

from pathlib import Path

from producers.manifest.dialect import read_dialect
from producers.manifest.joined import JoinedManifest
from producers.manifest.listing import FolderManifest, ListingManifest, Objects, Pattern, PrefixManifest, s3_place
from producers.manifest.opening import open_bytes
from producers.manifest.options import PlanOptions
from producers.manifest.parquet import ParquetManifest
from producers.manifest.problems import ManifestError, listed, shown
from producers.manifest.reading import TextManifest
from producers.manifest.rows import Manifest
from producers.manifest.workbook import WorkbookManifest, is_workbook


def open_manifest(path: Path, options: PlanOptions | None = None, objects: Objects | None = None) -> Manifest:
    """Return the manifest at `path`, its header known; where the options name a table, joined with it.

    Args:
        path: a file, a folder, or `s3://bucket/prefix/` as a path.
        options: what was said for the batch: the pattern of names, and which buckets may be read.
        objects: lists what lies under (bucket, prefix); without it a prefix is refused.

    Raises:
        ManifestError: there is none, it cannot be read, or its header is bad.
    """
    said = options or PlanOptions()
    manifest = _opened(path, said, objects)
    if said.table is None:
        return manifest
    if not isinstance(manifest, ListingManifest):
        raise ManifestError("only a folder or a prefix is joined with a table", remedy="name where the pictures lie")
    return JoinedManifest(manifest, _file(said.table), said.join)


def _opened(path: Path, said: PlanOptions, objects: Objects | None) -> Manifest:
    place = s3_place(path)
    if place and not path.exists():
        bucket = place[5:].partition("/")[0]
        if bucket not in said.buckets:
            allowed = listed(sorted(said.buckets)) or "none"
            message = f"the bucket {shown(bucket)} is not among those that may be read ({allowed})"
            raise ManifestError(message, remedy="add it to RETOUCH_S3__INPUT_BUCKETS")
        if objects is None:
            own = "set RETOUCH_S3__BUCKET, and RETOUCH_S3__ENDPOINT_URL where it is not AWS"
            raise ManifestError(f"{place} lies in no store that is set here", remedy=own)
        ours = f"s3://{said.bucket}/{said.prefix}" if said.bucket else ""
        return PrefixManifest(path, objects, Pattern(said.pattern), ours)
    if path.is_dir():
        return FolderManifest(path, Pattern(said.pattern))
    if said.pattern is not None:
        raise ManifestError("--pattern is about names in a folder or under a prefix", remedy="leave it out for a table")
    return _file(path)


def _file(path: Path) -> Manifest:
    with open_bytes(path).file as file:
        head = file.peek(4)[:4]
    if head == b"PK\x03\x04" and is_workbook(path):
        return WorkbookManifest(path)
    if head == b"PAR1":
        return ParquetManifest(path)
    return TextManifest(path, read_dialect(path))
