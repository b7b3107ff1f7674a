"""Inspecting pictures: what a header says, and what is refused with which words."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from jobs.pictures import MAX_BYTES, PictureError, extension, inspect, media_type
from jobs.pictures.header import Format


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    made = io.BytesIO()
    image.save(made, kind, **options)
    return made.getvalue()


def exif(orientation: int) -> bytes:
    return b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + bytes([0, orientation, 0, 0]) + bytes(4)


def png_of(width: int, height: int) -> bytes:
    """Return a PNG that says to be of any size; its pixels are not there."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


PICTURE = Image.linear_gradient("L").resize((40, 30)).convert("RGB")
CLEAR = PICTURE.copy()
CLEAR.putalpha(128)
KINDS: list[tuple[str, Format]] = [
    ("JPEG", "jpeg"),
    ("PNG", "png"),
    ("WEBP", "webp"),
    ("GIF", "gif"),
    ("BMP", "bmp"),
    ("TIFF", "tiff"),
]


@pytest.mark.parametrize(("kind", "format"), KINDS)
def test_a_header_tells_format_size_and_bytes(kind: str, format: Format) -> None:  # noqa: A002
    data = saved(PICTURE, kind)

    picture = inspect(data)

    assert (picture.format, picture.width, picture.height) == (format, 40, 30)
    assert (picture.bytes, picture.pixels, picture.orientation) == (len(data), 1200, 1)
    assert not picture.has_alpha


@pytest.mark.parametrize(("kind", "format"), KINDS)
def test_a_stream_is_read_like_bytes(kind: str, format: Format) -> None:  # noqa: A002
    data = saved(PICTURE, kind)

    assert inspect(io.BytesIO(data)) == inspect(data)


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (16383, 1), (257, 300)])
def test_both_kinds_of_webp_tell_their_size(lossless: bool, size: tuple[int, int]) -> None:
    picture = inspect(saved(Image.new("RGB", size), "WEBP", lossless=lossless))

    assert (picture.width, picture.height) == size


@pytest.mark.parametrize(
    "data",
    [
        saved(CLEAR, "PNG"),
        saved(CLEAR.convert("LA"), "PNG"),
        saved(CLEAR, "WEBP"),
        saved(CLEAR, "WEBP", lossless=True),
        saved(CLEAR, "TIFF"),
        saved(PICTURE.quantize(8), "GIF", transparency=0),
        saved(PICTURE.quantize(8), "PNG", transparency=0),
    ],
    ids=["png", "png-grey", "webp", "webp-lossless", "tiff", "gif", "png-palette"],
)
def test_transparency_is_seen(data: bytes) -> None:
    assert inspect(data).has_alpha


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_size_is_the_displayed_one(kind: str, orientation: int) -> None:
    picture = inspect(saved(PICTURE, kind, exif=exif(orientation)))

    assert picture.orientation == orientation
    assert (picture.width, picture.height) == ((30, 40) if orientation >= 5 else (40, 30))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_displayed_as_its_own_tag_says(orientation: int) -> None:
    picture = inspect(saved(PICTURE, "TIFF", tiffinfo={274: orientation}))

    assert picture.orientation == orientation
    assert (picture.width, picture.height) == ((30, 40) if orientation >= 5 else (40, 30))


@pytest.mark.parametrize("block", [exif(0), exif(9), b"Exif\0\0", b"Exif\0\0II*\0", exif(6)[:20], b"junk"])
def test_a_damaged_exif_block_is_no_orientation(block: bytes) -> None:
    assert inspect(saved(PICTURE, "WEBP", exif=block)).orientation == 1


def test_exif_behind_a_png_s_pixels_counts_too() -> None:
    data = saved(PICTURE, "PNG")
    body = b"eXIf" + exif(6)[6:]
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))

    picture = inspect(data[:-12] + chunk + data[-12:])

    assert (picture.width, picture.height) == (30, 40)


