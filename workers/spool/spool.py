"""The spool as the steps see it: reserve room, keep a paid result, find it again."""

from __future__ import annotations

import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import structlog

from jobs.errors import RetouchError
from jobs.job import Job
from jobs.ledger.seen import SpoolSeen
from jobs.pictures import Picture
from workers.spool.about import About
from workers.spool.disk import private_folder
from workers.spool.notes import Notes
from workers.spool.room import Room
from workers.spool.shelf import Kept, Shelf
from workers.spool.users import User, Users

log = structlog.get_logger(__name__)


class NotKept(RetouchError):
    """A result could not be kept on this disk."""


class Spool:
    """One disk, as one process works with it. Any number of threads may use it at once."""

    def __init__(self, folder: Path, limit: int, *, home: str, now: Callable[[], float], owner: str = "") -> None:
        """Join those who work on the disk of `folder`, where at most `limit` bytes may lie.

        `home` names the place in the bucket whose results are kept (`s3://bucket/prefix`), `owner` this process in the
        ledger.

        Raises:
            OSError: the disk cannot be written.
        """
        self.folder = private_folder(folder.absolute())
        self.limit = limit
        self.home = home
        self.full = False
        """Whether the last one who asked for room was given none."""
        self._now = now
        self._lock = threading.Lock()
        self._reserved: dict[tuple[str, int], int] = {}
        user = secrets.token_hex(8)
        self._users = Users(self.folder, user, owner=owner)  # first: what others half write is swept, ours is not
        self._shelf = Shelf(self.folder, user)
        self._room = Room(self.folder, self._users, limit, lying=lambda: self._shelf.sizes()[1])
        self.notes = Notes(self.folder, user)
        with self._users.alone():
            self._shelf.sweep({user, *(other.name for other in self._users.living())})

    @property
    def id(self) -> str:
        """Which disk this is."""
        return self._shelf.id

    def close(self) -> None:
        """Leave the disk; what is kept stays."""
        self._users.close()

    def ended(self) -> Sequence[User]:
        """Return the processes that worked on this disk and have ended without leaving it, until they are forgotten.

        Raises:
            OSError: the disk cannot be read.
        """
        with self._users.alone():
            return self._users.ended()

    def forget(self, user: User) -> None:
        """Forget a process that has ended.

        Raises:
            OSError: the disk cannot be written.
        """
        self._users.forget(user)

    @contextmanager
    def holding(self, job: Job) -> Iterator[None]:
        """Give back what is reserved for a job when the body ends."""
        try:
            yield
        finally:
            with self._lock:
                reserved = self._reserved.pop((job.id, job.fence), 0)
            if reserved:
                self._room.give_back(reserved)

    def reserve(self, job: Job, wanted: int, *, anyway: bool = False) -> bool:
        """Reserve room for a job's result of so many bytes, for as long as it is held; False where there is none.

        Asking again changes nothing. With `anyway` it is reserved all the same: for a result that is paid already.
        """
        with self._lock:
            if (job.id, job.fence) in self._reserved:
                return True
        try:
            self.full = not self._room.take(wanted, anyway=anyway)
        except OSError as error:
            log.warning("the spool cannot be written", why=error.strerror)
            self.full = True
        if not self.full:
            with self._lock:
                self._reserved[job.id, job.fence] = wanted
        return not self.full

    def keep(self, job: Job, data: bytes, picture: Picture, *, anyway: bool = False) -> None:
        """Keep the result of a job; it is safe on the disk when this returns.

        With `anyway` the limit does not count, for what would be lost otherwise.

        Raises:
            NotKept: there is no room, or the disk fails.
        """
        about = About.of(job, data, picture, home=self.home, at=self._now())
        try:
            if not anyway and self._shelf.sizes()[1] + len(data) > self.limit:
                raise NotKept(f"{self.folder} is full: RETOUCH_WORKER__SPOOL_BYTES is {self.limit}")
            self._shelf.put(about, data)
        except OSError as error:
            raise NotKept(f"{self.folder} cannot be written: {error.strerror}") from None

    def find(self, job: Job) -> Kept | None:
        """Return the kept result of the job's task, if it lies here."""
        if job.receipt is None:
            return None
        try:
            kept = self._shelf.find(job.id, job.receipt.task_id)
        except OSError as error:
            log.warning("the spool cannot be read", why=error.strerror)
            return None
        return kept if kept is not None and kept.about.fingerprint == job.fingerprint else None

    def all(self) -> Iterator[Kept]:
        """Yield every result that is kept here for our place in the bucket."""
        for kept in self._shelf.all():
            if kept.about.home == self.home:
                yield kept

    def read(self, kept: Kept) -> bytes | None:
        """Return a kept result's bytes, None where the disk has spoilt them (then it is kept here no longer).

        Raises:
            OSError: the disk cannot be read.
        """
        return self._shelf.read(kept)

    def let_go(self, job: Job) -> None:
        """Remove what is kept of a job whose bytes are safe elsewhere."""
        kept = self.find(job)
        if kept is not None:
            self.remove(kept)

    def remove(self, kept: Kept) -> None:
        """Remove a result that is safe elsewhere."""
        try:
            self._shelf.remove(kept)
        except OSError as error:  # found again, and then found to be stored
            log.warning("the spool cannot be written", why=error.strerror)

    def seen(self, trouble: str) -> SpoolSeen:
        """Return what there is to tell about this disk; `trouble` is why storage is away."""
        results, size = self._shelf.sizes()
        return SpoolSeen(
            id=self.id,
            host=socket.gethostname(),
            folder=str(self.folder),
            results=results,
            bytes=size,
            limit=self.limit,
            full=self.full,
            trouble=trouble,
            seen_at=self._now(),
        )
