"""Finds out how a manifest was written, in one pass over its bytes, before any row of it is believed.

The first non-ASCII bytes decide the encoding, however late they come: if they are UTF-8, the file is UTF-8 and
every later byte must be; if not, it is Windows-1252. A file that mixes both is refused, because either reading
would quietly garble some of its names.
"""

from __future__ import annotations

import codecs
import csv
import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from producers.manifest.columns import PLAIN_COLUMNS
from producers.manifest.opening import CHUNK, GZIP, open_bytes, stamp
from producers.manifest.problems import ManifestError

MAX_FILE_BYTES = 4_000_000_000
MAX_ROW = 65_536
"""Bytes of one physical line, and characters of one row."""

DELIMITERS = (",", ";", "\t", "|")
_SAMPLE = 200
"""Rows that are looked at for decimal commas."""
_SEP = re.compile(r'("?)sep=([^\w"\r\n])\1[,;\t|]*(\r?\n|$)', re.IGNORECASE)
"""The line that tells Excel the delimiter; saved again by Excel it may be quoted and followed by delimiters."""
_WITH_COMMA = re.compile(r"[+-]?\d+,\d{1,2}")
_WITH_POINT = re.compile(r"[+-]?\d+\.\d{1,2}")
_UNDEFINED_1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
_SPACE = b" \t\r\n"

_FOREIGN = (
    (b"PK\x03\x04", "a ZIP archive", "unzip it; a workbook is read as it is, not zipped"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook (.xls)", "save it as .xlsx or as CSV (UTF-8)"),
    (b"PAR1", "a zipped Parquet file", "unzip it"),
    (b"\xff\xfe\0\0", "UTF-32 text", "save it as UTF-8"),
    (b"\0\0\xfe\xff", "UTF-32 text", "save it as UTF-8"),
    (b"\xff\xd8\xff", "a picture, not a list of pictures", "name the picture in the column `image` of a CSV"),
    (b"\x89PNG", "a picture, not a list of pictures", "name the picture in the column `image` of a CSV"),
    (b"RIFF", "a picture, not a list of pictures", "name the picture in the column `image` of a CSV"),
    (b"%PDF", "a PDF", "save the table as CSV (UTF-8)"),
    (GZIP, "zipped twice", "unzip it once"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a text was written. `form` is `csv`, `jsonl` or `json` (one array); `stamp` is (bytes, mtime in ns) when it
    was read; `sep` is the line before the header that names the delimiter, as it stands there."""

    form: str
    encoding: str
    bom: bool
    newline: str
    delimiter: str
    zipped: bool
    stamp: tuple[int, int]
    sep: str = ""
    decimal_comma: bool = False
    """Numbers of the table are written `4,5`, and none of the same columns `4.5`."""

    @property
    def codec(self) -> str:
        """Python's name of the encoding, byte order mark included."""
        if self.encoding.startswith("utf-16"):
            return "utf-8"  # they are recoded when they are read
        return "utf-8-sig" if self.bom else self.encoding


def read_dialect(path: Path) -> Dialect:
    """Return how the manifest at `path` was written.

    Raises:
        ManifestError: it is not text, holds NUL bytes, mixes encodings, is empty, too large or a bomb.
    """
    file, zipped, utf16 = open_bytes(path)
    with file:
        taken = stamp(path)
        if taken[0] > MAX_FILE_BYTES:
            raise ManifestError("the manifest is over 4 GB", remedy="split it")
        head = file.read(CHUNK)
        _refuse_foreign(head)
        array = head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"[")
        scan = _Scan(lines_matter=not array)  # an array may be one line; its objects are measured when they are read
        chunk = head
        while chunk:
            scan.take(chunk)
            chunk = file.read(CHUNK)
        scan.end()
    bom = head.startswith(codecs.BOM_UTF8)
    text = head.removeprefix(codecs.BOM_UTF8).decode(scan.encoding, "ignore")
    if not text.strip():
        raise ManifestError("the manifest is empty", remedy="it needs a header line and a row, or a JSON object a line")
    encoding = utf16 or scan.encoding
    if array or text.lstrip().startswith("{"):
        newline = "\r\n" if text.partition("\n")[0].endswith("\r") else "\n"
        return Dialect(
            form="json" if array else "jsonl",
            encoding=encoding,
            bom=bom or bool(utf16),
            newline=newline,
            delimiter="",
            zipped=zipped,
            stamp=taken,
        )
    sep = _SEP.match(text)
    header, newline = _header(text[sep.end() :] if sep else text)
    delimiter = sep[2] if sep else _delimiter(header)
    return Dialect(
        form="csv",
        encoding=encoding,
        bom=bom or bool(utf16),
        newline=newline,
        delimiter=delimiter,
        zipped=zipped,
        stamp=taken,
        sep=sep[0].rstrip("\r\n") if sep else "",
        decimal_comma=_has_decimal_commas(text[len(header) + (sep.end() if sep else 0) :], delimiter),
    )


class _Scan:
    """What all bytes of a file must satisfy, chunk by chunk, in constant memory."""

    def __init__(self, *, lines_matter: bool = True) -> None:
        self.encoding = "utf-8"
        self._lines_matter = lines_matter
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
        if self._lines_matter:
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


def _has_decimal_commas(text: str, delimiter: str) -> bool:
    """Say whether numbers are written with commas: `4,5` in some column, and `4.5` in no such column."""
    commas: set[int] = set()
    points: set[int] = set()
    lines = islice((line + "\n" for line in text[: 4 * MAX_ROW].split("\n")), _SAMPLE)
    try:
        for cells in csv.reader(lines, delimiter=delimiter):
            for place, cell in enumerate(cells):
                if _WITH_COMMA.fullmatch(cell.strip()):
                    commas.add(place)
                elif _WITH_POINT.fullmatch(cell.strip()):
                    points.add(place)
    except csv.Error:  # what is broken is said when the rows are read
        return False
    return bool(commas) and not commas & points
