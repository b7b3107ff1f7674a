"""Receipts that Redis could not be told: on the disk until it was, by whoever finds them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from jobs.crashpoints import crashpoint
from jobs.job import Job, Order, Receipt, State
from workers.spool.about import task_name
from workers.spool.disk import private_folder, settle, write_durably

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Note:
    """A receipt and the job that it belongs to, as its worker knew it."""

    path: Path
    job: Job
    receipt: Receipt


class Notes:
    """The notes on one disk. Every method raises OSError where the disk does not do its work."""

    def __init__(self, folder: Path, user: str) -> None:
        self._user = user
        self._folder = private_folder(folder / "notes")
        self._coming = private_folder(folder / "coming")
        self._own: set[str] = set()
        self._lock = threading.Lock()

    def write(self, job: Job, receipt: Receipt) -> None:
        """Note a receipt durably. While its thread tries to tell it, nobody else is given the note: see `told`."""
        name = _name(job, receipt)
        with self._lock:
            self._own.add(name)
        known = {"state": str(job.state), "attempt": job.attempt, "fence": job.fence}
        text = {"order": job.order.as_json(), "live": job.live_json(), "receipt": asdict(receipt), **known}
        coming = self._coming / f"{self._user}-{name}"
        coming.unlink(missing_ok=True)
        write_durably(coming, json.dumps(text).encode())
        crashpoint("note-on-disk")
        coming.rename(self._folder / name)
        settle(self._folder)

    def told(self, job: Job, receipt: Receipt) -> None:
        """Remove the note of a receipt that is known now, if there is one of ours."""
        name = _name(job, receipt)
        with self._lock:
            ours = name in self._own
        if ours:
            self.remove(self._folder / name)
            self.let_go(job, receipt)

    def remove(self, path: Path) -> None:
        """Remove a note that was told. One that stays is told again, which changes nothing."""
        with suppress(OSError):
            path.unlink(missing_ok=True)

    def let_go(self, job: Job, receipt: Receipt) -> bool:
        """Leave the note to whoever looks for notes; False where there is none."""
        name = _name(job, receipt)
        with self._lock:
            self._own.discard(name)
        return (self._folder / name).exists()

    def all(self) -> Iterator[Note]:
        """Yield every note that no thread of this process is about to tell."""
        for path in sorted(self._folder.glob("*.json")):
            with self._lock:
                if path.name in self._own:
                    continue
            with suppress(FileNotFoundError):
                try:
                    yield _read(path)
                except (ValueError, TypeError, KeyError):
                    log.exception("a note cannot be read", file=str(path))
                    path.rename(path.with_suffix(".unreadable"))


def _name(job: Job, receipt: Receipt) -> str:
    return f"{task_name(job.id, receipt.task_id)}.json"


def _read(path: Path) -> Note:
    data = json.loads(path.read_bytes())
    order, live, receipt = Order.from_json(data["order"]), data["live"], Receipt(**data["receipt"])
    known = {"state": State(data["state"]), "attempt": data["attempt"], "fence": data["fence"]}
    return Note(path, Job.from_json(order, live, **known), receipt)
