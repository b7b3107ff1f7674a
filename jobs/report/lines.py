"""Writes tables and JSON lines the way the manifest was written: delimiter, encoding, BOM and line end.

A character that the manifest's encoding does not have is never lost: the file goes over to UTF-8 with a BOM, which
both a spreadsheet and the planner recognise. That can only come from a cell of ours; the user's own were read in
this encoding.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from jobs.batch import Table

_QUOTED = frozenset('",;\t|\r\n')
"""Characters that put a cell in quotes whatever the delimiter is, so that no reader can guess another one."""

_FORMULA = frozenset("=+-@\t\r\n＝＋－＠")
"""What a spreadsheet may take for the start of a formula; the last four are the full-width forms."""


def guarded(text: str) -> str:
    """Return `text` so that a spreadsheet does not run it: an apostrophe goes before what begins like a formula."""
    return f"'{text}" if text[:1] in _FORMULA or text.lstrip()[:1] in _FORMULA else text


def json_line(data: Mapping[str, Any]) -> str:
    """Return `data` as one line of JSON without its line end; always encodable (`encodable`)."""
    return encodable(data, separators=(",", ":"))


def encodable(data: Mapping[str, Any], **layout: Any) -> str:
    """Return `data` as readable JSON, or escaped throughout where half a surrogate pair is in it."""
    text = json.dumps(data, ensure_ascii=False, **layout)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(data, **layout)
    return text


class TableFile:
    """A file of lines in the manifest's own dialect, as a context manager.

    `row` quotes what has to be quoted, with doubled quotes inside, so that a CSV reader gives every cell back as it
    was passed. `table.form` decides nothing here: JSON lines use `line` alone.
    """

    def __init__(self, path: Path, table: Table) -> None:
        self._path = path
        self._delimiter = table.delimiter
        self._newline = table.newline
        self._encoding = codecs.lookup(table.encoding).name
        unicode_ = self._encoding.startswith("utf")
        if self._encoding == "utf-8-sig":
            self._encoding = "utf-8"
        self._file = self._open("w")
        if unicode_ and (table.bom or codecs.lookup(table.encoding).name == "utf-8-sig"):
            self._file.write("\ufeff")
        if table.sep and table.form == "csv":
            self.line(table.sep)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def row(self, cells: Iterable[str]) -> None:
        """Write one line of a table."""
        self.line(self._delimiter.join(self._cell(cell) for cell in cells))

    def line(self, text: str) -> None:
        """Write `text` and a line end."""
        try:
            self._file.write(text + self._newline)
        except UnicodeEncodeError:
            self._widen()
            self._file.write(text + self._newline)

    def _cell(self, text: str) -> str:
        plain = self._delimiter not in text and _QUOTED.isdisjoint(text) and text.strip() == text
        return text if plain else '"' + text.replace('"', '""') + '"'

    def _open(self, mode: str) -> TextIO:
        # In Unicode only half a surrogate pair cannot be written; it becomes readable text instead of an error.
        errors = "backslashreplace" if self._encoding.startswith("utf") else "strict"
        return self._path.open(mode, encoding=self._encoding, errors=errors, newline="")  # type: ignore[return-value]

    def _widen(self) -> None:
        """Go over to UTF-8 with a BOM, what was written so far included."""
        self._file.close()
        wide = self._path.with_name(self._path.name + ".wide")
        with (
            self._path.open(encoding=self._encoding, newline="") as narrow,
            wide.open("w", encoding="utf-8-sig", newline="") as file,
        ):
            while block := narrow.read(1 << 20):
                file.write(block)
        wide.replace(self._path)
        self._encoding = "utf-8"
        self._file = self._open("a")
