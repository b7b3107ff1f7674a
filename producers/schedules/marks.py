"""What a run of a schedule remembers of its rows: 8 bytes each, so that a million of them are 8 MB.

A mark changes when the row asks for something else. What its pictures show is no part of it: the state of the batch's
name knows that (`producers.known`).
"""

from __future__ import annotations

import hashlib
import json
import sys
from array import array
from bisect import bisect_left

from jobs.row import Row


class Marks:
    """The marks of a run's rows."""

    def __init__(self) -> None:
        self._marks = array("Q")
        self._sorted = True

    def __contains__(self, mark: int) -> bool:
        self._sort()
        at = bisect_left(self._marks, mark)
        return at < len(self._marks) and self._marks[at] == mark

    def add(self, mark: int) -> None:
        """Take another one."""
        self._marks.append(mark)
        self._sorted = False

    def as_bytes(self) -> bytes:
        """Return the form in which they are kept; `from_bytes` reads it back."""
        self._sort()
        return _little(self._marks).tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Marks:
        """Return what `as_bytes` wrote; what is cut off at the end is left out."""
        found = cls()
        found._marks.frombytes(data[: len(data) // 8 * 8])
        found._marks = _little(found._marks)
        found._sorted = False
        return found

    def _sort(self) -> None:
        if not self._sorted:
            self._marks = array("Q", sorted(self._marks))
            self._sorted = True


def mark_of(row: Row) -> int:
    """Return the mark of a row."""
    said = json.dumps([row.id, row.request.as_json(), row.output], sort_keys=True)
    return int.from_bytes(hashlib.sha256(said.encode()).digest()[:8], "big")


def _little(marks: array[int]) -> array[int]:
    if sys.byteorder == "little":
        return marks
    swapped = array("Q", marks)
    swapped.byteswap()
    return swapped
