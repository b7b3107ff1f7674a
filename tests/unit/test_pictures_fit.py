"""Making pictures fit a model's limits, and small for a report."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageCms, ImageStat

from jobs.pictures import PictureError, fit, inspect, size_within, thumbnail
from jobs.pictures.decode import decode

LIMIT = 10_000_000
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
QUARTERS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255))


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    made = io.BytesIO()
    image.save(made, kind, **options)
    return made.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def exif(orientation: int) -> bytes:
    return b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01" + bytes([0, orientation, 0, 0]) + bytes(4)


def quarters(width: int, height: int) -> Image.Image:
    """Return a picture with red, green / blue, white quarters: any turn or flip of it is seen."""
    image = Image.new("RGB", (2, 2))
    image.putdata(QUARTERS)
    return image.resize((width, height), Image.Resampling.NEAREST)


def corners(image: Image.Image) -> list[tuple[int, ...]]:
    """Return the colours of the quarters, each channel as 0 or 255."""
    rgb = image.convert("RGB")
    width, height = rgb.size
    spots = [(x, y) for y in (height // 4, height * 3 // 4) for x in (width // 4, width * 3 // 4)]
    found = []
    for spot in spots:
        pixel = rgb.getpixel(spot)
        assert isinstance(pixel, tuple)
        found.append(tuple(255 * (channel > 127) for channel in pixel))
    return found


def noise(width: int, height: int) -> Image.Image:
    return Image.frombytes("RGB", (width, height), random.Random(1).randbytes(width * height * 3))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_within_the_limits_is_the_very_same_bytes(kind: str) -> None:
    data = saved(quarters(100, 80), kind)

    fitted = fit(data, max_bytes=len(data), max_pixels=8000)

    assert fitted.data is data
    assert (fitted.note, fitted.picture) == ("", inspect(data))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_of_too_many_pixels_is_shrunk_in_its_format(kind: str) -> None:
    data = saved(quarters(600, 400), kind)

    fitted = fit(data, max_bytes=LIMIT, max_pixels=100_000)

    assert fitted.picture == inspect(fitted.data)
    assert (fitted.picture.format, fitted.picture.width, fitted.picture.height) == (kind.lower(), 384, 256)
    assert fitted.note == "shrunk from 600x400 to 384x256 (the model takes 0.1 MP)"
    assert corners(opened(fitted.data)) == list(QUARTERS)


def test_a_camera_s_picture_is_shrunk_to_what_flux_takes() -> None:
    fitted = fit(saved(quarters(6000, 4000), "JPEG"), max_bytes=20_000_000, max_pixels=4_000_000)

    assert fitted.note == "shrunk from 6000x4000 to 2448x1632 (the model takes 4 MP)"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_shrunk_picture_is_upright_and_says_nothing_of_turning(kind: str, orientation: int) -> None:
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = quarters(600, 400)
    if orientation in turns:
        stored = stored.transpose(turns[orientation])

    fitted = fit(saved(stored, kind, exif=exif(orientation)), max_bytes=LIMIT, max_pixels=100_000)

    assert corners(opened(fitted.data)) == list(QUARTERS)
    assert (fitted.picture.width, fitted.picture.height, fitted.picture.orientation) == (384, 256, 1)
    assert "600x400" in fitted.note


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_tiff_is_turned_once(orientation: int) -> None:
    stored = quarters(60, 40)
    turn = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
    if orientation in turn:
        stored = stored.transpose(turn[orientation])

    fitted = fit(saved(stored, "TIFF", tiffinfo={274: orientation}), max_bytes=LIMIT, max_pixels=LIMIT)

    assert corners(opened(fitted.data)) == list(QUARTERS)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_a_format_that_the_api_may_not_take_becomes_png(kind: str) -> None:
    data = saved(quarters(100, 80), kind)

    fitted = fit(data, max_bytes=LIMIT, max_pixels=LIMIT)

    assert (fitted.picture.format, fitted.note) == ("png", f"converted from {kind} to PNG")
    assert corners(opened(fitted.data)) == list(QUARTERS)


def test_of_a_moving_gif_the_first_frame_is_taken() -> None:
    first, second = quarters(100, 80), Image.new("RGB", (100, 80), "black")

    fitted = fit(saved(first, "GIF", save_all=True, append_images=[second]), max_bytes=LIMIT, max_pixels=LIMIT)

    assert corners(opened(fitted.data)) == list(QUARTERS)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_colour_profile_is_kept(kind: str) -> None:
    data = saved(quarters(600, 400), kind, icc_profile=SRGB)

    fitted = fit(data, max_bytes=LIMIT, max_pixels=100_000)

    assert opened(fitted.data).info["icc_profile"] == SRGB


def test_metadata_is_left_behind() -> None:
    comment = b"photographed by somebody"
    data = saved(quarters(600, 400), "JPEG", exif=exif(1), comment=comment, xmp=b"<x:xmpmeta/>")

    fitted = fit(data, max_bytes=LIMIT, max_pixels=100_000)

    assert not {b"Exif", comment, b"xmpmeta"} & {part for part in (b"Exif", comment, b"xmpmeta") if part in fitted.data}


def test_a_jpeg_of_too_many_bytes_loses_quality_first() -> None:
    data = saved(noise(300, 200), "JPEG", quality=100, subsampling=0)

    fitted = fit(data, max_bytes=len(data) // 2, max_pixels=LIMIT)

    assert len(fitted.data) <= len(data) // 2
    assert (fitted.picture.width, fitted.picture.height, fitted.picture.format) == (300, 200, "jpeg")
    assert fitted.note.startswith("written at quality 9")


def test_a_jpeg_that_no_quality_brings_down_is_shrunk_by_bytes() -> None:
    data = saved(noise(300, 200), "JPEG", quality=95)

    fitted = fit(data, max_bytes=5000, max_pixels=LIMIT)

    assert len(fitted.data) <= 5000
    assert fitted.note.startswith("shrunk from 300x200 to ")
    assert "(the model takes 0.005 MB)" in fitted.note


def clear() -> Image.Image:
    image = noise(300, 200)
    image.putalpha(Image.linear_gradient("L").resize((300, 200)))
    return image


def test_a_transparent_png_stays_png_while_it_may() -> None:
    fitted = fit(saved(clear(), "PNG"), max_bytes=LIMIT, max_pixels=10_000)

    assert (fitted.picture.format, fitted.picture.has_alpha) == ("png", True)


def test_a_transparent_png_of_too_many_bytes_becomes_webp_and_stays_transparent() -> None:
    data = saved(clear(), "PNG")

    fitted = fit(data, max_bytes=len(data) // 2, max_pixels=LIMIT)

    assert (fitted.picture.format, fitted.picture.has_alpha) == ("webp", True)
    assert "converted from PNG to WEBP" in fitted.note


def test_an_opaque_png_of_too_many_bytes_becomes_jpeg() -> None:
    data = saved(noise(300, 200), "PNG")

    fitted = fit(data, max_bytes=len(data) - 1, max_pixels=LIMIT)

    assert (fitted.picture.format, fitted.note) == ("jpeg", "converted from PNG to JPEG")


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (quarters(60, 40).convert("L"), {}),
        (quarters(60, 40).convert("LA"), {}),
        (quarters(60, 40).convert("1"), {}),
        (quarters(60, 40).quantize(8), {}),
        (quarters(60, 40).quantize(8), {"transparency": 0}),
        (quarters(60, 40), {"transparency": (255, 0, 0)}),
        (quarters(60, 40).convert("L"), {"transparency": 255}),
        (Image.new("I;16", (60, 40), 40_000), {}),
    ],
    ids=["grey", "grey-alpha", "bits", "palette", "palette-clear", "colour-key", "grey-key", "16-bit"],
)
def test_every_kind_of_png_can_be_shrunk(image: Image.Image, options: dict[str, Any]) -> None:
    data = saved(image, "PNG", **options)

    fitted = fit(data, max_bytes=LIMIT, max_pixels=600)

    assert fitted.picture.has_alpha == inspect(data).has_alpha
    assert fitted.picture.pixels <= 600


def test_sixteen_bits_become_eight_and_not_white() -> None:
    fitted = fit(saved(Image.new("I;16", (60, 40), 40_000), "PNG"), max_bytes=LIMIT, max_pixels=600)

    assert opened(fitted.data).getpixel((0, 0)) == 156


def test_a_print_jpeg_stays_in_its_colours_and_a_print_tiff_does_not() -> None:
    ink = Image.new("CMYK", (60, 40), (10, 20, 30, 40))

    jpeg = fit(saved(ink, "JPEG"), max_bytes=LIMIT, max_pixels=600)
    tiff = fit(saved(ink, "TIFF"), max_bytes=LIMIT, max_pixels=600)

    assert opened(jpeg.data).mode == "CMYK"
    assert (opened(tiff.data).mode, tiff.picture.format) == ("RGB", "png")


def test_damaged_exif_does_not_warn() -> None:
    block = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" + b"\x1a\x01\x05\0" * 5

    fitted = fit(saved(quarters(40, 60), "JPEG", exif=block), max_bytes=LIMIT, max_pixels=600)

    assert fitted.picture.width > fitted.picture.height


def test_half_a_jpeg_is_truncated() -> None:
    data = saved(noise(300, 200), "JPEG")

    with pytest.raises(PictureError) as caught:
        fit(data[: len(data) // 2], max_bytes=LIMIT, max_pixels=600)

    assert caught.value.code == "image_truncated"


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = bytearray(saved(Image.new("RGB", (20, 20)), "JPEG"))
    at = bomb.index(b"\xff\xc0")
    bomb[at + 5 : at + 9] = b"\xff\xff\xff\xff"

    for use in (lambda: fit(bytes(bomb), max_bytes=LIMIT, max_pixels=600), lambda: thumbnail(bytes(bomb))):
        with pytest.raises(PictureError) as caught:
            use()
        assert caught.value.code == "image_too_large"


def test_what_was_judged_is_what_is_decoded() -> None:
    data = saved(quarters(60, 40), "PNG")

    with pytest.raises(PictureError, match="two sizes"):
        decode(data, replace(inspect(data), width=6), at_least=(6, 4))


def test_a_picture_above_pillow_s_own_limit_opens_without_a_warning() -> None:
    data = saved(Image.new("1", (9500, 9500)), "TIFF", compression="group4")

    assert opened(thumbnail(data)).size == (256, 256)


def test_cheap_shrinking_of_a_jpeg_costs_no_detail() -> None:
    fine = noise(800, 600).resize((1600, 1200), Image.Resampling.BICUBIC)

    fitted = fit(saved(fine, "JPEG", quality=95), max_bytes=LIMIT, max_pixels=400 * 300)

    careful = fine.resize((384, 288), Image.Resampling.LANCZOS)
    difference = ImageStat.Stat(ImageChops.difference(opened(fitted.data), careful))
    assert opened(fitted.data).size == careful.size
    assert max(difference.mean) < 6


def test_no_size_under_an_impossible_limit_is_an_error() -> None:
    with pytest.raises(PictureError) as caught:
        fit(saved(noise(30, 20), "JPEG"), max_bytes=10, max_pixels=LIMIT)

    assert caught.value.code == "image_too_large"


@given(st.integers(1, 60_000), st.integers(1, 60_000), st.integers(1, 25_000_000))
def test_a_size_is_within_its_pixels_and_keeps_the_ratio(width: int, height: int, most: int) -> None:
    across, down = size_within(width, height, most)

    assert across >= 1
    assert down >= 1
    assert across * down <= most
    assert across <= width
    assert down <= height
    if min(across, down) >= 400:
        assert abs((across / down) / (width / height) - 1) < 0.006


@given(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]), st.data())
@settings(max_examples=300, deadline=None)
def test_any_damage_is_a_picture_or_a_picture_error(kind: str, data: st.DataObject) -> None:
    sample = saved(quarters(60, 40), kind)
    at = data.draw(st.integers(0, len(sample) - 1))
    damaged = sample[:at] + data.draw(st.binary(max_size=4)) + sample[at + 1 :]

    try:
        fitted = fit(damaged, max_bytes=LIMIT, max_pixels=600)
    except PictureError:
        return
    except UserWarning:  # a TIFF's damaged tags: a warning is an error only in these tests
        assert kind == "TIFF"
        return
    assert fitted.picture.pixels <= 600


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_thumbnail_is_a_small_jpeg(kind: str) -> None:
    small = opened(thumbnail(saved(quarters(600, 400), kind)))

    assert (small.format, small.size, small.mode) == ("JPEG", (256, 171), "RGB")
    assert corners(small) == list(QUARTERS)


def test_a_thumbnail_is_upright_and_carries_nothing() -> None:
    stored = quarters(600, 400).transpose(Image.Transpose.ROTATE_90)

    data = thumbnail(saved(stored, "JPEG", exif=exif(6), icc_profile=SRGB), side=60)

    small = opened(data)
    assert (small.size, corners(small)) == ((60, 40), list(QUARTERS))
    assert b"Exif" not in data
    assert "icc_profile" not in small.info


def test_a_thumbnail_stands_on_white() -> None:
    small = opened(thumbnail(saved(Image.new("RGBA", (50, 50), (0, 0, 0, 0)), "PNG")))

    assert small.size == (50, 50)
    assert small.getpixel((25, 25)) == (255, 255, 255)


def test_a_thumbnail_of_a_strip_has_at_least_a_pixel_of_height() -> None:
    assert opened(thumbnail(saved(Image.new("RGB", (4000, 3)), "PNG"))).size == (256, 1)


def test_a_thumbnail_shows_the_colours_of_its_profile() -> None:
    # A profile whose red and green are swapped: the same numbers mean another colour.
    swapped = SRGB.replace(b"rXYZ", b"tmp.").replace(b"gXYZ", b"rXYZ").replace(b"tmp.", b"gXYZ")

    small = opened(thumbnail(saved(Image.new("RGB", (50, 50), (255, 0, 0)), "PNG", icc_profile=swapped)))

    pixel = small.getpixel((25, 25))
    assert isinstance(pixel, tuple)
    assert pixel[1] > 200 > pixel[0]


def test_a_broken_profile_does_not_cost_the_thumbnail() -> None:
    data = saved(quarters(50, 50), "PNG", icc_profile=SRGB[:100] + bytes(50))

    assert corners(opened(thumbnail(data))) == list(QUARTERS)
