"""Turns what came in `input_image` into bytes and a size.

Only the header of a picture is read here. A file that is cut off further down is found when it is edited, and
its task then ends in Error instead of Ready.
"""

from __future__ import annotations

import base64
import binascii
import io
import ipaddress
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock
from urllib.parse import urlsplit

import aiohttp
from PIL import Image

from simulator.sizes import Size

LARGEST_PIXELS = 20_000_000
"""Pictures of up to 20 megapixels are taken (docs, FLUX.2 and Kontext editing pages)."""

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
"""What the API's own kit sends; nothing else is known to be read."""

ORIENTATION = 0x0112
UNREADABLE_ERRORS = (OSError, ValueError, SyntaxError, Image.DecompressionBombError, RuntimeWarning)
FETCH_S = 20.0


class InputError(ValueError):
    """A picture that cannot be used; the message is for the task's `details`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An input: its bytes, their sha256, and its size as a person sees it (orientation applied)."""

    data: bytes
    sha256: str
    size: Size


class Reader:
    """Reads headers, and remembers the sizes of the last pictures: load tests send the same few again."""

    def __init__(self, remembered: int = 4096) -> None:
        self._sizes: OrderedDict[str, Size] = OrderedDict()
        self._remembered = remembered
        self._lock = Lock()

    def from_base64(self, text: str, max_bytes: int) -> Picture:
        """Return the picture in bare base64.

        Raises:
            InputError: a data: URI, broken base64, too large, or no picture.
        """
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise InputError("not base64") from None
        return self.inspect(data, max_bytes)

    def inspect(self, data: bytes, max_bytes: int) -> Picture:
        """Return the picture in `data`.

        Raises:
            InputError: too large, or no picture.
        """
        if len(data) > max_bytes:
            raise InputError("more bytes than the API takes")
        digest = sha256(data).hexdigest()
        with self._lock:
            size = self._sizes.get(digest)
        if size is None:
            size = _upright_size(data)
            with self._lock:
                self._sizes[digest] = size
                if len(self._sizes) > self._remembered:
                    self._sizes.popitem(last=False)
        return Picture(data=data, sha256=digest, size=size)


def _upright_size(data: bytes) -> Size:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            turned = image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
    except UNREADABLE_ERRORS:
        raise InputError("no picture") from None
    if width * height > LARGEST_PIXELS:
        raise InputError("more pixels than the API takes")
    return (height, width) if turned else (width, height)


def is_url(text: str) -> bool:
    """Return whether an input is to be fetched."""
    return text[:8].lower().startswith(("http://", "https://"))


def is_loopback(url: str) -> bool:
    """Return whether a URL points at this machine by name or number."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def fetch(session: aiohttp.ClientSession, url: str, max_bytes: int, *, allow_remote: bool) -> bytes:
    """Return what is at `url`; redirects are not followed.

    Raises:
        InputError: another machine without `allow_remote`, no answer, another status than 200, or too large.
    """
    if not allow_remote and not is_loopback(url):
        raise InputError("the simulator fetches pictures from this machine only: see --allow-remote")
    try:
        timeout = aiohttp.ClientTimeout(total=FETCH_S)
        async with session.get(url, allow_redirects=False, timeout=timeout) as answer:
            if answer.status != 200:
                raise InputError(f"the picture's URL answered {answer.status}")
            data = bytearray()
            async for chunk in answer.content.iter_any():
                data += chunk
                if len(data) > max_bytes:
                    raise InputError("more bytes than the API takes")
            return bytes(data)
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError("the picture's URL could not be read") from None
