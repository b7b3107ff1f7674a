"""How much may still come onto the disk: every submission reserves room for its result before it is made.

What is reserved is written into a file that its process keeps locked, so that processes that share the disk see each
other's reservations, and those of a process that ended are gone with its lock.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from workers.spool.disk import private_folder

LEFT_FREE = 64 * 1024 * 1024
"""Bytes of the disk that reservations never count on: others write there, too."""


class Room:
    """The room of one disk as one process sees it. Any number of threads may use it at once."""

    def __init__(
        self,
        folder: Path,
        user: str,
        limit: int,
        *,
        lying: Callable[[], int],
        disk_free: Callable[[Path], int] | None = None,
    ) -> None:
        """Join those who work on this disk.

        Args:
            folder: the spool's.
            user: this process's name there, which nobody else has.
            limit: bytes that may lie there, or be reserved, at most.
            lying: returns the bytes that lie there now.
            disk_free: returns the bytes that the disk has free.

        Raises:
            OSError: the disk cannot be written.
        """
        self._folder = folder
        self._limit = limit
        self._lying = lying
        self._disk_free = disk_free or _disk_free
        self._mutex = threading.Lock()
        self._mine = 0
        self._user = user
        self._users = private_folder(folder / "users")
        with self._all_locked():
            self._own = os.open(self._users / self._user, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._own, fcntl.LOCK_EX)

    def close(self) -> None:
        """Leave the disk: what is reserved is free again."""
        with suppress(OSError):
            (self._users / self._user).unlink(missing_ok=True)
            os.close(self._own)

    @property
    def reserved(self) -> int:
        """The bytes that this process has reserved."""
        return self._mine

    def take(self, wanted: int, *, anyway: bool = False) -> bool:
        """Reserve so many bytes; False, and nothing, where they cannot be promised.

        With `anyway` they are reserved all the same: for a result that is paid already.

        Raises:
            OSError: the disk cannot be written.
        """
        with self._mutex, self._all_locked():
            if not anyway:
                reserved = self._mine + self._others() + wanted
                if self._lying() + reserved > self._limit:
                    return False
                if self._disk_free(self._folder) - reserved < LEFT_FREE:
                    return False
            self._write(self._mine + wanted)
            return True

    def give_back(self, bytes_: int) -> None:
        """Free what was reserved."""
        with self._mutex, suppress(OSError):  # a reservation that stays too large is only too careful
            self._write(self._mine - bytes_)

    def alive(self) -> set[str]:
        """Return the names of the processes that work here, and forget those that have ended."""
        with self._mutex, self._all_locked():
            return {self._user, *(name for name, _ in self._living())}

    def _write(self, mine: int) -> None:
        self._mine = mine
        os.pwrite(self._own, f"{mine:<20}".encode(), 0)

    def _others(self) -> int:
        return sum(reserved for _, reserved in self._living())

    def _living(self) -> Iterator[tuple[str, int]]:
        for path in list(self._users.iterdir()):
            if path.name == self._user:
                continue
            with suppress(FileNotFoundError), path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    text = file.read().strip()
                    yield path.name, int(text) if text.isdigit() else 0
                else:
                    path.unlink(missing_ok=True)

    @contextmanager
    def _all_locked(self) -> Iterator[None]:
        """Keep every other process from reserving meanwhile."""
        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _disk_free(folder: Path) -> int:
    return shutil.disk_usage(folder).free
