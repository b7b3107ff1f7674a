"""Finds out how a manifest was written, in one pass over its bytes, before any row of it is believed.

The first non-ASCII bytes decide the encoding, however late they come: if they are UTF-8, the file is UTF-8 and
every later byte must be; if not, it is Windows-1252. A file that mixes both is refused, because either reading
would quietly garble some of its names.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from producers.manifest.columns import PLAIN_COLUMNS
from producers.manifest.problems import ManifestError

MAX_FILE_BYTES = 4_000_000_000
MAX_UNZIPPED_BYTES = 8_000_000_000
MAX_RATIO = 100
"""Unzipped to zipped bytes; text reaches 5 to 20, a bomb over 1,000. Counted from the first megabyte on."""
MAX_ROW = 65_536
"""Bytes of one physical line, and characters of one row."""

DELIMITERS = (",", ";", "\t")
_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_UNDEFINED_1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
_SPACE = b" \t\r\n"

_FOREIGN = (
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook", "save it as CSV (UTF-8)"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "save it as CSV (UTF-8)"),
    (b"PAR1", "a Parquet file", "export it as CSV or JSON lines"),
    (b"\xff\xfe", "UTF-16 text", "save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text", "save it as UTF-8"),
    (b"\xff\xd8\xff", "a picture, not a list of pictures", "name the picture in the column `image` of a CSV"),
    (b"\x89PNG", "a picture, not a list of pictures", "name the picture in the column `image` of a CSV"),
    (b"RIFF", "a picture, not a list of pictures", "name the picture in the column `image` of a CSV"),
    (b"%PDF", "a PDF", "save the table as CSV (UTF-8)"),
    (_GZIP, "zipped twice", "unzip it once"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a manifest was written. `form` is `csv` or `jsonl`; `stamp` is (bytes, mtime in ns) when it was read."""

    form: str
    encoding: str
    bom: bool
    newline: str
    delimiter: str
    zipped: bool
    stamp: tuple[int, int]

    @property
    def codec(self) -> str:
        """Python's name of the encoding, byte order mark included."""
        return "utf-8-sig" if self.bom else self.encoding


class _Capped(io.RawIOBase):
    """A gzip stream that gives up on a bomb: it counts what comes out against what went in."""

    def __init__(self, packed: BinaryIO) -> None:
        self._packed = packed
        self._unzipped = gzip.GzipFile(fileobj=packed, mode="rb")
        self._out = 0

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
        if self._out > _CHUNK and self._out > MAX_RATIO * self._packed.tell():
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


def open_bytes(path: Path) -> tuple[io.BufferedReader[Any], bool]:
    """Return the manifest's bytes, unzipped, and whether they were zipped (told by the file's first bytes)."""
    try:
        if not path.is_file():
            what = "is not a file" if path.exists() else "does not exist"
            raise ManifestError(f"the manifest {path} {what}", remedy="give the path of a CSV or JSON lines file")
        file = io.BufferedReader(io.FileIO(path), _CHUNK)
    except OSError as error:
        raise ManifestError(f"the manifest {path} cannot be read ({error.strerror})", remedy="check the path") from None
    head = file.peek(2)
    if head.startswith(_GZIP):
        return io.BufferedReader(_Capped(file), _CHUNK), True
    return file, False


