"""Files that are not what they should be: manifests and pictures that a person, or somebody hostile, hands in."""

from __future__ import annotations

import gzip
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow
import pyarrow.parquet
from PIL import Image

Write = Callable[[Path], object]

HEADER = "id,image,prompt\n"
MEGABYTES_10 = 10_000_000


def holding(content: str | bytes) -> Write:
    """Return what writes this content."""
    data = content.encode() if isinstance(content, str) else content
    return lambda path: path.write_bytes(data)


def zip_bomb(path: Path) -> None:
    """Write a workbook of 120 MB in 120 kB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b"<row/>" * 20_000_000)


def gzip_bomb(path: Path) -> None:
    """Write a table of 160 MB in 160 kB."""
    path.write_bytes(gzip.compress(HEADER.encode() + b"a,s3://x/a.jpg,p\n" * 10_000_000, 9))


def parquet_bomb(path: Path) -> None:
    """Write a table whose hundred cells of 10 MB are stored as one."""
    rows = {"image": ["s3://x/a.jpg"] * 100, "prompt": ["p"] * 100, "note": ["x" * MEGABYTES_10] * 100}
    pyarrow.parquet.write_table(pyarrow.table(rows), path)


def cut_gzip() -> bytes:
    """Return the first half of a gzip file that cannot be packed."""
    return gzip.compress(b"image\n" + os.urandom(99_999).hex().encode())[:-50_000]


def whole(kind: str) -> bytes:
    """Return a picture of noise, so that no part of it is missed without being missed."""
    held = io.BytesIO()
    Image.effect_noise((400, 300), 60).convert("RGB").save(held, kind)
    return held.getvalue()


def png_bomb() -> bytes:
    """Return a PNG of 13,000 x 13,000 in a few hundred bytes: 169 megapixels, over half a gigabyte once decoded."""
    head = struct.pack(">IIBBBBB", 13_000, 13_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 1_000)), (b"IEND", b""))
    data = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + data


PICTURES: Mapping[str, tuple[bytes, str]] = {
    "a text": (b"hello, I am not a picture", "image_unreadable"),
    "a web page": (b"<!doctype html><title>not found</title>", "image_unreadable"),
    "a JPEG that is cut off": (whole("JPEG")[:5_000], "image_truncated"),
    "a PNG that is cut off": (whole("PNG")[:5_000], "image_truncated"),
    "a WebP that is cut off": (whole("WEBP")[:5_000], "image_truncated"),
    "zero bytes": (b"", "image_empty"),
    "169 megapixels": (png_bomb(), "image_too_large"),
    "a beginning and nothing else": (b"GIF8", "image_unreadable"),
}
"""Contents of a file that should be a picture, and the reason code that each gets."""
