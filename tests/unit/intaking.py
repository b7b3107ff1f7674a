"""The intake's desk over a bucket and a ledger in memory, whose clock the tests turn."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from config.catalogue import shipped_catalogue
from config.settings import read_settings
from jobs.batch import Batch
from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket
from jobs.ledger.memory import MemoryLedger
from producers.intake.desk import Desk
from tests.fakes import FakeBucket

NOW = datetime(2026, 11, 22, 22, 30, 2, tzinfo=UTC)
HEADER = "id,image,prompt\n"


class Clock:
    """A clock that stands still until it is turned."""

    def __init__(self, at: datetime = NOW) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at.timestamp()


class Hints:
    """Notes which batches were said to be ready."""

    def __init__(self) -> None:
        self.fed: list[str] = []
        self.finished: list[str] = []

    def feed(self, batch: str, groups: Iterable[str]) -> None:
        """Note it."""
        self.fed.append(batch)

    def look(self, jobs: Iterable[str]) -> None:
        """Nobody looks."""

    def finish(self, batch: str) -> None:
        """Note it."""
        self.finished.append(batch)


def desk(folder: Path, clock: Clock, *, bucket: Bucket | None = None, **settings: Any) -> Desk:
    """Return a desk; another one with the same bucket is another machine after Redis was emptied."""
    return Desk(
        settings=read_settings(schedules=folder / "schedules.toml", s3={"bucket": "bucket"}, **settings),
        catalogue=shipped_catalogue(),
        ledger=MemoryLedger(shipped_catalogue(), clock=clock),
        bucket=bucket or FakeBucket(),
        layout=Layout(),
        hints=Hints(),
        origin="bfl",
    )


def lines(count: int, *, first: int = 1, prompt: str = "on white") -> str:
    """Return rows of a manifest."""
    return "".join(f"r{n},https://example.com/{n}.jpg,{prompt}\n" for n in range(first, first + count))


def batches(desk_: Desk) -> list[Batch]:
    """Return the batches that the ledger was given."""
    found = [desk_.ledger.batch(id_) for id_ in desk_.ledger.batches()]
    return [each[0] for each in found if each is not None]


def keys(desk_: Desk, prefix: str) -> list[str]:
    """Return the keys under a prefix of ours."""
    return [head.key for head in desk_.bucket.keys(desk_.layout.prefix + prefix)]
