"""A set of row numbers that stays small however many there are: a bit a row, up to the highest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set


class RowNumbers(Set[int]):
    """Row numbers, from 0. A million of them take 125 KB, where a `set` takes 64 MB."""

    def __init__(self, numbers: Iterable[int] = ()) -> None:
        self._bits = bytearray()
        self._count = 0
        for number in numbers:
            self.add(number)

    def add(self, number: int) -> None:
        """Add a row number."""
        place, bit = divmod(number, 8)
        if place >= len(self._bits):
            self._bits.extend(bytes(max(place + 1 - len(self._bits), len(self._bits) // 8)))
        if not self._bits[place] & 1 << bit:
            self._bits[place] |= 1 << bit
            self._count += 1

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int) or number < 0:
            return False
        place, bit = divmod(number, 8)
        return place < len(self._bits) and bool(self._bits[place] & 1 << bit)

    def __iter__(self) -> Iterator[int]:
        for place, bits in enumerate(self._bits):
            if bits:
                yield from (place * 8 + bit for bit in range(8) if bits & 1 << bit)

    def __len__(self) -> int:
        return self._count
