"""A disk that is soon full: a tmpfs in a user and mount namespace of its own, so that nobody has to be root.

Whatever runs in the namespace sees the disk; a test sees it through `/proc`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

_NAMESPACES = ("unshare", "--user", "--map-root-user", "--mount")


class SmallDisk:
    """A mounted disk, empty but for what a test has put there."""

    def __init__(self, holder: int, place: Path) -> None:
        self._holder = holder
        self.place = place
        """Where programs in the namespace find it."""

    @property
    def files(self) -> Path:
        """Where a test finds it."""
        return Path(f"/proc/{self._holder}/root{self.place}")

    @property
    def inside(self) -> Sequence[str]:
        """What goes before a program so that it runs in the namespace, on the disk."""
        return self.seen_from(self.place)

    def seen_from(self, folder: Path) -> Sequence[str]:
        """Return what goes before a program so that it runs in the namespace, in a folder of any disk."""
        namespaces = ("nsenter", "--user", "--mount", "--preserve-credentials", "--target", str(self._holder))
        return *namespaces, "--", "sh", "-c", 'cd "$0" && exec "$@"', str(folder)

    @property
    def room(self) -> int:
        """The bytes that are left."""
        return shutil.disk_usage(self.files).free

    def fill(self, leave: int = 0) -> None:
        """Lay a ballast on it so that no more than `leave` bytes are left."""
        with (self.files / "ballast").open("wb", buffering=0) as file:
            while (more := self.room - leave) > 0:
                try:
                    file.write(bytes(min(more, 1 << 20)))
                except OSError:
                    return

    def make_room(self) -> None:
        """Take the ballast away."""
        (self.files / "ballast").unlink()


@contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Mount a disk at `place`; skip the test where the system lets nobody but root do that."""
    if not _may_mount():
        pytest.skip("no namespaces for this user: nothing can be mounted")
    place.mkdir(parents=True)
    mount = f'mount -t tmpfs -o size={megabytes}m tmpfs "$0" && echo mounted && exec cat'
    holder = subprocess.Popen(  # it reads what never comes, and so ends with us
        [*_NAMESPACES, "sh", "-c", mount, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "mounted\n"
        yield SmallDisk(holder.pid, place)
    finally:
        holder.kill()
        holder.communicate()


@cache
def _may_mount() -> bool:
    if any(shutil.which(name) is None for name in ("unshare", "nsenter")):
        return False
    place = os.fspath(Path.cwd())
    try_it = f'mount -t tmpfs tmpfs "{place}"'
    return subprocess.run([*_NAMESPACES, "sh", "-c", try_it], capture_output=True, check=False).returncode == 0
