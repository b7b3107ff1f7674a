"""Who waits at the gate: in lines, of each of which a freed slot wakes the first one, and not everybody.

Whoever leaves wakes the next one of the line, since more may be free than was told, unless the ledger has said that
it took the last one. Whoever finds none stays the first. So a slot costs one look at the ledger, whether five wait for
it or two hundred.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

Pool = tuple[str, str]
"""An account, and a limit group of which it has places."""
Line = tuple[str, str, str]
"""An account, a limit group and a batch: what lets the first of a line through would let the next one through, too."""


class Turn(threading.Event):
    """The place of one who waits: set when it is to look again."""

    def __init__(self) -> None:
        super().__init__()
        self.in_line = False
        self.took_the_last = False
        """There was no other slot when it looked: only newer news are handed on."""


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
            turn.in_line = True
        try:
            yield turn
        finally:
            self.step_out(line, turn)

    def heed(self, line: Line, turn: Turn) -> None:
        """Be ready for what comes from now on, first again if out of the line. To be called before each look."""
        with self._lock:
            turn.clear()
            if not turn.in_line:
                self._lines.setdefault(line, deque()).appendleft(turn)
                turn.in_line = True

    def step_out(self, line: Line, turn: Turn) -> None:
        """Leave the line until `heed`, and wake who is the first of it now, unless there is nothing for him. No news
        comes here meanwhile."""
        with self._lock:
            waiting = self._lines.get(line, deque())
            if turn.in_line:
                waiting.remove(turn)
                turn.in_line = False
            if turn.is_set() or not turn.took_the_last:
                _wake(waiting)
            turn.clear()
            if not waiting:
                self._lines.pop(line, None)

    def wake(self) -> set[Pool]:
        """Wake the first of every line, and return of which places those wait who were woken."""
        woken = set()
        with self._lock:
            for (account, group, _), waiting in self._lines.items():
                if waiting:
                    _wake(waiting)
                    woken.add((account, group))
        return woken

    def wake_all(self) -> None:
        """Wake everybody who stands in a line."""
        with self._lock:
            for waiting in self._lines.values():
                while waiting:
                    _wake(waiting)


def _wake(waiting: deque[Turn]) -> None:
    if waiting:
        turn = waiting.popleft()
        turn.in_line = False
        turn.set()
