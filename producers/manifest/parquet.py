"""Reads a Parquet file as a table of texts, some rows at a time; needs the extra `retouch[parquet]`.

Texts stay in the dictionary that the file has them in until their length is known, so a long text that thousands of
rows share does not become thousands of long texts. Files whose pages are too large to be unpacked are refused before.
"""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jobs.batch import Table
from producers.manifest.objects import LONG_CELL, MAX_CELL, unreadable
from producers.manifest.opening import stamp
from producers.manifest.pages import MAX_PAGES, BadPage, TooLarge, footer_fits, rows_at_once
from producers.manifest.problems import ManifestError, shown
from producers.manifest.rows import AnyRow, Blanks, BrokenRow, Manifest, RawRow, checked_header

_EXACT = 2**53


class _Long(str):
    """What takes the place of a cell that is too long."""

    __slots__ = ()


class _Binary(str):
    """What takes the place of a cell of bytes."""

    __slots__ = ()


class ParquetManifest(Manifest):
    """A manifest that is a Parquet file; `line` is the number of the record."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, stamp(path))
        with _open(path) as file:
            self._header = checked_header(file.schema_arrow.names, 1)
            self._at_once = _rows_at_once(path, file.metadata)

    @property
    def table(self) -> Table:
        """Results are a plain CSV."""
        return Table(form="csv", columns=self._header)

    def _form(self) -> Sequence[str]:
        return ["Parquet"]

    def _read(self) -> Iterator[AnyRow]:
        import pyarrow

        number = record = 0
        blanks = Blanks()
        try:
            with _open(self.path) as file:
                for batch in file.iter_batches(batch_size=self._at_once):
                    for cells in zip(*(_texts(column) for column in batch.columns), strict=True):
                        record += 1
                        if not any(cells):
                            yield from blanks.take(record, cells)
                            continue
                        yield from blanks.end()
                        number += 1
                        bad = next((at for at, cell in enumerate(cells) if isinstance(cell, (_Long, _Binary))), None)
                        if bad is None:
                            yield RawRow(number, record, cells, record=record)
                        else:
                            what = LONG_CELL if isinstance(cells[bad], _Long) else ("the cell is bytes", "make it text")
                            yield BrokenRow(number, unreadable(record, self._header[bad], *what))
            yield from blanks.end()
        except (pyarrow.ArrowException, OSError) as error:
            raise _damaged(error) from None


def _open(path: Path) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ManifestError(
            "the manifest is a Parquet file, and the package that reads these is not installed",
            remedy="pip install 'retouch[parquet]', or export it as CSV or JSON lines",
        ) from None
    try:
        if not footer_fits(path):
            raise ManifestError("the Parquet file's description is over 16 MB", remedy="write it in larger row groups")
        schema = pyarrow.parquet.read_schema(path)
        kinds = (pyarrow.types.is_string, pyarrow.types.is_large_string)
        columns = zip(schema.names, schema.types, strict=True)
        texts = [name for name, kind in columns if any(is_text(kind) for is_text in kinds)]
        return pyarrow.parquet.ParquetFile(path, read_dictionary=texts, pre_buffer=False, buffer_size=1 << 20)
    except (pyarrow.ArrowException, OSError) as error:
        raise _damaged(error) from None


def _rows_at_once(path: Path, metadata: Any) -> int:
    try:
        return rows_at_once(path, metadata)
    except TooLarge as error:
        raise ManifestError(
            f"the Parquet file has pages of over {MAX_PAGES >> 20} MB in all, most of it in {shown(str(error))}",
            remedy="leave out columns that hold files or long texts, or write it in row groups of 10,000 rows",
            column=str(error),
        ) from None
    except (BadPage, OSError) as error:
        raise _damaged(error) from None


def _damaged(error: Exception) -> ManifestError:
    why = str(error).strip().partition("\n")[0][:80]
    return ManifestError(f"the Parquet file is damaged ({why})", remedy="write it again")


def _texts(column: Any) -> list[str]:
    """Return a column's values as texts."""
    if hasattr(column, "dictionary"):
        places = column.indices.to_pylist()
        # The dictionary is that of a whole row group, thousands of times longer than what these rows use of it.
        words = {place: _word(column.dictionary[place]) for place in set(places) if place is not None}
        return ["" if place is None else words[place] for place in places]
    return [_text(value.as_py()) for value in column]


def _word(scalar: Any) -> str:
    size = len(scalar.as_buffer()) if scalar.is_valid else 0
    return _Long("long") if size > 4 * MAX_CELL else _text(scalar.as_py())


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case str():
            text = value
        case bool():
            return "true" if value else "false"
        case float():
            if math.isnan(value):
                return ""
            # Whole numbers with gaps are written as floats by half of the world's tools.
            return str(int(value)) if value.is_integer() and abs(value) < _EXACT else repr(value)
        case bytes():
            return _Binary("bytes")
        case dt.datetime():
            return value.isoformat(" ", "seconds")
        case list() | dict() | tuple():
            text = json.dumps(value, ensure_ascii=False, default=str)
        case _:
            return str(value)
    return _Long("long") if len(text) > MAX_CELL else text.replace("\0", " ")
