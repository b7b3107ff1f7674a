"""Reads a manifest that is a text, CSV or JSON, as a stream: one raw row after another, whatever the file's size.

`line` is the physical line on which a row starts, as an editor counts it; a quoted cell may span several. The caps
on a line (checked before) and on a row (checked here) are what keeps memory at one row.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jobs.batch import Table
from producers.manifest.arrays import elements
from producers.manifest.dialect import MAX_ROW, Dialect
from producers.manifest.objects import LONG_CELL, MAX_CELL, read_object, unreadable
from producers.manifest.opening import open_bytes
from producers.manifest.problems import ManifestError, RowProblem
from producers.manifest.rows import MAX_COLUMNS, AnyRow, Blanks, BrokenRow, Manifest, RawRow, checked_header

_NAMES = {"utf-8": "UTF-8", "cp1252": "Windows-1252", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16"}


class TextManifest(Manifest):
    """A manifest that is a text. The columns of a JSON one are known when all rows were read."""

    def __init__(self, path: Path, dialect: Dialect) -> None:
        super().__init__(path, dialect.stamp)
        self.dialect = dialect
        self.decimal_comma = dialect.decimal_comma
        self._keys: dict[str, None] = {}
        self._file: io.BufferedReader[Any] | None = None
        self._header = self._read_header() if dialect.form == "csv" else ()

    @property
    def table(self) -> Table:
        """How the manifest is written, so that results can be written the same way; an array becomes JSON lines."""
        dialect = self.dialect
        array = dialect.form == "json"
        return Table(
            form="csv" if dialect.form == "csv" else "jsonl",
            columns=self._header or tuple(self._keys),
            delimiter=dialect.delimiter or ",",
            encoding="utf-8" if array else dialect.encoding,
            bom=dialect.bom and not array,
            newline=dialect.newline,
            sep=dialect.sep,
        )

    @property
    def read_so_far(self) -> float | None:
        """What part of the file was read, zipped as it may be."""
        if self._file is None or self._file.closed:
            return None
        return min(os.lseek(self._file.fileno(), 0, os.SEEK_CUR) / max(self.dialect.stamp[0], 1), 1.0)

    def _form(self) -> Sequence[str]:
        name = _NAMES[self.dialect.encoding]
        marked = self.dialect.bom and self.dialect.encoding == "utf-8"
        forms = {"jsonl": "JSON lines", "json": "a JSON array"}
        form = forms.get(self.dialect.form) or _delimiter_name(self.dialect.delimiter)
        return [name + (" with BOM" if marked else ""), form, *(["gzip"] if self.dialect.zipped else [])]

    def _no_rows(self) -> ManifestError:
        if self.dialect.form == "csv":
            return super()._no_rows()
        return ManifestError("the manifest has no rows", remedy="write an object for each picture", line=1)

    def _read(self) -> Iterator[AnyRow]:
        match self.dialect.form:
            case "csv":
                return self._csv_rows()
            case "json":
                return self._json_rows(elements)
            case _:
                return self._json_rows(_lines)

    def _text(self) -> io.TextIOWrapper:
        self._file = open_bytes(self.path).file
        # Lines end at LF only, as editors count them; a lone CR stays inside its cell.
        return io.TextIOWrapper(self._file, encoding=self.dialect.codec, newline="\n")

    def _records(self, text: io.TextIOWrapper) -> Iterator[tuple[int, list[str], int]]:
        """Yield (line, cells, characters) of each record of a CSV, the header included."""
        meter = _Meter()
        skipped = 1 if self.dialect.sep else 0
        if skipped:
            text.readline()
        reader = csv.reader(meter.lines(text), delimiter=self.dialect.delimiter, strict=True)
        line = 1 + skipped
        try:
            for cells in reader:
                if cells:
                    yield line, cells, meter.used
                meter.used = 0
                line = reader.line_num + 1 + skipped
        except csv.Error as error:
            raise _broken_csv(line, str(error)) from None
        except _TooLong:
            raise ManifestError(
                f"the row that starts here is over {MAX_ROW:,} characters long",
                remedy="is a quote opened and never closed? a quote inside a quoted cell is written twice",
                line=line,
            ) from None

    def _read_header(self) -> tuple[str, ...]:
        with self._text() as text:
            line, cells, _ = next(self._records(text), (1, [], 0))
        return checked_header(cells, line)

    def _csv_rows(self) -> Iterator[AnyRow]:
        with self._text() as text:
            records = self._records(text)
            next(records, None)
            number = 0
            blanks, is_after_blank = Blanks(), False
            for record, (line, found, length) in enumerate(records, 1):
                cells = tuple(found)
                if not cells[0].strip() and not "".join(cells).strip():
                    yield from blanks.take(record, cells)
                    is_after_blank = True
                    continue
                if is_after_blank:
                    yield from blanks.end()
                    is_after_blank = False
                number += 1
                if length > MAX_CELL:
                    long = next((at for at, cell in enumerate(cells) if len(cell) > MAX_CELL), None)
                    if long is not None:
                        name = self._header[long] if long < len(self._header) else ""
                        yield BrokenRow(number, unreadable(line, name, *LONG_CELL), cells, record)
                        continue
                yield RawRow(number, line, cells, (), record)
            yield from blanks.end()

    def _json_rows(self, pieces: Callable[[io.TextIOWrapper], Iterator[tuple[int, str]]]) -> Iterator[AnyRow]:
        with self._text() as text:
            for number, (line, source) in enumerate(pieces(text), 1):
                found = read_object(source, line)
                if isinstance(found, RowProblem):
                    yield BrokenRow(number, found)
                    continue
                if not self._keys.keys() >= found.keys():
                    self._keys.update(dict.fromkeys(found))
                    if len(self._keys) > MAX_COLUMNS:
                        raise ManifestError(f"the rows have over {MAX_COLUMNS} different keys", line=line)
                yield RawRow(number, line, found)


def _lines(text: io.TextIOWrapper) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of each line that is not blank."""
    for line, source in enumerate(text, 1):
        if source.strip():
            yield line, source


class _TooLong(Exception):
    """A signal from inside the csv module's loop."""


class _Meter:
    """Counts the characters of the current record, so that an open quote does not swallow the file."""

    def __init__(self) -> None:
        self.used = 0

    def lines(self, text: io.TextIOWrapper) -> Iterator[str]:
        for line in text:
            self.used += len(line)
            if self.used > MAX_ROW:
                raise _TooLong
            yield line


def _broken_csv(line: int, why: str) -> ManifestError:
    if "unexpected end of data" in why:
        return ManifestError(
            "a quote is opened in the row that starts here and never closed",
            remedy="close it; a quote inside a quoted cell is written twice",
            line=line,
        )
    if "expected after" in why:
        return ManifestError(
            "after a closing quote comes something else than a delimiter or the line end",
            remedy="write a quote inside a quoted cell twice",
            line=line,
        )
    if "new-line character" in why:
        return ManifestError(
            "a bare carriage return stands outside quotes", remedy="save the file with LF or CRLF line ends", line=line
        )
    return ManifestError(f"the row cannot be read as CSV ({why})", remedy="export the file again", line=line)


def _delimiter_name(delimiter: str) -> str:
    return "TAB" if delimiter == "\t" else f'"{delimiter}"'
