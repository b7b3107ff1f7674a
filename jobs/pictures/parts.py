"""Takes JPEG, PNG and WebP files apart into their segments, without decoding a pixel.

A file is walked by seeking from one length field to the next, so a 200 MB picture costs a few small reads.
A walker trusts no length: a part that would end behind the file is `Truncated`, nonsense is `Malformed`.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
TAIL = b"tail"
"""The kind of what lies behind a PNG's or a WebP's formal end."""
SCAN = b"\xda"
"""The kind of a JPEG's last part: from its first scan to the end of the file."""


_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""What may follow FF inside a scan: a stuffed zero, a fill byte, a restart marker; anything else ends the scan."""
_LAST_BYTES = 1 << 16


class MalformedError(ValueError):
    """The bytes do not follow their format."""


class TruncatedError(MalformedError):
    """The bytes end before their format does."""


@dataclass(frozen=True, slots=True)
class Part:
    """One segment: all of it is `start:stop`, what it carries is `body:end` (offsets in bytes)."""

    kind: bytes
    start: int
    body: int
    end: int
    stop: int


def take(source: BinaryIO, at: int, count: int) -> bytes:
    """Return exactly `count` bytes from offset `at`.

    Raises:
        TruncatedError: there are fewer.
    """
    source.seek(at)
    found = source.read(count)
    if len(found) < count:
        raise TruncatedError(f"the file ends at byte {at + len(found)}")
    return found


def jpeg_parts(source: BinaryIO, size: int) -> Iterator[Part]:
    """Yield a JPEG's segments (kind: the marker's second byte) up to its first scan; `size` is the file's.

    Raises:
        MalformedError: something that is no segment stands where one should.
        TruncatedError: the file ends before its first scan.
    """
    if take(source, 0, 2) != b"\xff\xd8":
        raise MalformedError("not a JPEG")
    at = 2
    while True:
        marker = take(source, at, 2)
        while marker == b"\xff\xff":  # any number of fill bytes may stand before a marker
            at += 1
            marker = take(source, at, 2)
        if marker[0] != 0xFF or marker[1] in (0x00, 0xD8, 0xD9):
            raise MalformedError(f"no segment at byte {at}")
        if marker[1] == 0x01 or 0xD0 <= marker[1] <= 0xD7:  # markers without a length
            at += 2
            continue
        if marker[1:] == SCAN:
            yield Part(SCAN, start=at, body=at, end=size, stop=size)
            return
        (length,) = struct.unpack(">H", take(source, at + 2, 2))
        stop = at + 2 + length
        if length < 2:
            raise MalformedError(f"a segment of {length} bytes at byte {at}")
        if stop > size:
            raise TruncatedError(f"the segment at byte {at} ends behind the file")
        yield Part(marker[1:], start=at, body=at + 4, end=stop, stop=stop)
        at = stop


def walk_jpeg(data: bytes) -> None:
    """Go from scan to scan until the end marker; a progressive picture has several, with tables between them.

    Raises:
        MalformedError: as `jpeg_parts`.
        TruncatedError: there is no end marker.
    """
    source = io.BytesIO(data)
    at = next(part.start for part in jpeg_parts(source, len(data)) if part.kind == SCAN)
    while data[at + 1] != 0xD9:
        (length,) = struct.unpack(">H", take(source, at + 2, 2))
        found = _MARKER.search(data, at + 2 + length)
        if found is None:
            raise TruncatedError(f"no end marker in its {len(data)} bytes")
        at = found.start()


def check_jpeg_end(source: BinaryIO, size: int) -> None:
    """Look for a JPEG's end marker: among the last bytes, and only where it is not there, by reading everything.

    Cameras add films and previews behind the end. A scan never holds the marker's two bytes, so one that stands
    behind the last scan's beginning is the end.

    Raises:
        MalformedError, TruncatedError: as `walk_jpeg`.
    """
    start = max(size - _LAST_BYTES, 0)
    tail = take(source, start, size - start)
    if tail.rfind(b"\xff\xd9") <= tail.rfind(b"\xff\xda"):
        walk_jpeg(take(source, 0, size))


def png_parts(source: BinaryIO, size: int) -> Iterator[Part]:
    """Yield a PNG's chunks (kind: the four letters) up to IEND, then what lies behind it as one `TAIL`.

    Checksums are not looked at.

    Raises:
        MalformedError: something that is no chunk stands where one should.
        TruncatedError: the file ends before IEND does.
    """
    if take(source, 0, 8) != PNG_SIGNATURE:
        raise MalformedError("not a PNG")
    at, kind = 8, b""
    while kind != b"IEND":
        length, kind = struct.unpack(">I4s", take(source, at, 8))
        if not kind.isalpha():
            raise MalformedError(f"no chunk at byte {at}")
        stop = at + 12 + length
        if stop > size:
            raise TruncatedError(f"the chunk at byte {at} ends behind the file")
        yield Part(kind, start=at, body=at + 8, end=stop - 4, stop=stop)
        at = stop
    if at < size:
        yield Part(TAIL, start=at, body=at, end=size, stop=size)


def webp_parts(source: BinaryIO, size: int) -> Iterator[Part]:
    """Yield a WebP's chunks (kind: the four letters), then what lies behind its RIFF length as one `TAIL`.

    Raises:
        MalformedError: something that is no chunk stands where one should.
        TruncatedError: the RIFF length is more than the file has.
    """
    riff, length, webp = struct.unpack("<4sI4s", take(source, 0, 12))
    if riff != b"RIFF" or webp != b"WEBP":
        raise MalformedError("not a WebP")
    if 8 + length > size:
        raise TruncatedError(f"the file says {8 + length} bytes and has {size}")
    at, limit = 12, 8 + length
    while at < limit:
        kind, count = struct.unpack("<4sI", take(source, at, 8))
        end = at + 8 + count
        stop = min(end + count % 2, limit)  # some writers leave the last padding byte out
        if end > limit:
            raise MalformedError(f"the chunk at byte {at} ends behind its container")
        yield Part(kind, start=at, body=at + 8, end=end, stop=stop)
        at = stop
    if limit < size:
        yield Part(TAIL, start=limit, body=limit, end=size, stop=size)


def exif_orientation(block: bytes) -> int:
    """Return the orientation (1..8, the Exif spec's) in an Exif block; 1 where it says none or nonsense."""
    tiff = block.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    magic, first = struct.unpack_from(order + "HI", tiff, 2)
    if magic != 42 or first + 2 > len(tiff):
        return 1
    (count,) = struct.unpack_from(order + "H", tiff, first)
    for entry in range(first + 2, min(first + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind, values, value = struct.unpack_from(order + "HHIH", tiff, entry)
        if tag == 0x0112 and kind == 3 and values == 1:
            return value if 1 <= value <= 8 else 1
    return 1
