"""The identity of a picture: metadata is rewritten by cutting segments, never by a library that re-encodes."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jobs.pictures import identity

PICTURE = Image.effect_noise((48, 32), 60).convert("RGB")
CLEAR = PICTURE.copy()
CLEAR.putalpha(Image.linear_gradient("L").resize((48, 32)))
PROFILE = b"\0\0\0\x80test" + bytes(8) + b"RGB " + bytes(108)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    made = io.BytesIO()
    image.save(made, kind, **options)
    return made.getvalue()


def exif(orientation: int | None, text: bytes = b"") -> bytes:
    """Return an Exif block with an orientation, or none, and some other text in it."""
    maker = struct.pack(">HHII", 0x010F, 2, len(text) + 1, 64)
    entries = [maker] if orientation is None else [maker, struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)]
    directory = struct.pack(">H", len(entries)) + b"".join(entries) + bytes(4)
    return b"Exif\0\0" + (b"MM\0*\0\0\0\x08" + directory).ljust(64, b"\0") + text + b"\0"


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_segments(data: bytes, *segments: bytes) -> bytes:
    return data[:2] + b"".join(segments) + data[2:]


def with_chunks(data: bytes, *chunks: bytes) -> bytes:
    return data[:33] + b"".join(chunks) + data[33:]  # behind the header chunk


def with_riff(data: bytes, flags: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return the WebP with chunks at its end, and the long header that announces them."""
    body = data[12:]
    if not body.startswith(b"VP8X"):
        size = (47).to_bytes(3, "little") + (31).to_bytes(3, "little")
        alpha = 0x10 if body.startswith(b"VP8L") and body[12] & 0x10 else 0
        body = b"VP8X\x0a\0\0\0" + bytes([alpha, 0, 0, 0]) + size + body
    body = body[:8] + bytes([body[8] | flags]) + body[9:]
    for kind, payload in chunks:
        body += kind + struct.pack("<I", len(payload)) + payload + bytes(len(payload) % 2)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


JPEG = saved(PICTURE, "JPEG", quality=90)
PROGRESSIVE = saved(PICTURE, "JPEG", quality=90, progressive=True, icc_profile=PROFILE)
PNG = saved(PICTURE, "PNG")
PNG_PROFILE = saved(CLEAR, "PNG", icc_profile=PROFILE)
WEBP = saved(PICTURE, "WEBP", quality=80)
WEBP_LOSSLESS = saved(CLEAR, "WEBP", lossless=True)
WEBP_ALPHA = saved(CLEAR, "WEBP", quality=80)
WEBP_PROFILE = saved(PICTURE, "WEBP", icc_profile=PROFILE)

text = st.binary(max_size=60)
jpeg_metadata = st.one_of(
    st.builds(lambda body: segment(0xFE, body), text),
    st.builds(lambda body: segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + body), text),
    st.builds(lambda body: segment(0xED, b"Photoshop 3.0\0" + body), text),
    st.builds(lambda body: segment(0xE2, b"MPF\0" + body), text),
    st.builds(lambda body: segment(0xE0, b"JFIF\0\x01\x02\x01" + body), text),
    st.builds(lambda marker, body: segment(marker, body), st.sampled_from([0xE3, 0xEB, 0xEC, 0xEF]), text),
)
png_metadata = st.builds(chunk, st.sampled_from([b"tEXt", b"zTXt", b"iTXt", b"tIME", b"pHYs"]), text) | st.builds(
    lambda body: chunk(b"eXIf", exif(None, body)[6:]), text
)


@given(st.sampled_from([JPEG, PROGRESSIVE]), st.lists(jpeg_metadata, max_size=4), st.none() | text)
def test_rewritten_metadata_is_no_change_to_a_jpeg(data: bytes, segments: list[bytes], maker: bytes | None) -> None:
    block = [] if maker is None else [segment(0xE1, exif(None, maker))]

    assert identity(with_segments(data, *block, *segments)) == identity(data)


@given(st.sampled_from([PNG, PNG_PROFILE]), st.lists(png_metadata, max_size=4))
def test_rewritten_metadata_is_no_change_to_a_png(data: bytes, chunks: list[bytes]) -> None:
    assert identity(with_chunks(data, *chunks)) == identity(data)
    assert identity(data[:-12] + b"".join(chunks) + data[-12:]) == identity(data)


@given(st.sampled_from([WEBP, WEBP_LOSSLESS, WEBP_ALPHA, WEBP_PROFILE]), st.none() | text, st.none() | text)
def test_rewritten_metadata_is_no_change_to_a_webp(data: bytes, maker: bytes | None, xmp: bytes | None) -> None:
    chunks = [(b"EXIF", exif(None, maker))] if maker is not None else []
    chunks += [(b"XMP ", xmp)] if xmp is not None else []
    flags = (0x08 if maker is not None else 0) | (0x04 if xmp is not None else 0)

    assert identity(with_riff(data, flags, *chunks)) == identity(data)


