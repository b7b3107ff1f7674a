"""Checks what the API delivered, before it is filed.

A full decode is not the proof that it seems to be. Measured on a 1024x1024 picture, it costs 27 ms for PNG, 6 ms
for JPEG and 28 ms for WebP, and for JPEG and WebP it lets zeros or a hole in the middle pass. Walking the
structure to its formal end finds every cut that a decode finds, and a PNG's checksums prove each of its bytes:
0.6 ms for PNG, 0.25 ms for JPEG, 0.01 ms for WebP. What it cannot see is an encoder that wrote nonsense in good order.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable

from jobs.pictures.header import Format, Picture, PictureError, inspect, looks_like, sniff
from jobs.pictures.parts import (
    TAIL,
    MalformedError,
    Part,
    TruncatedError,
    png_parts,
    walk_jpeg,
    webp_parts,
)


def check_result(data: bytes, *, content_length: int | None) -> Picture:
    """Return what was delivered, or say why it is not the whole picture.

    `content_length` is the reply's header in bytes, None where it had none. The result may be JPEG, PNG or WebP.
    Only the format matters: a file that is an image and something else besides is only ever served as an image.

    Raises:
        PictureError: `result_truncated` (fetching it again helps), `result_unreadable` (it does not).
    """
    if content_length is not None and len(data) != content_length:
        raise PictureError(
            "result_truncated", f"{len(data)} of {content_length} bytes of the result arrived; fetch it again"
        )
    if not data:
        raise PictureError("result_truncated", "the result arrived empty; fetch it again")
    kind = sniff(data[:32])
    if kind not in _WALKS:
        name = looks_like(data[:512]) if kind is None else f"a {kind.upper()}"
        raise PictureError("result_unreadable", f"the API delivered {name} of {len(data)} bytes, not a picture")
    try:
        _WALKS[kind](data)
        return inspect(data)
    except TruncatedError as error:
        raise PictureError("result_truncated", f"the result is cut off: {error}; fetch it again") from None
    except MalformedError as error:
        raise PictureError("result_unreadable", f"the result is damaged: {error}") from None
    except PictureError as error:
        raise PictureError("result_unreadable", f"the result cannot be used: {error}") from None


def _walk_png(data: bytes) -> None:
    view = memoryview(data)
    seen: set[bytes] = set()
    for part in png_parts(io.BytesIO(data), len(data)):
        seen.add(part.kind)
        if part.kind != TAIL and zlib.crc32(view[part.start + 4 : part.end]) != _stated_crc(view, part):
            raise MalformedError(f"the checksum at byte {part.end} is wrong")
    if b"IDAT" not in seen:
        raise MalformedError("no pixels in it")


def _stated_crc(view: memoryview, part: Part) -> int:
    return int.from_bytes(view[part.end : part.stop], "big")


def _walk_webp(data: bytes) -> None:
    kinds = {part.kind for part in webp_parts(io.BytesIO(data), len(data))}
    if not kinds & {b"VP8 ", b"VP8L", b"ANMF"}:
        raise MalformedError("no pixels in it")


_WALKS: dict[Format | None, Callable[[bytes], None]] = {"jpeg": walk_jpeg, "png": _walk_png, "webp": _walk_webp}
