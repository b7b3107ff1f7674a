"""Who works on a disk: a file for each process, which it keeps locked while it lives.

A lock ends with its process, whatever ends it. So who can take the lock of another's file knows that this one is
dead, and need not wait for its leases to lapse.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from workers.spool.disk import private_folder

_RESERVED = 20
"""Characters at the beginning of a file that say how many bytes are reserved; the rest says who it is."""

_LONGEST = 4096
"""Bytes of such a file that are read at most."""

_KERNEL = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A process that works on a disk, or did: its name there, and its name as an owner of jobs."""

    name: str
    reserved: int
    owner: str
    kernel: str

    @property
    def lock_is_known(self) -> bool:
        """Whether a lock that is gone proves that this process is.

        Only the kernel that it ran under knows that. A disk that several machines share may forget the lock of one
        whose network is slow, or tell no machine of the locks of another.
        """
        return bool(self.owner) and self.kernel != "" and self.kernel == this_kernel()


class Users:
    """The processes on one disk, as one of them sees them."""

    def __init__(self, folder: Path, name: str, *, owner: str = "") -> None:
        """Join them under a name that nobody ever has again.

        Raises:
            OSError: the disk cannot be written.
        """
        self.name = name
        self._lock = folder / "lock"
        self._folder = private_folder(folder / "users")
        with self.alone():  # nobody sees the file before it is locked
            self._own = os.open(self._folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._own, fcntl.LOCK_EX)
            with suppress(OSError):  # a disk that is full must not keep out who comes to empty it
                os.pwrite(self._own, json.dumps({"owner": owner, "kernel": this_kernel()}).encode(), _RESERVED)
                self.write(0)

    def close(self) -> None:
        """Leave the disk."""
        with suppress(OSError), self.alone():  # a file without its lock, seen before it is gone, would be a death
            (self._folder / self.name).unlink(missing_ok=True)
            os.close(self._own)

    def write(self, reserved: int) -> None:
        """Tell the others how many bytes this process has reserved."""
        os.pwrite(self._own, f"{reserved:<{_RESERVED}}".encode(), 0)

    def living(self) -> Sequence[User]:
        """Return the other processes that work here. Only for who is `alone`."""
        return [user for user, lives in self._others() if lives]

    def ended(self) -> Sequence[User]:
        """Return those that have ended without leaving. Only for who is `alone`."""
        return [user for user, lives in self._others() if not lives]

    def forget(self, user: User) -> None:
        """Remove the file of a process that has ended."""
        (self._folder / user.name).unlink(missing_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep every other process from joining, and from looking at the others, meanwhile."""
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _others(self) -> Iterator[tuple[User, bool]]:
        with os.scandir(self._folder) as entries:
            names = [entry.name for entry in entries if entry.name != self.name]
        for name in names:
            try:
                descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                yield _read(name, os.read(descriptor, _LONGEST)), _is_locked(descriptor)
            finally:
                os.close(descriptor)


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def this_kernel() -> str:
    """Return the name of the kernel that runs since this machine was started; empty where it has none."""
    try:
        return _KERNEL.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _read(name: str, data: bytes) -> User:
    reserved = data[:_RESERVED].strip()
    try:
        about = json.loads(data[_RESERVED:])
        owner, kernel = str(about["owner"]), str(about["kernel"])
    except (ValueError, TypeError, KeyError):  # it ended before it had written it, or the disk has spoilt it
        owner = kernel = ""
    return User(name=name, reserved=int(reserved) if reserved.isdigit() else 0, owner=owner, kernel=kernel)
