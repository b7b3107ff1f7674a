"""Remembers which texts a plan has seen, and on which line first, in 12 bytes a slot.

It keeps 64-bit hashes, not texts: a million rows cost 25 MB (a dict of them about 110 MB). Two different texts
share a hash once in some 37 million plans of a million rows; the second row would then be refused, never merged.
"""

from __future__ import annotations

from array import array


class Seen:
    """An open-addressing table from the hash of a text to the line where it was first seen."""

    def __init__(self) -> None:
        self.used = 0
        """How many texts it has seen."""
        self._resize(1 << 10)

    def expect(self, texts: int) -> None:
        """Make room for so many texts at once: to grow by and by costs as much again as to remember them."""
        size = self._last + 1
        while size < 2 * texts:
            size *= 2
        if size > self._last + 1:
            self._grow(size)

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
        self.used = used = self.used + 1
        if used * 2 > mask:
            self._grow(2 * mask + 2)
        return None

    def _resize(self, size: int) -> None:
        self._slots = array("q", [0]) * size
        self._lines = array("I", [0]) * size
        self._last = size - 1

    def _grow(self, size: int) -> None:
        old = zip(self._slots, self._lines, strict=True)
        self._resize(size)
        slots, lines, mask = self._slots, self._lines, self._last
        for mark, line in old:
            if mark:
                at = mark & mask
                while slots[at]:
                    at = (at + 1) & mask
                slots[at] = mark
                lines[at] = line
