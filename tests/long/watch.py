"""An observer of a batch with local pictures, which looks into Redis, the bucket and `/proc` by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from running.programs import LOOK_S
from tests.acceptance.harness import House


class Watch:
    """What was seen of a process and of the only batch in Redis, whose rows are all of one limit group."""

    def __init__(self, house: House, pid: int) -> None:
        self.most_ahead = 0
        """The most rows that were staged and not yet fed, by the marks in Redis."""
        self.most_pictures_ahead = 0
        """The most pictures in the bucket beyond the rows that were fed; every row has one of its own."""
        self.looks = 0
        self._house = house
        self._status = Path(f"/proc/{pid}/status")
        self._peak_kb = 0
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(look,), daemon=True) for look in (self._marks, self._bucket)
        ]

    @property
    def peak_mb(self) -> float:
        """The most memory that the process has had resident, in megabytes."""
        return self._peak_kb * 1024 / 1e6

    def marks(self) -> tuple[int, int]:
        """Return how many rows were staged and how many were fed, at one time."""
        redis = self._house.redis
        batches = redis.zrange("retouch:batches", 0, 0)
        if not batches:
            return 0, 0
        staged, fed = redis.hmget(f"retouch:batch:{batches[0]!s}", "staged:flux", "cursor:flux")
        return int(str(staged or 0)), int(str(fed or 0))

    def start(self) -> None:
        """Begin to look."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, look: Callable[[], None]) -> None:
        while not self._stop.wait(LOOK_S):
            look()

    def _marks(self) -> None:
        self.looks += 1
        staged, fed = self.marks()
        self.most_ahead = max(self.most_ahead, staged - fed)
        try:
            line = next(line for line in self._status.read_text().splitlines() if line.startswith("VmHWM"))
            self._peak_kb = max(self._peak_kb, int(line.split()[1]))
        except (OSError, StopIteration):  # it has ended; its peak is known
            return

    def _bucket(self) -> None:
        pictures = sum(1 for _ in self._house.servers.bucket.keys(f"{self._house.prefix}inputs/"))
        _, fed = self.marks()
        self.most_pictures_ahead = max(self.most_pictures_ahead, pictures - fed)


@contextmanager
def watching(house: House, pid: int) -> Iterator[Watch]:
    """Watch a process and what it stages until the end of the block."""
    watch = Watch(house, pid)
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()
