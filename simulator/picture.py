"""The edit itself: a treatment that anybody can see, a frame, and the word SIMULATED in a corner.

The same request and seed give the same bytes. Decoding and encoding take tens of milliseconds: call it from a
thread.
"""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from simulator.inputs import UNREADABLE_ERRORS, InputError
from simulator.sizes import STEP, Size

MARK = "SIMULATED"
MARK_INK = (255, 255, 255)
MARK_GROUND = (200, 30, 60)
TOKEN_LENGTH = 64
_PLACEHOLDER = b"~" * TOKEN_LENGTH


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """A change of tone: a gain for each channel, contrast around the middle, and how much colour stays."""

    name: str
    gains: tuple[float, float, float]
    contrast: float
    colour: float


TREATMENTS = (
    Treatment(name="warm", gains=(1.20, 1.02, 0.74), contrast=1.15, colour=1.0),
    Treatment(name="cool", gains=(0.76, 1.00, 1.22), contrast=1.10, colour=1.0),
    Treatment(name="faded", gains=(1.08, 1.04, 1.12), contrast=0.62, colour=0.7),
    Treatment(name="grey", gains=(1.00, 1.00, 1.00), contrast=1.35, colour=0.0),
    Treatment(name="sepia", gains=(1.22, 1.00, 0.72), contrast=1.00, colour=0.15),
    Treatment(name="rose", gains=(1.22, 0.84, 1.02), contrast=1.10, colour=0.9),
)


def treatment_for(prompt: str) -> Treatment:
    """Return the treatment that a prompt always gets."""
    return TREATMENTS[sha256(prompt.encode()).digest()[0] % len(TREATMENTS)]


def edit(sources: Sequence[bytes | Path], size: Size, prompt: str, seed: int, format_: str) -> bytes:
    """Return the first of `sources` edited, `size` large, as jpeg, png or webp; the others are shown small.

    Without a source a plain gradient is edited.

    Raises:
        InputError: a source cannot be decoded.
    """
    images = [_decoded(source) for source in sources]
    image = _fitted(images[0], size) if images else _gradient(size)
    image = _treated(image, treatment_for(prompt), seed)
    _show_references(image, images[1:])
    _sign(image, sha256(f"{prompt}\n{seed}".encode()).digest())
    return _encoded(image, format_)


def _decoded(source: bytes | Path) -> Image.Image:
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            upright = ImageOps.exif_transpose(image)
            if not upright.has_transparency_data:
                return upright.convert("RGB")
            layer = upright.convert("RGBA")
            ground = Image.new("RGB", layer.size, "white")
            ground.paste(layer, mask=layer.getchannel("A"))
            return ground
    except UNREADABLE_ERRORS:
        raise InputError("no picture") from None


def _fitted(image: Image.Image, size: Size) -> Image.Image:
    """Cut the edges where that is all it takes, so that pixels stay where they were; else cover and scale."""
    spare = (image.width - size[0], image.height - size[1])
    if all(0 <= pixels < STEP for pixels in spare):
        left, top = spare[0] // 2, spare[1] // 2
        return image.crop((left, top, left + size[0], top + size[1]))
    return ImageOps.fit(image, size, method=Image.Resampling.BILINEAR)


def _gradient(size: Size) -> Image.Image:
    ramp = Image.linear_gradient("L")
    return Image.merge("RGB", (ramp.rotate(90), ramp, ramp.rotate(180))).resize(size)


def _treated(image: Image.Image, how: Treatment, seed: int) -> Image.Image:
    if how.colour < 1.0:
        image = Image.blend(image.convert("L").convert("RGB"), image, how.colour)
    lift = (seed % 21) - 10  # another seed, another brightness
    table: list[int] = []
    for gain in how.gains:
        table += [min(max(round((value * gain - 128) * how.contrast + 128 + lift), 0), 255) for value in range(256)]
    return image.point(table)


def _show_references(image: Image.Image, references: Sequence[Image.Image]) -> None:
    side = max(min(image.size) // 6, 8)
    for position, reference in enumerate(references):
        small = ImageOps.fit(reference, (side, side))
        image.paste(small, (side // 4 + position * (side + side // 4), image.height - side - side // 4))


def _sign(image: Image.Image, digest: bytes) -> None:
    width, height = image.size
    line = max(2, min(width, height) // 120)
    ImageDraw.Draw(image).rectangle((0, 0, width - 1, height - 1), outline=tuple(digest[:3]), width=line)
    mark = _mark()
    across = min(max(width // 5, 96), width * 3 // 4)
    mark = mark.resize((across, max(across * mark.height // mark.width, 6)))
    image.paste(mark, (width - line - mark.width, line))


@cache
def _mark() -> Image.Image:
    font = ImageFont.load_default(size=28)
    left, top, right, bottom = font.getbbox(MARK)
    mark = Image.new("RGB", (round(right - left) + 24, round(bottom - top) + 16), MARK_GROUND)
    ImageDraw.Draw(mark).text((12 - left, 8 - top), MARK, fill=MARK_INK, font=font)
    return mark


def _encoded(image: Image.Image, format_: str) -> bytes:
    out = io.BytesIO()
    match format_:
        case "png":
            image.save(out, "PNG", compress_level=1)
        case "webp":
            image.save(out, "WEBP", quality=85, method=0)
        case _:
            image.save(out, "JPEG", quality=90)
    return out.getvalue()


def stamped(size: Size, format_: str, token: str, grain: float = 0.0) -> bytes:
    """Return one ready picture with `token` (64 characters) in its metadata: distinct bytes for no work.

    `grain` is the share of noise in it, from 0 to 1.

    Raises:
        ValueError: the token has another length.
    """
    raw = token.encode("ascii")
    if len(raw) != TOKEN_LENGTH:
        raise ValueError(f"a token has {TOKEN_LENGTH} characters")
    head, tail = _template(size, format_, grain)
    if format_ != "png":
        return head + raw + tail
    chunk = b"tEXtrequest\x00" + raw
    return head + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + tail


@lru_cache(maxsize=8)
def _template(size: Size, format_: str, grain: float) -> tuple[bytes, bytes]:
    image = _gradient(size)
    if grain:
        noise = Image.frombytes("RGB", size, random.Random(0).randbytes(size[0] * size[1] * 3))
        image = Image.blend(image, noise, grain)
    _sign(image, bytes(3))
    if format_ == "png":
        data = _encoded(image, "png")
        return data[:-12], data[-12:]  # the last chunk, IEND, is 12 bytes long
    out = io.BytesIO()
    if format_ == "webp":
        image.save(out, "WEBP", quality=85, method=0, xmp=_PLACEHOLDER)
    else:
        image.save(out, "JPEG", quality=90, comment=_PLACEHOLDER)
    head, _, tail = out.getvalue().partition(_PLACEHOLDER)
    return head, tail