def carriers(orientation: int) -> list[bytes]:
    return [
        with_segments(JPEG, segment(0xE1, exif(orientation))),
        with_chunks(PNG, chunk(b"eXIf", exif(orientation)[6:])),
        with_riff(WEBP, 0x08, (b"EXIF", exif(orientation))),
    ]


@pytest.mark.parametrize("format", [0, 1, 2], ids=["jpeg", "png", "webp"])
def test_every_orientation_is_another_picture_and_none_is_the_first(format: int) -> None:  # noqa: A002
    plain = [JPEG, PNG, WEBP][format]

    turned = {identity(carriers(orientation)[format]) for orientation in range(2, 9)}

    assert len(turned) == 7
    assert identity(plain) not in turned
    assert identity(carriers(1)[format]) == identity(carriers(0)[format]) == identity(plain)


@pytest.mark.parametrize(
    ("plain", "profiled", "other"),
    [
        (saved(PICTURE, kind), saved(PICTURE, kind, icc_profile=PROFILE), saved(PICTURE, kind, icc_profile=changed))
        for kind in ("JPEG", "PNG", "WEBP")
        for changed in [PROFILE[:-1] + b"\x01"]
    ],
    ids=["jpeg", "png", "webp"],
)
def test_a_colour_profile_counts(plain: bytes, profiled: bytes, other: bytes) -> None:
    assert len({identity(plain), identity(profiled), identity(other)}) == 3


def test_the_adobe_segment_counts_because_it_changes_the_colours() -> None:
    adobe = segment(0xEE, b"Adobe\0\x64\0\0\0\0\0")

    assert identity(with_segments(JPEG, adobe)) != identity(JPEG)


def test_a_webp_whose_transparency_is_switched_off_is_another_picture() -> None:
    assert WEBP_ALPHA[12:16] == b"VP8X"

    assert identity(WEBP_ALPHA[:20] + bytes([WEBP_ALPHA[20] & ~0x10]) + WEBP_ALPHA[21:]) != identity(WEBP_ALPHA)


@given(st.sampled_from([JPEG, PNG, WEBP, WEBP_LOSSLESS]), st.data())
def test_one_changed_byte_of_pixel_data_is_another_picture(data: bytes, draw: st.DataObject) -> None:
    start = {JPEG: JPEG.index(b"\xff\xda") + 14, PNG: PNG.index(b"IDAT") + 4}.get(data, 20)
    stop = len(data) - 16
    at = draw.draw(st.integers(start, stop - 1))
    flip = draw.draw(st.integers(1, 255))

    assert identity(data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]) != identity(data)


@given(st.sampled_from([JPEG, PNG, WEBP]), st.data())
def test_a_cut_picture_is_another_picture(data: bytes, draw: st.DataObject) -> None:
    assert identity(data[: draw.draw(st.integers(0, len(data) - 1))]) != identity(data)


@pytest.mark.parametrize(
    "data", [b"", b"text", saved(PICTURE, "BMP"), saved(PICTURE, "GIF"), JPEG[:100], PNG[:-5], WEBP[:-1]]
)
def test_other_formats_and_damaged_files_are_all_their_bytes(data: bytes) -> None:
    assert identity(data) == hashlib.sha256(b"picture-1\nwhole\n" + data).hexdigest()


@given(st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x40\0\0\0WEBP"]), st.binary(max_size=300))
def test_any_bytes_have_an_identity(start: bytes, rest: bytes) -> None:
    assert len(identity(start + rest)) == 64


def test_the_identity_of_a_known_picture_never_changes() -> None:
    """A failure here means that every customer's catalogue would be bought again: raise the version instead."""
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", bytes(13)) + chunk(b"IDAT", b"pixels") + chunk(b"IEND", b"")
    jpeg = b"\xff\xd8" + segment(0xDB, b"table") + segment(0xE1, exif(6)) + b"\xff\xdascan\xff\xd9"
    webp = b"RIFF\x12\0\0\0WEBPVP8 \x06\0\0\0pixels"

    assert identity(png) == "b910fd2b97cd07b046116ade3d7b5bc0f06b4a469443f8467863b64b86c47142"
    assert identity(jpeg) == "2939cc4697748a34084df6ccef2434f9df7966e3d002bcffdecfd74946725939"
    assert identity(webp) == "31418f39aa8dfbc5cd1b82fccfbd4ef3eaf950faf8b3a8dd3db6ccb1d3c66968"
