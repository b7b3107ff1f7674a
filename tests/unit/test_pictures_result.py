"""Checking what the API delivered: every cut is found, by its length or by its structure."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jobs.pictures import PictureError, check_result, inspect


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    made = io.BytesIO()
    image.save(made, kind, **options)
    return made.getvalue()


PICTURE = Image.effect_noise((48, 32), 60).convert("RGB")
RESULTS = [
    saved(PICTURE, "JPEG", quality=90),
    saved(PICTURE, "JPEG", quality=90, progressive=True),
    saved(PICTURE, "JPEG", quality=90, restart_marker_blocks=2),
    saved(PICTURE, "PNG"),
    saved(PICTURE, "WEBP"),
    saved(PICTURE, "WEBP", lossless=True),
]
NAMES = ["jpeg", "progressive", "restarts", "png", "webp", "lossless"]
result = pytest.mark.parametrize("data", RESULTS, ids=NAMES)


def refusal(data: bytes, content_length: int | None) -> str:
    with pytest.raises(PictureError) as caught:
        check_result(data, content_length=content_length)
    return caught.value.code


@result
@pytest.mark.parametrize("counted", [True, False])
def test_a_whole_result_is_its_picture(data: bytes, counted: bool) -> None:
    assert check_result(data, content_length=len(data) if counted else None) == inspect(data)


@result
def test_a_result_of_another_length_is_truncated(data: bytes) -> None:
    assert refusal(data, len(data) + 1) == "result_truncated"
    assert refusal(data[:-1], len(data)) == "result_truncated"


@result
def test_a_cut_anywhere_is_found_without_a_length(data: bytes) -> None:
    for kept in range(12, len(data)):
        assert refusal(data[:kept], None) == "result_truncated"


# A WebP has neither an end marker nor checksums, and a decoder takes such a one too.
@pytest.mark.parametrize("data", RESULTS[:4], ids=NAMES[:4])
def test_a_tail_of_zeros_in_the_right_length_is_found(data: bytes) -> None:
    half = data[: len(data) // 2] + bytes(len(data) - len(data) // 2)

    assert refusal(half, len(half)).startswith("result_")


@given(st.integers(8, len(RESULTS[3]) - 1), st.integers(1, 255))
def test_any_flipped_byte_of_a_png_is_found(at: int, flip: int) -> None:
    png = RESULTS[3]
    damaged = png[:at] + bytes([png[at] ^ flip]) + png[at + 1 :]

    assert refusal(damaged, len(damaged)) in ("result_unreadable", "result_truncated")


def test_nothing_is_truncated() -> None:
    assert refusal(b"", 0) == "result_truncated"
    assert refusal(b"", None) == "result_truncated"


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"<?xml version='1.0'?><Error><Code>AuthenticationFailed</Code></Error>", "an XML document"),
        (b"<html>Bad gateway</html>", "an HTML page"),
        (b'{"detail":"Not Found"}', "JSON"),
        (saved(PICTURE, "GIF"), "a GIF"),
        (b"\x89PN", "no picture"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, name: str) -> None:
    with pytest.raises(PictureError, match=name) as caught:
        check_result(data, content_length=len(data))

    assert caught.value.code == "result_unreadable"


def test_bytes_behind_the_end_of_a_picture_do_not_make_it_another() -> None:
    for data in RESULTS[0], RESULTS[3], RESULTS[4]:
        both = data + b"<html><script>alert(1)</script></html>"
        assert check_result(both, content_length=len(both)).format == inspect(data).format


def test_a_result_without_pixels_is_unreadable() -> None:
    png = RESULTS[3]
    start, end = png.index(b"IDAT") - 4, png.index(b"IEND") - 4

    assert refusal(png[:start] + png[end:], None) == "result_unreadable"
    assert refusal(b"RIFF\x04\0\0\0WEBP", 12) == "result_unreadable"
    assert refusal(b"\xff\xd8\xff\xda\0\x02\xff\xd9", 8) == "result_unreadable"


@given(st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x40\0\0\0WEBP"]), st.binary(max_size=300))
def test_any_bytes_are_a_picture_or_a_picture_error(start: bytes, rest: bytes) -> None:
    assert refusal(start + rest, None).startswith("result_")