def test_a_phone_s_jpeg_with_a_second_picture_is_a_jpeg() -> None:
    made = io.BytesIO()
    PICTURE.save(made, "MPO", save_all=True, append_images=[PICTURE.resize((10, 10))])

    picture = inspect(made.getvalue())

    assert (picture.format, picture.width, picture.height) == ("jpeg", 40, 30)


def test_nothing_is_an_error_of_its_own() -> None:
    with pytest.raises(PictureError) as caught:
        inspect(b"")

    assert caught.value.code == "image_empty"


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"hello, world\n", "text"),
        ("Grüße\n".encode(), "text"),
        (b"BM is no picture, only two letters of text", "text"),
        (b"<!DOCTYPE html><html></html>", "an HTML page"),
        (b"\xef\xbb\xbf\n <HTML>", "an HTML page"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "an SVG drawing"),
        (b"<svg/>", "an SVG drawing"),
        (b'<?xml version="1.0"?><Error/>', "an XML document"),
        (b'{"detail": "Not Found"}', "JSON"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC picture"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "a HEIC picture"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", "an AVIF picture"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0avifmif1miaf", "an AVIF picture"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isom", "a video"),
        (b"8BPS\0\x01", "a Photoshop file"),
        (b"PK\x03\x04\x14\0", "a ZIP archive"),
        (b"\xff\x0a\x00\x00", "a JPEG XL picture"),
        (b"\0\0\x01\0\x01\0", "an icon file"),
        (b"II*\0\x10\0\0\0CR\x02\0", "a camera raw file"),
        (bytes(range(32)), "no picture that is known here"),
        (b"\x00\x00\x00\x00ftyp", "a video"),
    ],
)
def test_what_is_no_picture_is_named_with_the_remedy(data: bytes, name: str) -> None:
    with pytest.raises(PictureError, match=name) as caught:
        inspect(data)

    assert caught.value.code == "image_unreadable"
    assert "convert it to JPEG, PNG or WebP" in str(caught.value)


@pytest.mark.parametrize("tags", [{254: 1}, {50706: b"\x01\x04\0\0"}])
def test_a_raw_file_s_thumbnail_is_not_taken_for_the_picture(tags: dict[int, object]) -> None:
    with pytest.raises(PictureError, match="camera raw"):
        inspect(saved(PICTURE, "TIFF", tiffinfo=tags))


@pytest.mark.parametrize("data", [png_of(12_248, 12_248), png_of(200_000, 200_000), png_of(4_000_000_000, 1)])
def test_a_bomb_is_refused_by_its_header(data: bytes) -> None:
    with pytest.raises(PictureError, match="MP") as caught:
        inspect(data)

    assert caught.value.code == "image_too_large"


@pytest.mark.parametrize("kind", ["GIF", "BMP", "WEBP", "TIFF", "JPEG"])
def test_a_bomb_in_any_format_is_refused_without_a_warning(kind: str) -> None:
    data = bytearray(saved(PICTURE.convert("L") if kind == "GIF" else PICTURE, kind))
    match kind:
        case "GIF":
            struct.pack_into("<HH", data, 6, 20_000, 20_000)
        case "BMP":
            struct.pack_into("<II", data, 18, 20_000, 20_000)
        case "WEBP":
            struct.pack_into("<HH", data, 26, 16_383, 16_383)
        case "TIFF":
            data = bytearray(saved(PICTURE, "TIFF", tiffinfo={}))
            at = struct.unpack_from("<I", data, 4)[0]
            for entry in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", data, at)[0], 12):
                if struct.unpack_from("<H", data, entry)[0] in (256, 257):
                    struct.pack_into("<HII", data, entry + 2, 4, 1, 20_000)
        case _:
            at = data.index(b"\xff\xc0")
            struct.pack_into(">HH", data, at + 5, 20_000, 20_000)

    with pytest.raises(PictureError) as caught:
        inspect(bytes(data))

    assert caught.value.code == "image_too_large"


def test_a_picture_just_within_the_limit_is_inspected() -> None:
    assert inspect(png_of(15_000, 10_000)).pixels == 150_000_000


