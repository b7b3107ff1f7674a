"""Kept results on the disk: put there whole, found again by their task, read back only as what they were."""

from __future__ import annotations

import itertools
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from errno import EEXIST, ENOTEMPTY
from hashlib import sha256
from pathlib import Path

import structlog

from jobs.crashpoints import crashpoint
from jobs.pictures import extension
from workers.spool.about import About, task_name
from workers.spool.disk import private_folder, settle, write_durably

log = structlog.get_logger(__name__)

ABOUT = "about.json"


@dataclass(frozen=True, slots=True)
class Kept:
    """A kept result: where it lies, and what is known about it."""

    path: Path
    about: About


class Shelf:
    """The results that lie on one disk. Any number of threads and processes may use it at once.

    Every method raises OSError where the disk does not do its work.
    """

    def __init__(self, folder: Path, user: str) -> None:
        """`user` is this process's name there; what another half wrote can be told from what it still writes."""
        self._user = user
        self._count = itertools.count()
        self.kept = private_folder(folder / "kept")
        self.coming = private_folder(folder / "coming")
        self.damaged = private_folder(folder / "damaged")
        self.id = _id_of(folder, self.coming / f"{user}-id")
        """Which disk this is."""

    def put(self, about: About, data: bytes) -> None:
        """Keep a result; it is on the disk when this returns. Doing so again changes nothing."""
        coming = private_folder(self.coming / f"{self._user}-{next(self._count)}")
        try:
            write_durably(coming / _picture(about), data)
            crashpoint("picture-on-disk")
            write_durably(coming / ABOUT, about.as_json().encode())
            settle(coming)
            crashpoint("result-on-disk")
            try:
                coming.rename(self.kept / about.name)
            except OSError as error:
                if error.errno not in (EEXIST, ENOTEMPTY):
                    raise
            settle(self.kept)
        finally:
            shutil.rmtree(coming, ignore_errors=True)

    def find(self, job: str, task_id: str) -> Kept | None:
        """Return the kept result of a task, if it lies here."""
        start = task_name(job, task_id) + "-"
        return next((kept for name in self._names() if name.startswith(start) and (kept := self._at(name))), None)

    def all(self) -> Iterator[Kept]:
        """Yield every kept result, in no order."""
        for name in self._names():
            if (kept := self._at(name)) is not None:
                yield kept

    def sizes(self) -> tuple[int, int]:
        """Return how many results lie here, and their bytes."""
        sizes = [int(size) for name in self._names() if (size := name.rpartition("-")[2]).isdigit()]
        return len(sizes), sum(sizes)

    def read(self, kept: Kept) -> bytes | None:
        """Return the bytes of a result; None, and it lies under `damaged`, where they are not what was delivered.

        None as well where it was removed since it was found.
        """
        try:
            data = (kept.path / _picture(kept.about)).read_bytes()
        except FileNotFoundError:
            if not kept.path.exists():
                return None
            data = b""
        if sha256(data).hexdigest() == kept.about.sha256:
            return data
        log.error("a kept result is damaged", job=kept.about.job, folder=str(kept.path))
        self._set_aside(kept.path)
        return None

    def remove(self, kept: Kept) -> None:
        """Remove a result that is safe elsewhere. One that is gone already is no error."""
        going = self.coming / f"{self._user}-{next(self._count)}"
        with suppress(FileNotFoundError):
            kept.path.rename(going)  # so that no half of it is ever found
        crashpoint("result-let-go")
        shutil.rmtree(going, ignore_errors=True)

    def sweep(self, alive: set[str]) -> None:
        """Remove what processes that have ended have half written."""
        for path in list(self.coming.iterdir()):
            if path.name.partition("-")[0] not in alive:
                shutil.rmtree(path, ignore_errors=True)
                with suppress(OSError):
                    path.unlink(missing_ok=True)

    def _names(self) -> list[str]:
        return [path.name for path in self.kept.iterdir()]

    def _at(self, name: str) -> Kept | None:
        path = self.kept / name
        try:
            return Kept(path, About.from_json((path / ABOUT).read_text(encoding="utf-8")))
        except FileNotFoundError:  # removed since it was listed
            if path.exists():
                self._set_aside(path)
        except ValueError:
            self._set_aside(path)
        return None

    def _set_aside(self, path: Path) -> None:
        with suppress(FileNotFoundError):
            path.rename(self.damaged / f"{path.name}.{secrets.token_hex(4)}")
            log.error("set aside what cannot be read on the disk", folder=str(path))


def _picture(about: About) -> str:
    return f"result.{extension(about.format)}"


def _id_of(folder: Path, new: Path) -> str:
    """Return the name of this disk; the first who asks gives it one, in a file that is `new` until it is whole."""
    path = folder / "id"
    if not path.exists():
        write_durably(new, secrets.token_hex(8).encode())
        with suppress(FileExistsError):
            os.link(new, path)
        new.unlink()
        settle(folder)
    return path.read_text(encoding="ascii").strip()
