"""Everything that Retouch knows about picture files: what one is, whether it is whole, how to make it fit.

All of it is a function of bytes. Nothing but `decode` turns bytes into pixels, and nothing gets there without
`inspect`, which refuses what would unpack to more than memory holds.
"""

from jobs.pictures.fit import Fitted, fit, size_within
from jobs.pictures.header import (
    MAX_BYTES,
    MAX_PIXELS,
    Format,
    Picture,
    PictureError,
    extension,
    inspect,
    media_type,
)
from jobs.pictures.identity import identity
from jobs.pictures.result import check_result
from jobs.pictures.thumbnail import thumbnail

__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "Fitted",
    "Format",
    "Picture",
    "PictureError",
    "check_result",
    "extension",
    "fit",
    "identity",
    "inspect",
    "media_type",
    "size_within",
    "thumbnail",
]
