"""Reads what a picture is from its header: format, displayed size, alpha, orientation.

Nothing is decoded here, and nothing may be decoded before it went through here: the limit on pixels below is
what stands between a 20 kB file and 2 GB of memory. Width and height are as displayed (EXIF orientation
applied), so a portrait photograph is higher than wide even where its rows are stored sideways.
"""

from __future__ import annotations

import codecs
import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Literal

from PIL import BmpImagePlugin, Image, TiffImagePlugin

from jobs.pictures.parts import (
    PNG_SIGNATURE,
    MalformedError,
    TruncatedError,
    check_jpeg_end,
    exif_orientation,
    jpeg_parts,
    png_parts,
    take,
    webp_parts,
)

Format = Literal["jpeg", "png", "webp", "gif", "bmp", "tiff"]

MAX_PIXELS = 150_000_000
"""No picture above this is ever decoded; the largest camera sensors stay just above it."""

MAX_BYTES = 100 * 1024 * 1024
"""No file above this is read into memory; what the API takes at most is a fifth of it."""

Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow's own limit warns from 89 MP on; ours refuses, so both are one figure

REMEDY = "convert it to JPEG, PNG or WebP"

_STARTS: tuple[tuple[bytes, str], ...] = (
    (b"%PDF", "a PDF"),
    (b"8BPS", "a Photoshop file"),
    (b"%!PS", "a PostScript file"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\xff\x0a", "a JPEG XL picture"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL picture"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 picture"),
    (b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (b"\0\0\x01\0", "an icon file"),
    (b"\x1aE\xdf\xa3", "a video"),
)
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"})
_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_DNG_VERSION, _SUBFILE, _ORIENTATION = 50706, 254, 274


class PictureError(ValueError):
    """A picture cannot be used; `code` is stable, the message names what is wrong and the remedy."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What a picture's header says; width and height in pixels as displayed, `bytes` of the whole file."""

    format: Format
    width: int
    height: int
    has_alpha: bool
    orientation: int
    bytes: int

    @property
    def pixels(self) -> int:
        """Width times height."""
        return self.width * self.height


@dataclass(frozen=True, slots=True)
class _Header:
    """Size as *stored*; orientation may still turn it."""

    width: int
    height: int
    has_alpha: bool = False
    orientation: int = 1


def sniff(head: bytes) -> Format | None:
    """Return the format that the first bytes (12 at least) show, None for anything that Retouch does not take."""
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(PNG_SIGNATURE):
        return "png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if head.startswith((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")) and head[8:10] != b"CR":
        return "tiff"
    # Two letters are little to go by: text may start with BM too, so the header's length must be a real one.
    if head.startswith(b"BM") and head[14:18] in {struct.pack("<I", n) for n in (12, 16, 40, 52, 56, 64, 108, 124)}:
        return "bmp"
    return None


def looks_like(head: bytes) -> str:
    """Return words for what the first bytes show, such as `an HTML page`."""
    if head[4:8] == b"ftyp":
        brands = head[8:12] + head[16 : struct.unpack(">I", head[:4])[0]]
        if b"avif" in brands or b"avis" in brands:
            return "an AVIF picture"
        return "a HEIC picture" if head[8:12] in _HEIC else "a video"
    for start, name in _STARTS:
        if head.startswith(start):
            return name
    if head[:4] in (b"II*\0", b"MM\0*"):
        return "a camera raw file"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if b"<svg" in text:
        return "an SVG drawing"
    if text.startswith((b"<!doctype html", b"<html")) or b"<html" in text:
        return "an HTML page"
    if text.startswith(b"<?xml"):
        return "an XML document"
    if text.startswith((b"{", b"[")):
        return "JSON"
    return "text" if _is_text(head) else "no picture that is known here"


def _is_text(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)  # a character may be cut in two at the end
    except UnicodeDecodeError:
        return False
    return not any(byte < 9 or 13 < byte < 32 for byte in head)


def inspect(data: bytes | BinaryIO, *, size: int | None = None) -> Picture:
    """Return what the header of `data` says, without decoding it.

    `data` is the file or a seekable stream of it, left at any position. Where it is only the file's beginning,
    `size` is the length of the whole in bytes; `image_truncated` then means: read more.

    Raises:
        PictureError: `image_empty`, `image_unreadable`, `image_truncated`, `image_too_large` (over 150 MP or 100 MiB).
    """
    source: BinaryIO = io.BytesIO(data) if isinstance(data, bytes) else data
    available = source.seek(0, io.SEEK_END)
    length = available if size is None else size
    if available == 0:
        raise PictureError("image_empty", "the file is empty")
    if length > MAX_BYTES:
        raise PictureError("image_too_large", f"{length / 1e6:,.0f} MB is more than is ever read; shrink it first")
    source.seek(0)
    head = source.read(512)
    found = sniff(head)
    if found is None:
        raise PictureError("image_unreadable", f"not a picture: it looks like {looks_like(head)}; {REMEDY}")
    name = found.upper()
    try:
        header = _READERS[found](source, length, available)
    except TruncatedError as error:
        raise PictureError("image_truncated", f"the {name} is cut off ({error}); upload it again") from None
    except MalformedError as error:
        raise PictureError("image_unreadable", f"the {name} is damaged ({error}); export it again") from None
    if header.width < 1 or header.height < 1:
        raise PictureError("image_unreadable", f"the {name} has no pixels; export it again")
    if header.width * header.height > MAX_PIXELS:
        megapixels = header.width * header.height / 1e6
        raise PictureError(
            "image_too_large",
            f"{header.width}x{header.height} is {megapixels:.0f} MP and nothing above {MAX_PIXELS // 10**6} MP"
            " is opened; shrink it first",
        )
    turned = header.orientation >= 5
    return Picture(
        format=found,
        width=header.height if turned else header.width,
        height=header.width if turned else header.height,
        has_alpha=header.has_alpha,
        orientation=header.orientation,
        bytes=length,
    )