def stamp(path: Path) -> tuple[int, int]:
    """Return (bytes, mtime in ns) of a file, to notice that it changed."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def read_dialect(path: Path) -> Dialect:
    """Return how the manifest at `path` was written.

    Raises:
        ManifestError: it is not text, holds NUL bytes, mixes encodings, is empty, too large or a bomb.
    """
    file, zipped = open_bytes(path)
    with file:
        taken = stamp(path)
        if taken[0] > MAX_FILE_BYTES:
            raise ManifestError("the manifest is over 4 GB", remedy="split it")
        head = file.read(_CHUNK)
        _refuse_foreign(head)
        scan = _Scan()
        chunk = head
        while chunk:
            scan.take(chunk)
            chunk = file.read(_CHUNK)
        scan.end()
    bom = head.startswith(codecs.BOM_UTF8)
    text = head.removeprefix(codecs.BOM_UTF8).decode(scan.encoding, "ignore")
    if not text.strip():
        raise ManifestError("the manifest is empty", remedy="it needs a header line and a row, or a JSON object a line")
    form = "jsonl" if text.lstrip().startswith("{") else "csv"
    if text.lstrip().startswith("["):
        raise ManifestError("the manifest is a JSON array", remedy="write one JSON object a line, without the brackets")
    header, newline = (text.partition("\n")[0], "\n") if form == "jsonl" else _header(text)
    if form == "jsonl" and header.endswith("\r"):
        newline = "\r\n"
    return Dialect(
        form=form,
        encoding=scan.encoding,
        bom=bom,
        newline=newline,
        delimiter=_delimiter(header) if form == "csv" else "",
        zipped=zipped,
        stamp=taken,
    )


class _Scan:
    """What all bytes of a file must satisfy, chunk by chunk, in constant memory."""

    def __init__(self) -> None:
        self.encoding = "utf-8"
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")
        self._pending = False
        self._multibyte = False
        """UTF-8 was seen that is more than ASCII; a byte order mark is, too."""
        self._lines = 0
        self._carry = 0
        """Bytes of the line that the last chunk left unfinished."""

    def take(self, chunk: bytes) -> None:
        zero = chunk.find(b"\0")
        if zero >= 0:
            raise ManifestError(
                "the manifest holds a NUL byte, so it is not text",
                remedy="export it again as CSV (UTF-8)",
                line=self._line(chunk, zero),
            )
        self._check_lines(chunk)
        if self.encoding == "utf-8":
            self._check_utf8(chunk, final=False)
        else:
            self._check_1252(chunk, chunk)
        self._lines += chunk.count(b"\n")

    def end(self) -> None:
        if self.encoding == "utf-8" and self._pending:
            self._check_utf8(b"", final=True)

    def _line(self, chunk: bytes, at: int) -> int:
        return self._lines + chunk.count(b"\n", 0, max(at, 0)) + 1

    def _check_lines(self, chunk: bytes) -> None:
        start = -self._carry
        while start + MAX_ROW < len(chunk):
            end = chunk.rfind(b"\n", max(start, 0), start + MAX_ROW + 1)
            if end < 0:
                raise ManifestError(
                    f"the line is longer than {MAX_ROW:,} bytes",
                    remedy="a row has 64 KB at most; are the line ends LF or CRLF?",
                    line=self._line(chunk, start),
                )
            start = end + 1
        last = chunk.rfind(b"\n")
        self._carry = self._carry + len(chunk) if last < 0 else len(chunk) - last - 1

    def _check_utf8(self, chunk: bytes, *, final: bool) -> None:
        if not self._pending and chunk.isascii():
            return
        try:
            text = self._decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            seen = bytes(error.object)
            if self._multibyte or not seen[: error.start].isascii():
                at = error.start - (len(seen) - len(chunk))
                raise ManifestError(
                    "this line is not UTF-8, although the lines before it are",
                    remedy="save the whole file in one encoding, best UTF-8",
                    line=self._line(chunk, at),
                ) from None
            self.encoding = "cp1252"
            self._check_1252(seen, chunk)
            return
        self._pending = bool(self._decoder.getstate()[0])
        self._multibyte = self._multibyte or not text.isascii()

    def _check_1252(self, data: bytes, chunk: bytes) -> None:
        bad = _UNDEFINED_1252.search(data)
        if bad:
            raise ManifestError(
                "this line is neither UTF-8 nor Windows-1252",
                remedy="save the file as UTF-8",
                line=self._line(chunk, bad.start() - (len(data) - len(chunk))),
            )


def _refuse_foreign(head: bytes) -> None:
    for magic, what, remedy in _FOREIGN:
        if head.startswith(magic):
            raise ManifestError(f"the manifest is {what}", remedy=remedy)


def _header(text: str) -> tuple[str, str]:
    """Return the header record, without its line end, and that line end."""
    quoted = False
    for found in re.finditer(r'["\n]', text[: MAX_ROW + 1]):
        if found.group() == '"':
            quoted = not quoted
        elif not quoted and text[: found.start()].strip():
            header = text[: found.start()]
            return (header[:-1], "\r\n") if header.endswith("\r") else (header, "\n")
    if "\r" in text.strip() and "\n" not in text:
        raise ManifestError("the manifest's line ends are CR only", remedy="save it with LF or CRLF line ends")
    return text[:MAX_ROW], "\n"


def _delimiter(header: str) -> str:
    """Return the delimiter that makes most sense of the header: names that Retouch knows, then most columns."""

    def sense(delimiter: str) -> tuple[int, int]:
        names = next(csv.reader([header.strip()], delimiter=delimiter), [])
        return sum(name.strip().casefold() in PLAIN_COLUMNS for name in names), len(names)

    return max(DELIMITERS, key=sense)
