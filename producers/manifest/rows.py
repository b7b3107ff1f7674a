"""What every manifest is, however it was written: rows one after another, and how to write them again.

`line` is where a row starts as its user counts: the physical line of a text, the row of a sheet, the number of a
record. Memory holds one row.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from jobs.batch import Table
from jobs.row import Cells, IdleRow
from producers.manifest.opening import stamp
from producers.manifest.problems import ManifestError, RowProblem, shown

MAX_ROWS = 1_000_000
MAX_COLUMNS = 1_000
"""Attributes of a PIM times its languages and channels."""


class RawRow(NamedTuple):
    """A row as it stands in the file. (A tuple, because a million of them are made.)

    `mapped` are the cells that a source profile made of it, in the profile's own order. `record` is its place among all
    rows of the file where that is not `number`: there are blank ones before it, or a profile makes several of one.
    `filled` are the cells as templates see them, where the row goes on with the one before and leaves some empty.
    """

    number: int
    line: int
    cells: Cells
    mapped: tuple[str, ...] = ()
    record: int = 0
    filled: tuple[str, ...] = ()


class BrokenRow(NamedTuple):
    """A row that cannot be read; the rows after it can. `cells` are known where it was a line of a table."""

    number: int
    problem: RowProblem
    cells: Cells | None = None
    record: int = 0


AnyRow = RawRow | BrokenRow | IdleRow
"""What a manifest consists of; rows that are idle have no number."""


class Blanks:
    """Counts blank rows that follow each other: a sheet may have a million of them at its end."""

    def __init__(self) -> None:
        self._record = self._times = 0
        self._cells: tuple[str, ...] = ()

    def take(self, record: int, cells: tuple[str, ...]) -> Iterator[IdleRow]:
        """Take a blank row, and yield those before it if they were written otherwise."""
        if self._times and cells != self._cells:
            yield from self.end()
        if not self._times:
            self._record, self._cells = record, cells
        self._times += 1

    def end(self) -> Iterator[IdleRow]:
        """Yield what was taken: a row that is not blank follows, or none."""
        if self._times:
            yield IdleRow(record=self._record, cells=self._cells, times=self._times)
        self._times = 0


class Manifest(ABC):
    """An opened manifest: how it is written, and its rows."""

    decimal_comma = False
    """Its numbers are written `4,5`."""

    def __init__(self, path: Path, taken: tuple[int, int] | None) -> None:
        self.path = path
        self.rows_read = 0
        self._taken = taken
        """(bytes, mtime in ns) of the file when it was opened; None where there is no single file."""

    @property
    def folder(self) -> Path:
        """Where relative paths of the manifest start."""
        return self.path.absolute().parent

    @property
    def read_so_far(self) -> float | None:
        """What part of it was read (from 0 to 1); None where nobody can tell."""
        return None

    @property
    @abstractmethod
    def table(self) -> Table:
        """How results are to be written. Complete at once for tables; for JSON when all rows were read."""

    @abstractmethod
    def _form(self) -> Sequence[str]:
        """Return how it is written, in a few words each."""

    @abstractmethod
    def _read(self) -> Iterator[AnyRow]:
        """Yield every row."""

    def unmatched(self) -> Iterator[RowProblem]:
        """Yield what else is to be told once every row was read; none of it is a bad row."""
        return iter(())

    def understood(self, used: int) -> str:
        """Return one sentence about how it was read; `used` is how many columns mean something."""
        columns = len(self.table.columns)
        parts = [*self._form(), *(["decimal comma"] if self.decimal_comma else [])]
        parts += [count(self.rows_read, "row"), f"{count(columns, 'column')} ({used} used)"]
        return f"{self._title()}: {', '.join(parts)}"

    def _title(self) -> str:
        return self.path.name

    def rows(self) -> Iterator[AnyRow]:
        """Yield every row; those without any text are idle.

        Raises:
            ManifestError: the structure breaks (a quote that never closes), there are too many rows or none at
                all, or the file changed since it was opened.
        """
        self.rows_read = idle = 0
        try:
            for row in self._read():
                if isinstance(row, IdleRow):
                    idle = many = idle + 1
                else:
                    self.rows_read = many = row.number
                if many > MAX_ROWS:
                    raise ManifestError(f"the manifest has over {MAX_ROWS:,} rows", remedy="split it")
                yield row
        except UnicodeDecodeError:
            self._changed()
        if self._taken is not None and self._stamp() != self._taken:
            self._changed()
        if not self.rows_read:
            raise self._no_rows()

    def _no_rows(self) -> ManifestError:
        return ManifestError("the manifest has a header and no rows", remedy="add a row for each picture", line=1)

    def _stamp(self) -> tuple[int, int] | None:
        try:
            return stamp(self.path)
        except OSError:
            return None

    def _changed(self) -> NoReturn:
        raise ManifestError("the manifest changed while it was read", remedy="plan again when nobody writes to it")


def checked_header(names: Sequence[str], line: int) -> tuple[str, ...]:
    """Return the names of a table's columns. One without a name is data that no template can name: pandas writes one
    before its index, Excel writes them after the last column.

    Raises:
        ManifestError: there are over 1,000, none has a name, or one stands twice.
    """
    if len(names) > MAX_COLUMNS:
        raise ManifestError(f"the manifest has over {MAX_COLUMNS:,} columns", remedy="leave some out", line=line)
    first: dict[str, int] = {}
    for position, name in enumerate(names, 1):
        if not name.strip():
            continue
        if name in first:
            raise ManifestError(
                f"two columns are named {shown(name)}: {first[name]} and {position}",
                remedy="rename or remove one of them",
                line=line,
                column=name,
            )
        first[name] = position
    return tuple(names)


def count(number: int, noun: str) -> str:
    """Return `8,000 rows` or `1 row`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