def _jpeg(source: BinaryIO, length: int, available: int) -> _Header:
    exif = b""
    width = height = 0
    for part in jpeg_parts(source, length):
        if part.kind == b"\xe1" and take(source, part.body, min(6, part.end - part.body)) == b"Exif\0\0":
            block = take(source, part.body, part.end - part.body)
            exif += block[6:] if exif else block  # a long block goes on in the next segment
        elif part.kind[0] in _SOF:
            height, width = struct.unpack(">HH", take(source, part.body + 1, 4))
    if available == length:
        check_jpeg_end(source, length)
    return _Header(width, height, orientation=exif_orientation(exif))


def _png(source: BinaryIO, length: int, available: int) -> _Header:
    exif, alpha = b"", False
    kind, width, height, _, colour = struct.unpack(">4sIIBB", take(source, 12, 14))
    if kind != b"IHDR":
        raise MalformedError("its header chunk is missing")
    for part in png_parts(source, length):
        if part.kind == b"eXIf":
            exif = take(source, part.body, part.end - part.body)
        alpha = alpha or part.kind == b"tRNS"
        if part.stop > available and part.kind == b"IDAT":  # only the beginning is here; Exif usually stands in it
            break
    return _Header(width, height, alpha or colour in (4, 6), exif_orientation(exif))


def _webp(source: BinaryIO, length: int, available: int) -> _Header:
    canvas: tuple[int, int] | None = None
    alpha, promised, exif = False, False, b""
    for part in webp_parts(source, length):
        if part.kind == b"VP8X":
            flags, width, height = struct.unpack("<I3s3s", take(source, part.body, 10))
            canvas = int.from_bytes(width, "little") + 1, int.from_bytes(height, "little") + 1
            alpha, promised = bool(flags & 0x10), bool(flags & 0x08)
        elif part.kind == b"VP8L" and canvas is None:
            bits = int.from_bytes(take(source, part.body + 1, 4), "little")
            canvas, alpha = ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1), bool(bits >> 28 & 1)
        elif part.kind == b"VP8 " and canvas is None:
            key, width_, height_ = struct.unpack("<3sHH", take(source, part.body + 3, 7))
            if key != b"\x9d\x01\x2a":
                raise MalformedError("no key frame")
            canvas = width_ & 0x3FFF, height_ & 0x3FFF
        elif part.kind == b"EXIF":
            exif = take(source, part.body, part.end - part.body)
        if part.stop > available and not promised:
            break
    if canvas is None:
        raise MalformedError("no picture in it")
    return _Header(*canvas, has_alpha=alpha, orientation=exif_orientation(exif))


def _gif(source: BinaryIO, _length: int, _available: int) -> _Header:
    width, height, flags = struct.unpack("<HHB", take(source, 6, 5))
    at = 13 + ((3 << (flags & 7) + 1) if flags & 0x80 else 0)
    alpha = False
    while (kind := take(source, at, 1)) != b",":
        if kind != b"!":
            raise MalformedError("no frame in it")
        if take(source, at + 1, 1) == b"\xf9":
            alpha = bool(take(source, at + 3, 1)[0] & 1)
        at += 2
        while block := take(source, at, 1)[0]:
            at += 1 + block
        at += 1
    x, y, frame_width, frame_height = struct.unpack("<4H", take(source, at + 1, 8))
    # A first frame that sticks out of the screen widens it, as it does for the decoder.
    return _Header(max(width, x + frame_width), max(height, y + frame_height), alpha)


def _by_pillow(reader: Callable[[BinaryIO], Image.Image]) -> Callable[[BinaryIO, int, int], _Header]:
    def read(source: BinaryIO, _length: int, available: int) -> _Header:
        source.seek(0)
        try:
            image = reader(source)
        except MalformedError:
            raise
        except Exception as error:  # Pillow's readers raise a dozen types on damaged headers
            ended = source.tell() >= available
            raise (TruncatedError if ended else MalformedError)("its header cannot be read") from error
        orientation = _tiff_orientation(image)
        width, height = image.size
        if orientation >= 5:  # Pillow tells a TIFF's size as displayed
            width, height = height, width
        return _Header(width, height, image.mode in ("RGBA", "LA", "PA", "RGBa", "La"), orientation)

    return read


def _tiff_orientation(image: Image.Image) -> int:
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return 1
    tags = image.tag_v2
    # The first picture of a raw file is a thumbnail: an edit of that would be bought for nothing.
    if _DNG_VERSION in tags or tags.get(_SUBFILE, 0) == 1:
        raise PictureError("image_unreadable", f"not a picture: it looks like a camera raw file; {REMEDY}")
    value = tags.get(_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


_READERS: dict[Format, Callable[[BinaryIO, int, int], _Header]] = {
    "jpeg": _jpeg,
    "png": _png,
    "webp": _webp,
    "gif": _gif,
    "bmp": _by_pillow(BmpImagePlugin.BmpImageFile),
    "tiff": _by_pillow(TiffImagePlugin.TiffImageFile),
}


def media_type(format: Format) -> str:  # noqa: A002 - the word that everybody uses for it
    """Return the media type to store and send a picture under, such as `image/jpeg`."""
    return f"image/{format}"


def extension(format: Format) -> str:  # noqa: A002 - the word that everybody uses for it
    """Return the file name extension without its dot: `jpg`, else the format's own name."""
    return "jpg" if format == "jpeg" else format
