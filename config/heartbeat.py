"""A file whose age says that a process makes progress, and `python -m config.heartbeat`, which looks at that age.

A Redis that is away is no reason to restart anybody: who waits for it is alive, only not ready. What a restart does
mend is a message loop that stands still although Redis answers. Standard library only: a probe runs every few seconds.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ALIVE_S = 60.0
"""A beat older than this is none."""
LOOP_S = 90.0
"""How long a message loop may stand still while Redis answers: longer than a reconnection and than a drain take."""
VARIABLE = "RETOUCH_HEARTBEAT_FILE"
OK, MISSED, MISUSED = 0, 1, 2


class Heartbeat:
    """Writes the beats of one process. Its threads may call it at the same time; with no path nothing is written."""

    def __init__(self, path: Path | None, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._now = monotonic
        self._lock = threading.Lock()
        self._loop_at: float | None = None

    def loop(self) -> None:
        """Note that the message loop turns. A process that never says so is not judged by it."""
        with self._lock:
            self._loop_at = self._now()

    def beat(self, *, redis: bool) -> bool:
        """Note one round of housekeeping and whether Redis answered it; return whether it counted as a beat."""
        with self._lock:
            now = self._now()
            if not redis and self._loop_at is not None:
                self._loop_at = now  # the loop waits for Redis too, and is given its time again afterwards
            standing = 0.0 if self._loop_at is None else now - self._loop_at
        if standing > LOOP_S:
            return False
        if self._path is not None:
            self._path.touch()
            if redis:
                ready_file(self._path).touch()
        return True


def ready_file(path: Path) -> Path:
    """Return the file beside `path` whose age says when Redis answered last."""
    return path.with_name(f"{path.name}.ready")


def age_s(path: Path, now: float) -> float | None:
    """Return how old the last beat is in seconds at Unix time `now`, or None where there was none yet."""
    try:
        return max(0.0, now - path.stat().st_mtime)
    except FileNotFoundError:
        return None


def main(arguments: Sequence[str]) -> int:
    """Look at the file that RETOUCH_HEARTBEAT_FILE names: 0 alive (with --ready: ready), 1 not, 2 misused."""
    named = os.environ.get(VARIABLE)
    if not named or set(arguments) - {"--ready"}:
        sys.stderr.write(f"usage: {VARIABLE}=FILE python -m config.heartbeat [--ready]\n")
        return MISUSED
    path = Path(named)
    age = age_s(ready_file(path) if arguments else path, time.time())
    if age is not None and age <= ALIVE_S:
        return OK
    what = "answer from Redis" if arguments else "beat"
    sys.stderr.write(f"no {what} yet\n" if age is None else f"the last {what} was {age:.0f} s ago\n")
    return MISSED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
