"""Any number of photographs of 200 KB, each another picture, at the price of writing them.

One JPEG of noise is made; the others differ from it in the quantisation table of its colours, so that every one is a
whole JPEG with pixels of its own, and not the same picture with other metadata.
"""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

from PIL import Image

BYTES = 200_000
_SIDE = 640
_DQT = b"\xff\xdb\x00\x43\x01"
"""The start of the second quantisation table: its marker, its length, and 1 as its number."""
_DIGITS = 4
_STEPS = 250


def write_photographs(folder: Path, count: int) -> list[str]:
    """Write `count` different JPEGs of about 200 KB into `folder`, which is made; return their names."""
    head, place, tail = _original()
    folder.mkdir(parents=True)
    names = []
    for number in range(count):
        name = f"photo-{number:06d}.jpg"
        table = bytearray(place)
        rest = number
        for at in range(_DIGITS):
            rest, digit = divmod(rest, _STEPS)
            table[-1 - at] = 1 + digit
        handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.writev(handle, [head, table, tail])
        os.close(handle)
        names.append(name)
    return names


def _original() -> tuple[bytes, bytes, bytes]:
    """Return a JPEG as what stands before its second quantisation table, the 64 values of that, and the rest."""
    noise = Image.merge("RGB", [Image.effect_noise((_SIDE, _SIDE), sigma) for sigma in (60, 30, 90)])
    quality = next(q for q in range(50, 101) if len(_jpeg(noise, q)) >= BYTES)
    data = _jpeg(noise, quality)
    start = data.index(_DQT) + len(_DQT)
    return data[:start], data[start : start + 64], data[start + 64 :]


def _jpeg(image: Image.Image, quality: int) -> bytes:
    made = BytesIO()
    image.save(made, "JPEG", quality=quality)
    return made.getvalue()
