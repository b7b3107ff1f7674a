"""Remembers where a local picture was staged, so that another run need not read it again.

A file counts as the same only if path, length, modification time, inode and change time all are what they were.
One that was modified within the last seconds before it was read is not remembered: a clock that ticks coarsely could
give a later change the same time. The memory is a help, never a need: where its file cannot be used, pictures are
read as if nothing were known.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from producers.stack.files import private_folder

FILE = "pictures.sqlite3"
SETTLED_S = 3.0
"""FAT keeps times in steps of 2 s, the coarsest of the file systems that are met."""
_BUSY_S = 1.0
_TABLE = """
CREATE TABLE IF NOT EXISTS pictures (
    path TEXT PRIMARY KEY, bytes INTEGER, mtime INTEGER, inode INTEGER, ctime INTEGER, key TEXT
) WITHOUT ROWID
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """What tells one state of a file from another; times in ns."""

    bytes: int
    mtime: int
    inode: int
    ctime: int

    @classmethod
    def of(cls, found: os.stat_result) -> Self:
        """Return how a file looks, by its `stat`."""
        return cls(bytes=found.st_size, mtime=found.st_mtime_ns, inode=found.st_ino, ctime=found.st_ctime_ns)


class Remembered:
    """Keys of staged pictures by path. Any number of threads, and of processes, may use one file at once."""

    def __init__(self, connection: sqlite3.Connection | None, *, now: Callable[[], float] = time.time) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._now = now
        self._notes: list[tuple[str, int, int, int, int, str]] = []

    def key_of(self, path: Path, looks: Looks) -> str:
        """Return the key under which a picture that looks like this was staged, empty if it is not known."""
        if self._connection is None:
            return ""
        wanted = (str(path), looks.bytes, looks.mtime, looks.inode, looks.ctime)
        query = "SELECT key FROM pictures WHERE path = ? AND bytes = ? AND mtime = ? AND inode = ? AND ctime = ?"
        with self._lock, suppress(sqlite3.Error, UnicodeEncodeError):
            found = self._connection.execute(query, wanted).fetchone()
            return str(found[0]) if found else ""
        return ""

    def note(self, path: Path, looks: Looks, key: str) -> None:
        """Remember where a picture was staged, unless it changed only just now."""
        latest = max(looks.mtime, looks.ctime) / 1e9
        if self._connection is None or latest > self._now() - SETTLED_S:
            return
        with self._lock:
            self._notes.append((str(path), looks.bytes, looks.mtime, looks.inode, looks.ctime, key))

    def save(self) -> None:
        """Write down what was noted; at once, so that another process never waits long."""
        if self._connection is None:
            return
        with self._lock:
            notes, self._notes = self._notes, []
            with suppress(sqlite3.Error, UnicodeEncodeError), self._connection:
                self._connection.executemany("INSERT OR REPLACE INTO pictures VALUES (?, ?, ?, ?, ?, ?)", notes)


@contextmanager
def remembered(folder: Path | None, *, now: Callable[[], float] = time.time) -> Iterator[Remembered]:
    """Open the memory in `folder`, which is made; one that forgets everything where there is none to be had."""
    connection = _opened(folder) if folder is not None else None
    memory = Remembered(connection, now=now)
    try:
        yield memory
    finally:
        memory.save()
        if connection is not None:
            connection.close()


def _opened(folder: Path) -> sqlite3.Connection | None:
    connection = None
    try:
        path = private_folder(folder) / FILE
        connection = sqlite3.connect(path, timeout=_BUSY_S, check_same_thread=False)
        connection.execute(_TABLE)
        connection.execute("SELECT path, bytes, mtime, inode, ctime, key FROM pictures LIMIT 1").fetchone()
    except (OSError, sqlite3.Error):
        if connection is not None:
            connection.close()
        return None
    return connection
