"""Opens a manifest's bytes: unzipped where it is gzipped, and as UTF-8 where it is UTF-16.

What a file is, is told by its first bytes, never by its name. Everything after this module sees bytes of UTF-8 or
Windows-1252, so only one scan and one reader are needed.
"""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from producers.manifest.problems import ManifestError

MAX_UNZIPPED_BYTES = 8_000_000_000
MAX_RATIO = 100
"""Unzipped to zipped bytes; text reaches 5 to 20, a bomb over 1,000. Counted from the first megabyte on."""
CHUNK = 1 << 20
GZIP = b"\x1f\x8b"

_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class Opened(NamedTuple):
    """A manifest's bytes; `utf16` is the codec that they were written in, empty where they are as they were."""

    file: io.BufferedReader[Any]
    zipped: bool
    utf16: str


def open_bytes(path: Path) -> Opened:
    """Return the manifest's bytes.

    Raises:
        ManifestError: there is no such file, or it cannot be read.
    """
    try:
        if not path.is_file():
            what = "is not a file" if path.exists() else "does not exist"
            raise ManifestError(f"the manifest {path} {what}", remedy="give the path of a table, or of a folder")
        packed = io.BufferedReader(io.FileIO(path), CHUNK)
        try:
            return _opened(packed)
        except BaseException:
            packed.close()
            raise
    except OSError as error:
        why = error.strerror or "it leads in a circle"
        raise ManifestError(f"the manifest {path} cannot be read ({why})", remedy="check the path") from None


def _opened(packed: io.BufferedReader[Any]) -> Opened:
    zipped = packed.peek(2).startswith(GZIP)
    file = io.BufferedReader(_Capped(packed), CHUNK) if zipped else packed
    head = file.peek(4)[:4]
    utf16 = "" if head == codecs.BOM_UTF32_LE else _UTF16.get(head[:2], "")
    return Opened(io.BufferedReader(_Recoded(file), CHUNK) if utf16 else file, zipped, utf16)


def stamp(path: Path) -> tuple[int, int]:
    """Return (bytes, mtime in ns) of a file, to notice that it changed."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


class _Capped(io.RawIOBase):
    """A gzip stream that gives up on a bomb: it counts what comes out against what went in."""

    def __init__(self, packed: BinaryIO) -> None:
        self._packed = packed
        self._unzipped = gzip.GzipFile(fileobj=packed, mode="rb")
        self._out = 0

    def fileno(self) -> int:
        return self._packed.fileno()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast("bytearray", buffer))
        try:
            data = self._unzipped.read(len(view))
        except (EOFError, zlib.error, gzip.BadGzipFile):
            raise ManifestError("the gzip file is damaged or cut off", remedy="pack it again") from None
        self._out += len(data)
        if self._out > MAX_UNZIPPED_BYTES:
            raise ManifestError("the manifest is over 8 GB when unzipped", remedy="split it")
        if self._out > CHUNK and self._out > MAX_RATIO * self._packed.tell():
            raise ManifestError(
                f"the manifest is over {MAX_RATIO} times larger unzipped than zipped, like a gzip bomb",
                remedy="if it is yours, unzip it and use the plain file",
            )
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._unzipped.close()
            self._packed.close()
        super().close()


class _Recoded(io.RawIOBase):
    """UTF-16 as UTF-8, without its byte order mark."""

    def __init__(self, source: io.BufferedReader[Any]) -> None:
        self._source = source
        self._decoder = codecs.getincrementaldecoder("utf-16")("strict")
        self._lines = 0
        self._ready = b""

    def fileno(self) -> int:
        return self._source.fileno()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast("bytearray", buffer))
        while not self._ready:
            data = self._source.read(CHUNK)
            try:
                self._ready = self._decoder.decode(data, not data).encode()
            except UnicodeError:
                line = self._lines + 1
                message = "after this line comes something that is not UTF-16, although the file begins so"
                raise ManifestError(message, remedy="save the file as UTF-8", line=line) from None
            self._lines += self._ready.count(b"\n")
            if not data:
                break
        count = min(len(view), len(self._ready))
        view[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def close(self) -> None:
        if not self.closed:
            self._source.close()
        super().close()
