"""Makes the small pictures of a report's contact sheet."""

from __future__ import annotations

import io

from PIL import Image

from jobs.pictures.decode import Decoded, decode, to_srgb
from jobs.pictures.header import inspect

_QUALITY = 82


def thumbnail(data: bytes, *, side: int = 256) -> bytes:
    """Return a JPEG of `data` that fits a square of `side` pixels: upright, in sRGB, on white, without metadata.

    A picture that is smaller already keeps its size. A JPEG of 1024 or 2048 pixels is decoded to 256 at once, and not
    resized, which would cost as much again.

    Raises:
        PictureError: as `inspect`, or `image_truncated`, `image_unreadable` while decoding.
    """
    picture = inspect(data)
    scale = min(1.0, side / max(picture.width, picture.height))
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    # A JPEG that is decoded to just over the size is good enough to look at, and half as dear as one of twice the size.
    found = decode(data, picture, at_least=(max(1, size[0] // 2), max(1, size[1] // 2)))
    small = found.image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    made = io.BytesIO()
    to_srgb(Decoded(small, found.profile)).save(made, "JPEG", quality=_QUALITY)
    return made.getvalue()
