"""Remembers which texts a plan has seen, and on which line first, in 12 bytes a slot.

It keeps 64-bit hashes, not texts: a million rows cost 25 MB (a dict of them about 110 MB). Two different texts
share a hash once in some 37 million plans of a million rows; the second row would then be refused, never merged.
"""

from __future__ import annotations

from array import array


class Seen:
    """An open-addressing table from the hash of a text to the line where it was first seen."""

    def __init__(self) -> None:
        self._resize(1 << 10)
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def find(self, text: str) -> int | None:
        """Return the line on which `text` was first seen, None if it is new; nothing is remembered."""
        mark = hash(text) or 1
        slots, mask = self._slots, self._last
        at = mark & mask
        while found := slots[at]:
            if found == mark:
                return self._lines[at]
            at = (at + 1) & mask
        return None

    def first(self, text: str, line: int) -> int | None:
        """Return the line on which `text` was seen before; None if it is new, and then remember `line`."""
        # The hash is salted for each process, so nobody can write a manifest whose ids collide.
        mark = hash(text) or 1
        slots, mask = self._slots, self._last
        at = mark & mask
        while found := slots[at]:
            if found == mark:
                return self._lines[at]
            at = (at + 1) & mask
        slots[at] = mark
        self._lines[at] = line
        self._used += 1
        if self._used * 2 > mask:
            self._grow()
        return None

    def _resize(self, size: int) -> None:
        self._slots = array("q", bytes(8 * size))
        self._lines = array("I", bytes(4 * size))
        self._last = size - 1

    def _grow(self) -> None:
        old = zip(self._slots, self._lines, strict=True)
        self._resize((self._last + 1) * 2)
        slots, lines, mask = self._slots, self._lines, self._last
        for mark, line in old:
            if mark:
                at = mark & mask
                while slots[at]:
                    at = (at + 1) & mask
                slots[at] = mark
                lines[at] = line