@pytest.mark.parametrize(
    ("kind", "kept"),
    [(kind, kept) for kind in ("JPEG", "PNG", "WEBP", "GIF", "TIFF") for kept in (14, 20, 25)]
    + [("BMP", 20), ("BMP", 40)],
)
def test_a_header_that_is_cut_off_is_truncated(kind: str, kept: int) -> None:
    data = saved(PICTURE, kind)

    with pytest.raises(PictureError) as caught:
        inspect(data[:kept])

    assert caught.value.code == "image_truncated"


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_file_that_says_its_length_is_known_to_be_cut_anywhere(kind: str) -> None:
    data = saved(PICTURE, kind)

    for kept in range(40, len(data)):
        with pytest.raises(PictureError) as caught:
            inspect(data[:kept])
        assert caught.value.code == "image_truncated"


def test_no_pixels_are_no_picture() -> None:
    with pytest.raises(PictureError, match="no pixels"):
        inspect(png_of(0, 100))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_the_beginning_of_a_file_is_enough_when_its_length_is_said(kind: str) -> None:
    large = Image.effect_noise((300, 200), 60).convert("RGB")
    data = saved(large, kind)

    assert inspect(data[:2000], size=len(data)) == inspect(data)


def test_a_beginning_without_the_promised_orientation_asks_for_more() -> None:
    data = saved(Image.effect_noise((300, 200), 60).convert("RGB"), "WEBP", exif=exif(6))

    with pytest.raises(PictureError) as caught:
        inspect(data[:2000], size=len(data))

    assert caught.value.code == "image_truncated"


@pytest.mark.parametrize(
    ("format", "kind", "ending"),
    [("jpeg", "image/jpeg", "jpg"), ("png", "image/png", "png"), ("webp", "image/webp", "webp")],
)
def test_a_format_has_a_media_type_and_an_extension(format: Format, kind: str, ending: str) -> None:  # noqa: A002
    assert (media_type(format), extension(format)) == (kind, ending)


STARTS = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\xff\0\0\0WEBP", b"GIF89a", b"BM", b"II*\0", b"MM\0*"]
SAMPLES = [saved(PICTURE, kind, **({} if kind in ("GIF", "BMP", "TIFF") else {"exif": exif(6)})) for kind, _ in KINDS]


@given(st.sampled_from(STARTS), st.binary(max_size=200))
def test_any_bytes_are_a_picture_or_a_picture_error(start: bytes, rest: bytes) -> None:
    with contextlib.suppress(PictureError):
        assert inspect(start + rest).pixels


@given(st.sampled_from(SAMPLES), st.data())
def test_any_damage_to_a_header_is_a_picture_or_a_picture_error(sample: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, min(len(sample), 300) - 1))
    damaged = sample[:at] + data.draw(st.binary(min_size=1, max_size=4)) + sample[at + 1 :]

    with contextlib.suppress(PictureError):
        assert inspect(damaged).pixels


def noise(**options: Any) -> bytes:
    return saved(Image.effect_noise((320, 240), 60), "JPEG", **options)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("behind", [b"", b"film" * 100_000, b"\xff\xda" + bytes(200_000)])
def test_whatever_a_camera_adds_behind_a_jpegs_end_does_not_matter(behind: bytes, progressive: bool) -> None:
    assert inspect(noise(progressive=progressive) + behind).format == "jpeg"


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kept", [0.5, 0.9, 0.99])
def test_a_jpeg_without_its_end_is_truncated_however_much_of_it_is_there(kept: float, progressive: bool) -> None:
    whole = noise(progressive=progressive)

    with pytest.raises(PictureError) as caught:
        inspect(whole[: round(len(whole) * kept)])

    assert caught.value.code == "image_truncated"


def test_a_jpeg_of_which_only_the_beginning_was_read_is_not_taken_for_truncated() -> None:
    whole = noise()

    assert inspect(whole[:4_000], size=len(whole)).width == 320


def test_a_file_larger_than_anything_that_is_read_is_refused_by_its_length() -> None:
    with pytest.raises(PictureError) as caught:
        inspect(noise(), size=MAX_BYTES + 1)

    assert caught.value.code == "image_too_large"
