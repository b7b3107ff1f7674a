"""Pictures joined with a table: a row for each picture, with the cells of the table's row that it belongs to.

The name of a picture says which row that is (`{sku}_{position}.{ext}`). The table lies in a temporary SQLite file
while the pictures come by, so memory holds neither. What has no counterpart is reported: a picture without a row is a
bad row; a row without a picture is none, since tables name much that is not photographed yet.
"""

from __future__ import annotations

import json
import sqlite3
import unicodedata
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs.batch import Table
from jobs.row import IdleRow
from producers.manifest.damage import REMEDY, damaged_id
from producers.manifest.listing import ListingManifest
from producers.manifest.problems import ManifestError, RowProblem, listed, shown
from producers.manifest.rows import AnyRow, BrokenRow, Manifest, RawRow, checked_header, count
from producers.manifest.spelling import hint

_SCHEMA = """
CREATE TABLE rows (key TEXT PRIMARY KEY, line INTEGER, cells TEXT, taken INTEGER DEFAULT 0) WITHOUT ROWID;
CREATE TABLE broken (problem TEXT);
"""


class JoinedManifest(Manifest):
    """A list of pictures and a table, joined by a column that both have.

    Columns of the table that the pictures' names make as well are called `table_<name>`.

    Raises:
        ManifestError: the table cannot be used, or one of the two has no such column.
    """

    def __init__(self, pictures: ListingManifest, table: Manifest, join: str) -> None:
        super().__init__(pictures.path, None)
        self._pictures = pictures
        self._table = table
        self._join = join
        self._without_row = 0
        self._own = pictures.table.columns
        if join not in self._own:
            raise ManifestError(f"the pattern has no {{{join}}} to join by", remedy=f"it makes: {listed(self._own)}")
        self._rows = sqlite3.connect("", isolation_level=None, check_same_thread=False)  # a file that nobody sees
        weakref.finalize(self, self._rows.close)
        self._rows.executescript(_SCHEMA)
        try:
            self._others = self._load()
        except ManifestError as error:
            error.file = error.file or table.path.name
            raise
        self.decimal_comma = table.decimal_comma

    @property
    def folder(self) -> Path:
        """Where relative paths start: at the pictures."""
        return self._pictures.folder

    @property
    def table(self) -> Table:
        """Results are a plain CSV."""
        others = [f"table_{name}" if name in self._own else name for name in self._others]
        return Table(form="csv", columns=checked_header([*self._own, *others], 1))

    def unmatched(self) -> Iterator[RowProblem]:
        """Yield the rows of the table that no picture belongs to."""
        for line, key in self._rows.execute("SELECT line, key FROM rows WHERE NOT taken ORDER BY line"):
            message = f"no picture belongs to the row of {self._join} {shown(key)} in {self._table.path.name}"
            right = "add one whose name fits the pattern, if there should be one"
            yield self._problem(line, "row_without_picture", message, right)

    def _title(self) -> str:
        return self._pictures._title()

    def _form(self) -> Sequence[str]:
        (pictureless,) = self._rows.execute("SELECT count(*) FROM rows WHERE NOT taken").fetchone()
        found = [*self._pictures._form(), f"joined with {self._table.path.name} by {self._join}", *self._table._form()]
        found += [f"{count(self._without_row, 'picture')} without a row"] if self._without_row else []
        return [*found, *([f"{count(pictureless, 'row')} without a picture"] if pictureless else [])]

    def _no_rows(self) -> ManifestError:
        return self._pictures._no_rows()

    def _load(self) -> tuple[str, ...]:
        """Read the table; return its columns but the one to join by."""
        columns = self._table.table.columns
        if columns:
            self._check(columns)
        self._rows.execute("BEGIN")
        for row in self._table.rows():
            if isinstance(row, BrokenRow):
                self._keep_broken(row.problem)
            elif isinstance(row, IdleRow):
                continue
            elif isinstance(row.cells, tuple) and len(row.cells) != len(columns):
                message = f"the row has {count(len(row.cells), 'cell')} and the header {len(columns)}"
                self._refuse(row, "row_cells", message, "check the delimiters and quotes of the line")
            else:
                cells = row.cells
                self._keep(row, cells if isinstance(cells, Mapping) else dict(zip(columns, cells, strict=True)))
        self._rows.execute("COMMIT")
        columns = self._table.table.columns
        self._check(columns)
        return tuple(name for name in columns if name != self._join)

    def _check(self, columns: Sequence[str]) -> None:
        if self._join not in columns:
            raise ManifestError(
                f"there is no column {shown(self._join)} to join by{hint(self._join, columns)}",
                remedy=f"the columns are: {listed(columns)}",
                line=1,
            )

    def _keep(self, row: RawRow, cells: Mapping[str, Any]) -> None:
        key = _normal(_text(cells.get(self._join)))
        damage = damaged_id(key)
        if not key:
            self._refuse(row, "join_unfit", f"{self._join} is empty", "fill it, so that pictures can belong to the row")
            return
        if damage:
            self._refuse(row, "join_unfit", f"{self._join} {shown(key)} {damage}", REMEDY)
            return
        known = self._rows.execute("SELECT line FROM rows WHERE key = ?", (key,)).fetchone()
        if known is not None:
            message = f"{self._join} {shown(key)} stands on line {known[0]:,} already"
            self._refuse(row, "join_unfit", message, "keep one row for each")
            return
        text = json.dumps(cells, ensure_ascii=False)
        self._rows.execute("INSERT INTO rows (key, line, cells) VALUES (?, ?, ?)", (key, row.line, text))

    def _read(self) -> Iterator[AnyRow]:
        self._without_row = number = 0
        place = self._own.index(self._join)
        self._rows.execute("UPDATE rows SET taken = 0")
        for row in self._pictures.rows():
            if not isinstance(row, RawRow):
                number = row.number or number
                yield row
                continue
            number, own = row.number, tuple(row.cells)
            key = _normal(own[place])
            found = self._rows.execute("SELECT cells FROM rows WHERE key = ?", (key,)).fetchone()
            if found is None:
                self._without_row += 1
                cells = (*own, *("" for _ in self._others))
                yield BrokenRow(number, self._lonely(row.line, own[0], key), cells)
                continue
            self._rows.execute("UPDATE rows SET taken = 1 WHERE key = ?", (key,))
            cells = json.loads(found[0])
            yield RawRow(number, row.line, (*own, *(_text(cells.get(name)) for name in self._others)))
        for (problem,) in self._rows.execute("SELECT problem FROM broken"):
            number += 1
            yield BrokenRow(number, RowProblem(**json.loads(problem)))

    def _lonely(self, line: int, image: str, key: str) -> RowProblem:
        message = f"{shown(image, 120)}: {self._table.path.name} has no row of {self._join} {shown(key)}"
        right = "add the row, or take the picture away; case and zeros count"
        return RowProblem(line=line, column="image", code="picture_without_row", message=message, remedy=right)

    def _refuse(self, row: RawRow, code: str, message: str, right: str) -> None:
        self._keep_broken(self._problem(row.line, code, message, right))

    def _keep_broken(self, problem: RowProblem) -> None:
        self._rows.execute("INSERT INTO broken VALUES (?)", (json.dumps(asdict(problem)),))

    def _problem(self, line: int, code: str, message: str, right: str) -> RowProblem:
        return RowProblem(line=line, column=self._join, code=code, message=message, remedy=right)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False)  # a number, `true`, or a list as it stood there


def _normal(key: str) -> str:
    return unicodedata.normalize("NFC", key.strip())
