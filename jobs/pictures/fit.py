"""Makes a picture fit what a model takes: an input over the limits is shrunk, not refused.

When nothing is needed, the very same bytes come back. Where something is, the picture is written anew: turned
upright, without metadata, with its colour profile.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from jobs.pictures.decode import Decoded, decode, to_srgb
from jobs.pictures.header import Format, Picture, PictureError, inspect

_QUALITIES = (95, 90, 85, 80)
_LOSSLESS = 0
_STEP = 0.8
"""How much each side shrinks when no quality brings the bytes down."""
_GRID = 16
"""FLUX.2 crops each side to a multiple of 16 (docs), so a picture that is resized anyway gets such sides."""
_STRETCH = 0.005
"""How much the ratio of the sides may change for that: less than what the crop would take away."""
_WEBP_SIDE = 16_383
"""The longest side that a WebP can have (its spec: 14 bits)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A picture that a model takes; `note` says in words what was done to it, and is empty when nothing was."""

    data: bytes
    picture: Picture
    note: str


def fit(data: bytes, *, max_bytes: int, max_pixels: int) -> Fitted:
    """Return `data`, shrunk and converted where it is over the limits or no JPEG, PNG or WebP.

    A JPEG stays JPEG (quality 95, lower only for too many bytes). A PNG stays PNG; with too many bytes it becomes
    WebP if it has alpha, else JPEG. GIF, BMP and TIFF become PNG (first frame), since the API does not document
    that it takes them.

    Raises:
        PictureError: as `inspect`, or `image_truncated`, `image_unreadable` while decoding,
            `image_too_large` when no size gets under `max_bytes`.
    """
    picture = inspect(data)
    foreign = picture.format in ("gif", "bmp", "tiff")
    if picture.pixels <= max_pixels and picture.bytes <= max_bytes and not foreign:
        return Fitted(data=data, picture=picture, note="")
    target = size_within(picture.width, picture.height, max_pixels)
    found = decode(data, picture, at_least=target)
    if found.image.mode == "CMYK" and picture.format != "jpeg":  # neither PNG nor WebP can hold it
        found = Decoded(to_srgb(found), None)
    original: Format = "png" if foreign else picture.format
    for size in _sizes(target):
        image = found.image if size == found.image.size else found.image.resize(size, Image.Resampling.LANCZOS)
        for kind, quality in _ladder(original, image):
            made = _encoded(image, kind, quality, found.profile)
            if len(made) <= max_bytes:
                done = inspect(made)
                limit = f"{max_pixels / 1e6:g} MP" if size == target else f"{max_bytes / 1e6:g} MB"
                return Fitted(data=made, picture=done, note=_note(picture, done, quality, limit, max_bytes))
    raise PictureError("image_too_large", f"no size brings it under {max_bytes} bytes; use another picture")


def size_within(width: int, height: int, max_pixels: int) -> tuple[int, int]:
    """Return the largest size of the same ratio with at most `max_pixels`; never larger than it is.

    A picture that has to shrink gets sides that are multiples of 16 where the ratio then changes by under 0.5 %.

    >>> size_within(6000, 4000, 4_000_000)
    (2448, 1632)
    """
    if width * height <= max_pixels:
        return width, height
    scale = math.sqrt(max_pixels / (width * height))
    plain = max(1, int(width * scale)), max(1, int(height * scale))
    top = plain[0] // _GRID
    best: tuple[float, int, int] | None = None
    for columns in range(top, math.floor(top * 0.95), -1):
        rows = round(columns * height / width)
        if rows and columns * rows * _GRID**2 <= max_pixels:
            stretch = abs(columns * height / (rows * width) - 1)
            if best is None or stretch < best[0]:
                best = stretch, columns * _GRID, rows * _GRID
    if best is not None and best[0] <= _STRETCH:
        return best[1], best[2]
    if plain[0] * plain[1] <= max_pixels:
        return plain
    return (1, max_pixels) if plain[0] == 1 else (max_pixels, 1)  # the short side was rounded up to a pixel


def _sizes(target: tuple[int, int]) -> Iterator[tuple[int, int]]:
    size = target
    while max(size) > 1:
        yield size
        size = size_within(*size, max(1, int(size[0] * size[1] * _STEP**2)))


def _ladder(original: Format, image: Image.Image) -> Iterator[tuple[Format, int]]:
    """Yield the ways to write the picture, the truest first."""
    alpha = image.mode in ("RGBA", "LA")
    webp = max(image.size) <= _WEBP_SIDE
    if original == "png":
        yield "png", _LOSSLESS
        if alpha and webp:
            yield "webp", _LOSSLESS
    lossy: Format = "webp" if alpha or original == "webp" else "jpeg"
    if lossy == "jpeg" or webp:
        for quality in _QUALITIES:
            yield lossy, quality


def _encoded(image: Image.Image, kind: Format, quality: int, profile: bytes | None) -> bytes:
    made = io.BytesIO()
    icc = profile or b""
    if kind == "png":
        image.save(made, "PNG", icc_profile=icc)
    elif kind == "webp":
        colours = image.convert("RGBA" if image.mode in ("RGBA", "LA") else "RGB")
        icc = icc if image.mode in ("RGB", "RGBA") else b""  # a grey profile does not describe RGB
        image_quality = 75 if quality == _LOSSLESS else quality  # without loss it is an effort
        colours.save(made, "WEBP", lossless=quality == _LOSSLESS, quality=image_quality, icc_profile=icc)
    else:
        # Full colour resolution at the best quality: what is edited next should not start with smeared edges.
        image.save(made, "JPEG", quality=quality, subsampling=0 if quality == 95 else 2, icc_profile=icc)
    return made.getvalue()


def _note(before: Picture, after: Picture, quality: int, limit: str, max_bytes: int) -> str:
    said: list[str] = []
    if (before.width, before.height) != (after.width, after.height):
        said.append(
            f"shrunk from {before.width}x{before.height} to {after.width}x{after.height} (the model takes {limit})"
        )
    if before.format != after.format:
        said.append(f"converted from {before.format.upper()} to {after.format.upper()}")
    if not said:
        said.append(f"written at quality {quality} (the model takes {max_bytes / 1e6:g} MB)")
    elif quality not in (_LOSSLESS, _QUALITIES[0]):
        said.append(f"written at quality {quality}")
    return ", ".join(said)
