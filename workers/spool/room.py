"""How much may still come onto the disk: every submission reserves room for its result before it is made.

What is reserved is written into the file of its process (`users`), so that processes that share the disk see each
other's reservations, and those of a process that ended are gone with its lock.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from workers.spool.users import Users

LEFT_FREE = 64 * 1024 * 1024
"""Bytes of the disk that reservations never count on: others write there, too."""


class Room:
    """The room of one disk as one process sees it. Any number of threads may use it at once."""

    def __init__(
        self,
        folder: Path,
        users: Users,
        limit: int,
        *,
        lying: Callable[[], int],
        disk_free: Callable[[Path], int] | None = None,
    ) -> None:
        """Share the room with those who work on this disk.

        Args:
            folder: the spool's.
            users: who works there.
            limit: bytes that may lie there, or be reserved, at most.
            lying: returns the bytes that lie there now.
            disk_free: returns the bytes that the disk has free.
        """
        self._folder = folder
        self._users = users
        self._limit = limit
        self._lying = lying
        self._disk_free = disk_free or _disk_free
        self._mutex = threading.Lock()
        self._mine = 0

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
        with self._mutex, self._users.alone():
            if not anyway:
                reserved = self._mine + sum(user.reserved for user in self._users.living()) + wanted
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

    def _write(self, mine: int) -> None:
        self._mine = mine
        self._users.write(mine)


def _disk_free(folder: Path) -> int:
    return shutil.disk_usage(folder).free
