"""Reads an Excel workbook as a stream: the first visible sheet, each cell as the text that its user means.

A number keeps the zeros that its format shows (`00042`), and a whole number has no point. Excel keeps 15 digits of
a number; a longer one comes as `1.23456789012345E+18`, which is an error wherever it would be an id.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import ParseError

from jobs.batch import Table
from jobs.row import IdleRow
from producers.manifest.formulas import without_result
from producers.manifest.objects import LONG_CELL, MAX_CELL, unreadable
from producers.manifest.opening import stamp
from producers.manifest.problems import ManifestError, shown
from producers.manifest.rows import AnyRow, BrokenRow, Manifest, RawRow, checked_header

MAX_PARTS_BYTES = 2_000_000_000
"""Bytes of everything in the workbook, unpacked; sheets are read as a stream."""
MAX_SHARED_BYTES = 50_000_000
"""Bytes of what is held in memory: the shared texts and the styles."""
MAX_RATIO = 200
"""Unpacked to packed bytes, where it is over a few megabytes; sheets reach 10 to 50."""

_MEGABYTES = 8_000_000
_EXACT = 10**15
_ZEROS = re.compile(r'(?:"([^"]*)")?(0{2,})(?:"([^"]*)")?')
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    ParseError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    EOFError,
    OverflowError,
    NotImplementedError,
    OSError,
)


class WorkbookManifest(Manifest):
    """A manifest that is an Excel workbook (.xlsx, .xlsm)."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, stamp(path))
        self._sheet = ""
        self._sheets = 0
        self._header: tuple[str, ...] = ()
        self._header_line = 0
        self._part = ""
        _check_parts(path)
        for line, cells in self._lines():
            self._header_line = line
            self._header = checked_header(cells, line)
            self._check_formulas()
            break
        else:
            raise ManifestError(
                f"the sheet {shown(self._sheet)} of the workbook is empty",
                remedy="put the table on the first visible sheet, its header in the first row",
            )

    def _check_formulas(self) -> None:
        """Refuse a sheet whose formulas have no results: their cells would look empty."""
        place = without_result(self.path, self._part)
        if not place:
            return
        letters = place.rstrip("0123456789")
        line = int(place[len(letters) :] or 0)
        at = sum(26**n * (ord(letter) - 64) for n, letter in enumerate(reversed(letters.upper()))) - 1
        known = line and place.isalnum() and 0 <= at < len(self._header)
        raise ManifestError(
            f"the cell {place} is a formula without a result: the program that wrote the workbook left it to Excel",
            remedy="open it in Excel, save it, and give that file",
            line=line or None,
            column=self._header[at] if known else "",
        )

    @property
    def table(self) -> Table:
        """Results are a CSV that Excel opens."""
        return Table(form="csv", columns=self._header, encoding="utf-8", bom=True, newline="\r\n")

    def _form(self) -> Sequence[str]:
        of = f" of {self._sheets}" if self._sheets > 1 else ""
        return ["Excel", f"sheet {shown(self._sheet)}{of}"]

    def _read(self) -> Iterator[AnyRow]:
        width = len(self._header)
        number = record = 0
        for line, texts in self._lines():
            if line <= self._header_line:
                continue
            before, record = record, line - self._header_line
            if record - before > 1:
                yield IdleRow(record=before + 1, cells=("",) * width, times=record - before - 1)
            number += 1
            cells = (*texts, *[""] * (width - len(texts)))
            long = next((at for at, cell in enumerate(cells) if len(cell) > MAX_CELL), None)
            if long is not None:
                name = self._header[long] if long < width else ""
                yield BrokenRow(number, unreadable(line, name, *LONG_CELL), cells, record)
                continue
            yield RawRow(number, line, cells, record=record)

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        """Yield (row of the sheet, texts) of each row that has any text; empty cells at its end are left out."""
        import openpyxl  # here, because it takes a fifth of a second and most manifests are texts

        try:
            warnings.filterwarnings("ignore", module="openpyxl")  # about styles and drawings that nobody reads
            with closing(openpyxl.load_workbook(self.path, read_only=True, data_only=True)) as book:
                visible = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
                self._sheets = len(visible)
                if not visible:
                    raise ManifestError("the workbook has no visible sheet", remedy="show the one with the table")
                sheet = visible[0]
                self._sheet = sheet.title
                self._part = sheet._worksheet_path  # nothing else tells which file a sheet is
                sheet.reset_dimensions()  # what a file says of its own size may be wrong
                for line, row in enumerate(sheet.iter_rows(), 1):
                    cells = [_text(cell) for cell in row]
                    while cells and not cells[-1].strip():
                        cells.pop()
                    if cells:
                        yield line, cells
        except _BROKEN as error:
            if stamp(self.path) != self._taken:
                self._changed()
            raise _damaged(error) from None


def is_workbook(path: Path) -> bool:
    """Say whether a file that starts like a ZIP archive is an Excel workbook; a damaged one counts as one."""
    try:
        with zipfile.ZipFile(path) as parts:
            names = parts.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, EOFError):
        return True
    return any(name.startswith("xl/") for name in names)


def _check_parts(path: Path) -> None:
    """Refuse a bomb before anything of it is unpacked.

    Raises:
        ManifestError: it is one, or the archive is damaged.
    """
    try:
        with zipfile.ZipFile(path) as parts:
            found = parts.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
        raise _damaged(error) from None
    held = sum(part.file_size for part in found if not part.filename.startswith("xl/worksheets/"))
    bomb = any(p.file_size > _MEGABYTES and p.file_size > MAX_RATIO * max(p.compress_size, 1) for p in found)
    if bomb or sum(part.file_size for part in found) > MAX_PARTS_BYTES:
        raise ManifestError(
            f"the workbook is over {MAX_RATIO} times larger unpacked than packed, or over 2 GB, like a ZIP bomb",
            remedy="if it is yours, save the sheet as CSV (UTF-8)",
        )
    texts = [p.file_size for p in found if p.filename in ("xl/sharedStrings.xml", "xl/styles.xml", "xl/workbook.xml")]
    if held and sum(texts) > MAX_SHARED_BYTES:
        raise ManifestError("the workbook holds over 50 MB of texts", remedy="save the sheet as CSV (UTF-8)")


def _damaged(error: Exception) -> ManifestError:
    why = str(error).strip() or type(error).__name__
    return ManifestError(
        f"the Excel workbook is damaged ({why[:80]})", remedy="open it in Excel and save it again, or save it as CSV"
    )


def _text(cell: Any) -> str:
    """Return a cell as its user means it."""
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return _number(value, cell.number_format)
    if isinstance(value, dt.datetime):
        return value.date().isoformat() if value.time() == dt.time() else value.isoformat(" ", "seconds")
    return str(value)


def _number(value: float, shape: str | None) -> str:
    if abs(value) >= _EXACT:
        return f"{value:.14E}" if math.isfinite(value) else str(value)
    if value != int(value):
        return repr(float(value))
    whole = str(int(value))
    zeros = _ZEROS.fullmatch((shape or "").partition(";")[0])
    if zeros is None or value < 0:
        return whole
    return f"{zeros[1] or ''}{whole.zfill(len(zeros[2]))}{zeros[3] or ''}"
