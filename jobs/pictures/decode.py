"""Decodes a picture into pixels that can be resized and written: upright, in a plain mode, with its profile.

Only what `inspect` let through may come here. The decoder is chosen by the magic bytes and gets the file without
its metadata: Pillow's own search would try other formats, and warns about Exif that nobody asked it to read.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import BinaryIO

from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageCms,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from jobs.pictures.header import Format, Picture, PictureError
from jobs.pictures.identity import without_metadata

_DECODERS: dict[Format, type[ImageFile.ImageFile]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "tiff": TiffImagePlugin.TiffImageFile,
}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SPACES = {"L": b"GRAY", "LA": b"GRAY", "RGB": b"RGB ", "RGBA": b"RGB ", "CMYK": b"CMYK"}


@dataclass(frozen=True, slots=True)
class Decoded:
    """Upright pixels in mode L, LA, RGB, RGBA or CMYK, and the ICC profile that describes them, if any."""

    image: Image.Image
    profile: bytes | None


def decode(data: bytes, picture: Picture, *, at_least: tuple[int, int]) -> Decoded:
    """Return the first frame of `data`, which `inspect` found to be `picture`.

    A large JPEG is decoded at a half, a quarter or an eighth of its size, where that leaves twice the size
    `at_least` (displayed width and height): it is cheaper, and resizing from twice the size loses nothing.

    Raises:
        PictureError: `image_truncated`, `image_unreadable`.
    """
    turned = picture.orientation >= 5
    width, height = reversed(at_least) if turned else at_least
    stored = (picture.height, picture.width) if turned else (picture.width, picture.height)
    source: BinaryIO = io.BytesIO(without_metadata(data))
    try:
        image: Image.Image = _DECODERS[picture.format](source)
        told = (picture.width, picture.height) if picture.format == "tiff" else stored
        if image.size != told:
            raise ValueError("it tells two sizes")  # noqa: TRY301 - one place words every failure
        if isinstance(image, JpegImagePlugin.JpegImageFile):
            image.draft(None, (2 * width, 2 * height))
        image.load()
        profile = image.info.get("icc_profile")
        image = _plain(image)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise a dozen types on damaged data
        name = picture.format.upper()
        if "truncated" in str(error).lower():
            raise PictureError("image_truncated", f"the {name} is cut off; upload it again") from error
        raise PictureError("image_unreadable", f"the {name} is damaged ({error}); export it again") from error
    method = _UPRIGHT.get(picture.orientation)
    if method is not None and picture.format != "tiff":  # Pillow has turned a TIFF already
        image = image.transpose(method)
    image.info = {}
    return Decoded(image, profile if _describes(profile, image) else None)


def to_srgb(decoded: Decoded) -> Image.Image:
    """Return the picture as RGB in sRGB, on white where it is transparent."""
    image = decoded.image
    if image.mode in ("RGBA", "LA"):
        canvas = Image.new("RGBA", image.size, "white")
        canvas.alpha_composite(image.convert("RGBA"))
        image = canvas.convert("RGB")
    if decoded.profile is not None and decoded.image.mode in ("RGB", "RGBA", "CMYK"):
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(decoded.profile))
            converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError):
            converted = None  # a broken profile is no reason to go without a picture
        if converted is not None:
            converted.info = {}
            return converted
    return image.convert("RGB")


def _plain(image: Image.Image) -> Image.Image:
    """Return the picture in a mode that resizes well: a palette or 16 bits would be resized badly, or clipped."""
    clear = image.has_transparency_data
    match image.mode:
        case "L":
            return image.convert("LA") if clear else image
        case "RGB":
            return image.convert("RGBA") if clear else image
        case "LA" | "RGBA" | "CMYK":
            return image
        case "P":
            return image.convert("RGBA" if clear else "RGB")
        case "PA" | "RGBa":
            return image.convert("RGBA")
        case "La":
            return image.convert("LA")
        case "I;16" | "I":
            return image.point(lambda value: value * (1 / 256)).convert("L")
        case "I;16B" | "I;16L" | "I;16N":
            return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
        case "1" | "F":
            return image.convert("L")
        case _:
            return image.convert("RGB")


def _describes(profile: object, image: Image.Image) -> bool:
    """Say whether an ICC profile is for the picture's colours (bytes 16..20 of it name them)."""
    return isinstance(profile, bytes) and profile[16:20] == _SPACES[image.mode]
