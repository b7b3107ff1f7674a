"""Who waits at the gate: in lines, of each of which a freed slot wakes the first one, and not everybody.

Whoever takes a slot, or leaves for another reason, wakes the next one of the line, since more may be free than was
told. Whoever finds none stays the first. So a slot costs two looks at the ledger, whether five wait for it or two
hundred.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

Line = tuple[str, str, str]
"""An account, a limit group and a batch: what lets the first of a line through would let the next one through, too."""


class Turn(threading.Event):
    """The place of one who waits: set when it is to look again."""


class Lines:
    """The lines of a process. Any number of threads may stand in them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[Line, deque[Turn]] = {}

    @contextmanager
    def standing(self, line: Line) -> Iterator[Turn]:
        """Stand at the end of a line while the body runs."""
        turn = Turn()
        with self._lock:
            self._lines.setdefault(line, deque()).append(turn)
        try:
            yield turn
        finally:
            with self._lock:
                waiting = self._lines.get(line, deque())
                if not turn.is_set():
                    waiting.remove(turn)
                if waiting:
                    waiting.popleft().set()
                else:
                    self._lines.pop(line, None)

    def heed(self, line: Line, turn: Turn) -> None:
        """Be ready for what comes from now on: who was woken stands first again. To be called before each look."""
        with self._lock:
            if turn.is_set():
                turn.clear()
                self._lines.setdefault(line, deque()).appendleft(turn)

    def pass_on(self, line: Line) -> None:
        """Wake the first of a line."""
        with self._lock:
            self._wake(line)

    def wake(self) -> None:
        """Wake the first of every line."""
        with self._lock:
            for line in list(self._lines):
                self._wake(line)

    def wake_all(self) -> None:
        """Wake everybody."""
        with self._lock:
            for waiting in self._lines.values():
                while waiting:
                    waiting.popleft().set()

    def _wake(self, line: Line) -> None:
        waiting = self._lines.get(line)
        if waiting:
            waiting.popleft().set()
