"""Where a schedule's manifest is: beside the schedules, in a bucket, or pictures and a table that are to be joined."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.errors import NotFound, Refused
from producers.intake.desk import Desk
from producers.manifest.problems import ManifestError
from producers.schedules.file import Joined, Schedule

LARGEST_MANIFEST = 200 * 1024 * 1024
"""Bytes, of a manifest in another bucket than ours: it is read into memory."""


def last_written(schedule: Schedule, desk: Desk) -> float:
    """Return when the newest part of the source was written (epoch seconds), 0 where there is none.

    One object is whole as soon as it is seen, so only files, folders and prefixes count.

    Raises:
        StorageError: the bucket is away.
    """
    return max((_last_written(place, desk) for place in schedule.places), default=0.0)


@contextmanager
def fetched(schedule: Schedule, desk: Desk) -> Iterator[tuple[Path, Path | None]]:
    """Yield the manifest, and the table that it is joined with if there is one, as files of this machine.

    A folder or a prefix stays what it is: the planner lists it.

    Raises:
        ManifestError: there is none, or it may not be read.
        StorageError: the bucket is away.
    """
    source = schedule.manifest
    with tempfile.TemporaryDirectory(prefix="retouch-") as scratch:
        if isinstance(source, Joined):
            yield _fetched(source.prefix, Path(scratch), desk), _fetched(source.table, Path(scratch), desk)
        else:
            yield _fetched(source, Path(scratch), desk), None


def _fetched(place: str, scratch: Path, desk: Desk) -> Path:
    if not place.startswith("s3://"):
        if not Path(place).exists():
            raise ManifestError(f"there is no file {place}", remedy="does the export still run?")
        return Path(place)
    bucket, _, key = place[5:].partition("/")
    if not _may_read(bucket, desk):
        raise ManifestError(f"the bucket {bucket} may not be read", remedy="add it to RETOUCH_S3__INPUT_BUCKETS")
    if key.endswith("/"):
        return Path(place)
    name = key.rpartition("/")[2][-100:]
    path = scratch / (name if name.strip(".") else "manifest")
    try:
        if bucket == desk.bucket.name:
            desk.bucket.download(key, path)
        else:
            path.write_bytes(desk.bucket.get(key, bucket=bucket, max_bytes=LARGEST_MANIFEST))
    except NotFound:
        raise ManifestError(f"there is no object {place}", remedy="does the export still run?") from None
    except Refused as error:  # another day it would be no other; one that does not answer is asked again
        raise ManifestError(str(error)) from None
    return path


def _last_written(place: str, desk: Desk) -> float:
    if place.startswith("s3://"):
        bucket, _, key = place[5:].partition("/")
        listed = desk.objects(bucket, key) if key.endswith("/") and _may_read(bucket, desk) else ()
        return max((head.modified for head in listed), default=0.0)
    path = Path(place)
    files = path.rglob("*") if path.is_dir() else ()
    return max((_written(each) for each in (path, *files)), default=0.0)


def _may_read(bucket: str, desk: Desk) -> bool:
    return bucket == desk.bucket.name or bucket in desk.settings.s3.input_buckets


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
