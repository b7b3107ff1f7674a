"""Measures the pages of a Parquet file before anything of it is unpacked, so that reading it needs bounded memory.

A reader unpacks whole pages, and how large one gets is said in its header alone: a megabyte on the disk may be a
gigabyte of one letter. Each header is read (there is one for a megabyte or so of data) and the pages are passed over.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

MAX_PAGES = 64 << 20
"""Bytes of the largest pages of all columns together: that much is unpacked at a time."""
MAX_ROWS_AT_ONCE = 256
MAX_FOOTER = 16 << 20
_AT_ONCE = 48 << 20
"""Bytes of the pages that lie between the first and the last one of the rows that are read at once."""
_HEADS = (1 << 10, 1 << 16, 1 << 22)
"""Bytes that are read for a header: it may hold the smallest and the largest value of its page."""


class TooLarge(Exception):
    """What is read at a time does not fit; the text says which column."""


class BadPage(Exception):
    """The file is damaged."""


class Page(NamedTuple):
    """A page: how many values it holds, and its bytes in memory."""

    values: int
    bytes: int


def rows_at_once(path: Path, metadata: Any) -> int:
    """Return how many rows may be read at a time, 256 at most.

    Args:
        path: the file.
        metadata: its `pyarrow.parquet.FileMetaData`.

    Raises:
        TooLarge: not even one row fits.
        BadPage: a header cannot be read.
        OSError: the file cannot be.
    """
    rows = MAX_ROWS_AT_ONCE
    with path.open("rb") as file:
        for group in range(metadata.num_row_groups):
            columns = metadata.row_group(group)
            largest: list[tuple[int, str]] = []
            runs: list[dict[int, int]] = []
            for at in range(columns.num_columns):
                chunk = columns.column(at)
                top, run = _measured(_pages(file, chunk))
                largest.append((top, chunk.path_in_schema))
                runs.append(run)
            if sum(top for top, _ in largest) > MAX_PAGES:
                raise TooLarge(max(largest)[1])
            while rows > 1 and sum(run[rows] for run in runs) > _AT_ONCE:
                rows //= 2
    return rows


def footer_fits(path: Path) -> bool:
    """Whether the file's description of itself, which is read as a whole, is of a sane size."""
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(file.tell() - 8, 0))
        tail = file.read(8)
    return not tail.endswith(b"PAR1") or int.from_bytes(tail[:4], "little") <= MAX_FOOTER


def _measured(pages: Iterable[Page]) -> tuple[int, dict[int, int]]:
    """Return the largest page, and for each number of rows the most bytes of pages that lie whole among them."""
    sizes = [MAX_ROWS_AT_ONCE >> n for n in range(MAX_ROWS_AT_ONCE.bit_length())]
    largest = 0
    most = dict.fromkeys(sizes, 0)
    windows: dict[int, deque[Page]] = {rows: deque() for rows in sizes}
    held = dict.fromkeys(sizes, (0, 0))
    for page in pages:
        largest = max(largest, page.bytes)
        for rows in sizes:
            window, (values, taken) = windows[rows], held[rows]
            window.append(page)
            values, taken = values + page.values, taken + page.bytes
            while values > rows and window:
                first = window.popleft()
                values, taken = values - first.values, taken - first.bytes
            held[rows] = values, taken
            most[rows] = max(most[rows], taken)
    return largest, most


def _pages(file: BinaryIO, chunk: Any) -> Iterator[Page]:
    starts = [chunk.data_page_offset]
    starts += [chunk.dictionary_page_offset] if chunk.has_dictionary_page and chunk.dictionary_page_offset else []
    at = min(starts)
    end = at + chunk.total_compressed_size
    while at < end:
        length, packed, page = _header(file, at)
        yield page
        at += length + packed


def _header(file: BinaryIO, at: int) -> tuple[int, int, Page]:
    """Return the length of the page's header, the bytes that follow it in the file, and the page."""
    for size in _HEADS:
        file.seek(at)
        data = file.read(size)
        reader = _Compact(data)
        try:
            fields = reader.struct()
        except IndexError:
            if len(data) < size:
                break
            continue
        unpacked, packed = _length(fields, 2), _length(fields, 3)
        # The values of a dictionary (7) are no rows of their own.
        rows = next((_length(fields[number], 1) for number in (5, 8) if isinstance(fields.get(number), dict)), 0)
        return reader.at, packed, Page(rows, max(unpacked, packed))
    raise BadPage("a page has no header")


def _length(fields: dict[int, Any], number: int) -> int:
    value = fields.get(number)
    if not isinstance(value, int) or value < 0:
        raise BadPage("a header lacks a length")
    return value


class _Compact:
    """Reads Thrift's compact protocol: structs become dicts by the number of the field, what is long is passed over."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        if depth > 8:
            raise BadPage("a header is nested too deeply")
        found: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            step, kind = head >> 4, head & 15
            number = number + step if step else self._zigzag()
            found[number] = self._value(kind, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        match kind:
            case 1 | 2:
                return kind == 1
            case 3:
                return self._byte()
            case 4 | 5 | 6:
                return self._zigzag()
            case 7:
                return self._skip(8)
            case 8:
                return self._skip(self._varint())
            case 9 | 10:
                head = self._byte()
                length = head >> 4 if head >> 4 < 15 else self._varint()
                for _ in range(length):  # each takes a byte at least, so it ends where the data does
                    self._byte() if head & 15 in (1, 2) else self._value(head & 15, depth + 1)
                return None
            case 12:
                return self.struct(depth + 1)
            case _:
                raise BadPage("a header holds what no header does")

    def _byte(self) -> int:
        value = self._data[self.at]
        self.at += 1
        return value

    def _skip(self, length: int) -> None:
        self.at += length
        if self.at > len(self._data):
            raise IndexError

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
            if shift > 63:
                raise BadPage("a number is too long")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
