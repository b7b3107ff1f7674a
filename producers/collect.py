"""Brings a batch's results into a folder as plain files.

Where a file goes is read from outcome lines, and those repeat what a manifest said: a key is taken for a path only
if it stays inside the folder whatever it holds, links included. A file whose length and sha256 are right already is
left alone, so fetching again costs nothing but the look.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket
from jobs.errors import NotFound, StorageError
from jobs.job import MADE_IT
from jobs.report.build import OUTCOMES, PAGE, SUMMARY
from producers.room import is_full

DOWNLOADS = 8
TABLES = tuple(f"{name}.{form}" for name in ("results", "jobs", "failed") for form in ("csv", "jsonl"))
ERRORS = "errors.csv"
"""What was wrong with rows that were left out; only what is planned without a person has it in the bucket."""
REPORT_FILES = (PAGE, SUMMARY, OUTCOMES, *TABLES)
_WAITING = 64
_BLOCK = 1 << 20


class UnsafeKey(ValueError):
    """This key is no path inside the folder."""


@dataclass(slots=True)
class Collected:
    """What was brought: files written, files that were right already, and what could not be fetched and why."""

    folder: Path
    written: int = 0
    same: int = 0
    bytes: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Wanted:
    key: str
    path: Path
    sha256: str
    bytes: int


def place(folder: Path, key: str, name: str = "") -> Path:
    """Return where an output key goes: under `folder`, without the batch's own name in front.

    Raises:
        UnsafeKey: the path would leave the folder, or is none.
    """
    inner = key.removeprefix(f"{name}/") if name else key
    parts = inner.split("/")
    if any(part in ("", ".", "..") or "\0" in part or len(part.encode("utf-8", "replace")) > 250 for part in parts):
        raise UnsafeKey(f"{key!r} is no path inside the folder")
    if os.name == "nt" and any(sign in inner for sign in '\\:*?"<>|'):
        raise UnsafeKey(f"{key!r} is no path on this system")
    path = folder.joinpath(*parts)
    # A link that lies in the folder already must not lead out of it.
    if not path.resolve().is_relative_to(folder.resolve()):
        raise UnsafeKey(f"{key!r} leads out of the folder")
    return path


def collect(
    batch: str,
    name: str,
    folder: Path,
    *,
    bucket: Bucket,
    layout: Layout,
    on_progress: Callable[[Collected], None] = lambda _: None,
) -> Collected:
    """Bring the published outputs of a batch, and its report files, into `folder`.

    Outputs go under their keys without `name/`. A result that cannot be fetched is listed, and the rest goes on.

    Raises:
        Unavailable: the bucket does not answer.
        OSError: the folder cannot be written, or its disk is full; what was written whole stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = Collected(folder)
    lock = threading.Lock()

    def one(wanted: _Wanted) -> None:
        if _is_there(wanted):
            with lock:
                done.same += 1
            return
        _download(bucket, wanted)
        with lock:
            done.written += 1
            done.bytes += wanted.bytes

    waiting: dict[Future[None], str] = {}

    def sweep(most: int) -> None:
        while len(waiting) > most:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                key = waiting.pop(future)
                try:
                    future.result()
                except (StorageError, OSError, UnsafeKey) as error:
                    if isinstance(error, OSError) and is_full(error):  # no other would fare better
                        pool.shutdown(wait=False, cancel_futures=True)
                        raise OSError(error.errno, error.strerror, str(folder)) from None
                    done.failed.append((key, str(error)))
                on_progress(done)

    with ThreadPoolExecutor(DOWNLOADS, thread_name_prefix="collect") as pool:
        for outcome in _outcomes(batch, bucket, layout):
            if outcome["state"] not in MADE_IT or not outcome["output"]:
                continue
            key = outcome["output"]
            try:
                path = place(folder, key, name)
            except UnsafeKey as error:
                done.failed.append((key, str(error)))
                continue
            wanted = _Wanted(key, path, outcome["sha256"], outcome["bytes"])
            waiting[pool.submit(one, wanted)] = key
            sweep(_WAITING)
        sweep(0)
    save_report(batch, folder, bucket=bucket, layout=layout)  # last: no output may take the place of the report
    return done


def save_report(batch: str, folder: Path, *, bucket: Bucket, layout: Layout) -> Path | None:
    """Save a batch's report files into `folder`; return the page's path, None if it is not written yet.

    A table of an earlier batch that this one does not have (`failed.csv`) is removed: it would be read as this one's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ours = (folder / SUMMARY).exists()
    found = {file for file in REPORT_FILES if _saved(bucket, layout.batch(batch, file), folder / file)}
    if ours:
        for file in REPORT_FILES:
            if file not in found:
                (folder / file).unlink(missing_ok=True)
    _saved(bucket, layout.batch(batch, ERRORS), folder / ERRORS)  # one that `retouch run` wrote here itself stays
    return folder / PAGE if PAGE in found else None


def _outcomes(batch: str, bucket: Bucket, layout: Layout) -> Iterator[dict[str, Any]]:
    """Yield the outcome lines: of the finished batch, else of the parts written so far."""
    with tempfile.TemporaryDirectory(prefix="retouch-") as scratch:
        path = Path(scratch) / OUTCOMES
        try:
            bucket.download(layout.batch(batch, OUTCOMES), path)
        except NotFound:
            parts = [head.key for head in bucket.keys(layout.batch(batch, "outcomes/"))]
        else:
            yield from _lines(path)
            return
        for key in parts:
            bucket.download(key, path)
            yield from _lines(path)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def _is_there(wanted: _Wanted) -> bool:
    try:
        if wanted.path.stat().st_size != wanted.bytes:
            return False
        return _sha256(wanted.path) == wanted.sha256
    except OSError:
        return False


def _download(bucket: Bucket, wanted: _Wanted) -> None:
    wanted.path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=wanted.path.parent)
    os.close(handle)
    draft = Path(name)
    try:
        bucket.download(wanted.key, draft)
        if _sha256(draft) != wanted.sha256:
            raise StorageError("the object is not the one that was published: another batch may have replaced it")
        draft.chmod(0o644)
        draft.replace(wanted.path)
    finally:
        draft.unlink(missing_ok=True)


def _saved(bucket: Bucket, key: str, path: Path) -> bool:
    draft = path.with_name(f".{path.name}.part")
    try:
        bucket.download(key, draft)
        draft.replace(path)
    except NotFound:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
