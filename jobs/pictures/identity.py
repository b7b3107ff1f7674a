"""The identity of a picture: a hash that a rewritten EXIF leaves alone and a changed pixel does not.

It is part of every fingerprint, so a change here would buy a whole catalogue again: `VERSION` goes into the hash,
and a new rule needs a new version. Orientation and colour profile count, because they change what is seen.
"""

from __future__ import annotations

import hashlib
import io
import struct
from dataclasses import dataclass

from jobs.pictures.header import Format, sniff
from jobs.pictures.parts import (
    PNG_SIGNATURE,
    MalformedError,
    exif_orientation,
    jpeg_parts,
    png_parts,
    webp_parts,
)

VERSION = b"picture-1\n"

_ICC = b"ICC_PROFILE\0"
_PNG_METADATA = frozenset({b"tEXt", b"zTXt", b"iTXt", b"tIME", b"eXIf", b"pHYs", b"caBX"})
"""Text, dates, Exif, density (metadata by another name) and content credentials."""
_WEBP_METADATA = frozenset({b"EXIF", b"XMP ", b"C2PA"})
_WEBP_ALPHA, _WEBP_METADATA_BITS = 0x10, 0x08 | 0x04


@dataclass(frozen=True, slots=True)
class Essence:
    """A picture without its metadata: the parts that change what is seen, and the orientation (1..8)."""

    format: Format
    parts: tuple[bytes | memoryview, ...]
    orientation: int


def identity(data: bytes) -> str:
    """Return the identity of a picture as 64 hex digits; never raises.

    JPEG: Exif, XMP, IPTC, comments and every other APPn segment are left out, but not the ICC profile and the
    Adobe segment (it changes how colours are decoded). JFIF is left out as density: tools that write Exif drop it.
    PNG: text, tIME, eXIf and pHYs are left out. WebP: EXIF and XMP, and their bits in the header.
    The Exif orientation counts, a missing one as 1. Any other format, and anything malformed: all its bytes.
    """
    digest = hashlib.sha256(VERSION)
    try:
        essence = essence_of(data)
    except MalformedError:
        digest.update(b"whole\n" + data)
        return digest.hexdigest()
    digest.update(f"{essence.format} {essence.orientation}\n".encode())
    for part in essence.parts:
        digest.update(struct.pack(">Q", len(part)))  # without lengths, two different cuts could hash alike
        digest.update(part)
    return digest.hexdigest()


def essence_of(data: bytes) -> Essence:
    """Return a JPEG, PNG or WebP without its metadata.

    Raises:
        MalformedError: it is none of these, or does not follow its format.
    """
    match sniff(data[:32]):
        case "jpeg":
            return _jpeg(data)
        case "png":
            return _png(data)
        case "webp":
            return _webp(data)
        case _:
            raise MalformedError("neither JPEG nor PNG nor WebP")


def without_metadata(data: bytes) -> bytes:
    """Return a JPEG or PNG file without its metadata, any other (or a malformed) one as it is.

    This is what a decoder gets: damaged Exif makes it warn, and a large text chunk makes it refuse the picture.
    """
    try:
        essence = essence_of(data)
    except MalformedError:
        return data
    start = {"jpeg": b"\xff\xd8", "png": PNG_SIGNATURE}.get(essence.format)
    return data if start is None else start + b"".join(essence.parts)


def _jpeg(data: bytes) -> Essence:
    view = memoryview(data)
    kept: list[bytes | memoryview] = []
    exif = b""
    for part in jpeg_parts(io.BytesIO(data), len(data)):
        body = data[part.body : min(part.end, part.body + 16)]
        marker = part.kind[0]
        if marker == 0xE1 and body.startswith(b"Exif\0\0"):
            block = data[part.body : part.end]
            exif += block[6:] if exif else block
        if marker == 0xFE or (0xE0 <= marker <= 0xEF and not _changes_colour(marker, body)):
            continue
        kept.append(view[part.start : part.stop])
    return Essence("jpeg", tuple(kept), exif_orientation(exif))


def _changes_colour(marker: int, body: bytes) -> bool:
    return (marker == 0xE2 and body.startswith(_ICC)) or (marker == 0xEE and body.startswith(b"Adobe"))


def _png(data: bytes) -> Essence:
    view = memoryview(data)
    kept: list[bytes | memoryview] = []
    orientation = 1
    for part in png_parts(io.BytesIO(data), len(data)):
        if part.kind == b"eXIf":
            orientation = exif_orientation(data[part.body : part.end])
        if part.kind not in _PNG_METADATA:
            kept.append(view[part.start : part.stop])
    return Essence("png", tuple(kept), orientation)


def _webp(data: bytes) -> Essence:
    view = memoryview(data)
    parts = list(webp_parts(io.BytesIO(data), len(data)))
    lossless = any(part.kind == b"VP8L" for part in parts)
    kept: list[bytes | memoryview] = []
    orientation = 1
    for part in parts:
        if part.kind == b"EXIF":
            orientation = exif_orientation(data[part.body : part.end])
        if part.kind == b"VP8X" and part.end > part.body:
            flags = data[part.body] & ~_WEBP_METADATA_BITS
            # A plain file gets this header only when metadata is added; a lossless frame tells its own alpha.
            if flags & ~(_WEBP_ALPHA if lossless else 0):
                kept.append(b"VP8X" + bytes([flags]) + data[part.body + 1 : part.end])
        elif part.kind not in _WEBP_METADATA:
            kept.append(view[part.start : part.end])
    return Essence("webp", tuple(kept), orientation)
