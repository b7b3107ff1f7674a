"""Reads a manifest as a stream: one raw row after another, whatever the file's size.

`line` is the physical line on which a row starts, as an editor counts it; a quoted cell may span several. Memory
holds one row: the caps on a line (checked before) and on a row (checked here) are what keeps it so.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

from jobs.batch import Table
from jobs.row import Cells
from producers.manifest.dialect import MAX_ROW, Dialect, open_bytes, read_dialect, stamp
from producers.manifest.objects import LONG_CELL, MAX_CELL, read_object, unreadable
from producers.manifest.problems import ManifestError, RowProblem, shown

MAX_ROWS = 1_000_000
MAX_COLUMNS = 200

_NAMES = {"utf-8": "UTF-8", "cp1252": "Windows-1252"}


class RawRow(NamedTuple):
    """A row as it stands in the file. (A tuple, because a million of them are made.)"""

    number: int
    line: int
    cells: Cells


class BrokenRow(NamedTuple):
    """A row that cannot be read; the rows after it can."""

    number: int
    problem: RowProblem


class Manifest:
    """An opened manifest: how it is written, and its rows.

    `table` is complete at once for CSV; the columns of JSON lines are known when all rows were read.
    """

    def __init__(self, path: Path, dialect: Dialect) -> None:
        self.path = path
        self.dialect = dialect
        self.rows_read = 0
        self._keys: dict[str, None] = {}
        self._header = self._read_header() if dialect.form == "csv" else ()

    @property
    def table(self) -> Table:
        """How the manifest is written, so that results can be written the same way."""
        return Table(
            form=self.dialect.form,
            columns=self._header or tuple(self._keys),
            delimiter=self.dialect.delimiter or ",",
            encoding=self.dialect.encoding,
            bom=self.dialect.bom,
            newline=self.dialect.newline,
        )

    def understood(self, used: int) -> str:
        """Return one sentence about how the file was read; `used` is how many columns mean something."""
        name = _NAMES[self.dialect.encoding] + (" with BOM" if self.dialect.bom else "")
        form = "JSON lines" if self.dialect.form == "jsonl" else _delimiter_name(self.dialect.delimiter)
        parts = [name, form, *(["gzip"] if self.dialect.zipped else [])]
        columns = len(self.table.columns)
        parts += [_count(self.rows_read, "row"), f"{_count(columns, 'column')} ({used} used)"]
        return f"{self.path.name}: {', '.join(parts)}"

    def rows(self) -> Iterator[RawRow | BrokenRow]:
        """Yield every row; blank lines are skipped.

        Raises:
            ManifestError: the table's structure breaks (a quote that never closes), there are too many rows or
                none at all, or the file changed since it was opened.
        """
        self.rows_read = 0
        try:
            for row in self._csv_rows() if self.dialect.form == "csv" else self._json_rows():
                self.rows_read = row.number
                if row.number > MAX_ROWS:
                    raise ManifestError(f"the manifest has over {MAX_ROWS:,} rows", remedy="split it")
                yield row
        except UnicodeDecodeError:
            self._changed()
        if stamp(self.path) != self.dialect.stamp:
            self._changed()
        if not self.rows_read:
            raise ManifestError("the manifest has a header and no rows", remedy="add a row for each picture", line=1)

    def _changed(self) -> NoReturn:
        raise ManifestError("the manifest changed while it was read", remedy="plan again when nobody writes to it")

    def _text(self) -> io.TextIOWrapper:
        file, _ = open_bytes(self.path)
        # Lines end at LF only, as editors count them; a lone CR stays inside its cell.
        return io.TextIOWrapper(file, encoding=self.dialect.codec, newline="\n")

    def _records(self, text: io.TextIOWrapper) -> Iterator[tuple[int, list[str], int]]:
        """Yield (line, cells, characters) of each record of a CSV, the header included."""
        meter = _Meter()
        reader = csv.reader(meter.lines(text), delimiter=self.dialect.delimiter, strict=True)
        line = 1
        try:
            for cells in reader:
                if cells:
                    yield line, cells, meter.used
                meter.used = 0
                line = reader.line_num + 1
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
        names = tuple(cells)
        if len(names) > MAX_COLUMNS:
            raise ManifestError(f"the manifest has over {MAX_COLUMNS} columns", remedy="leave some out", line=line)
        first: dict[str, int] = {}
        for position, name in enumerate(names, 1):
            if not name.strip():
                raise ManifestError(f"column {position} has no name", remedy="name it or remove it", line=line)
            if name in first:
                raise ManifestError(
                    f"two columns are named {shown(name)}: {first[name]} and {position}",
                    remedy="rename or remove one of them",
                    line=line,
                    column=name,
                )
            first[name] = position
        return names

    def _csv_rows(self) -> Iterator[RawRow | BrokenRow]:
        with self._text() as text:
            records = self._records(text)
            next(records, None)
            for number, (line, cells, length) in enumerate(records, 1):
                if length > MAX_CELL:
                    long = next((at for at, cell in enumerate(cells) if len(cell) > MAX_CELL), None)
                    if long is not None:
                        name = self._header[long] if long < len(self._header) else ""
                        yield BrokenRow(number, unreadable(line, name, *LONG_CELL))
                        continue
                yield RawRow(number, line, tuple(cells))

    def _json_rows(self) -> Iterator[RawRow | BrokenRow]:
        number = 0
        with self._text() as text:
            for line, source in enumerate(text, 1):
                if not source.strip():
                    continue
                number += 1
                found = read_object(source, line)
                if isinstance(found, RowProblem):
                    yield BrokenRow(number, found)
                    continue
                if not self._keys.keys() >= found.keys():
                    self._keys.update(dict.fromkeys(found))
                    if len(self._keys) > MAX_COLUMNS:
                        raise ManifestError(f"the rows have over {MAX_COLUMNS} different keys", line=line)
                yield RawRow(number, line, found)


def open_manifest(path: Path) -> Manifest:
    """Return the manifest at `path`, its dialect and header known.

    Raises:
        ManifestError: see `read_dialect`; or the header has a name twice, an empty one, or over 200.
    """
    return Manifest(path, read_dialect(path))


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


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
