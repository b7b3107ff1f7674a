"""What can be wrong with a manifest: an error that stops the plan, or a problem of one row.

A `ManifestError` is about the whole file and there is only ever one; a `RowProblem` leaves the other rows alone,
so a user sees all of them at once, in `errors.csv`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from jobs.errors import RetouchError

PROBLEM_CODES: Mapping[str, str] = {
    "row_unreadable": "The row cannot be read as it stands.",
    "row_cells": "The row has another number of cells than the header.",
    "value_nested": "A list or an object stands where a text, a number or true/false is needed.",
    "name_unfit": "The file's name does not fit the pattern.",
    "picture_without_row": "No row of the table belongs to the picture.",
    "row_without_picture": "No picture belongs to the table's row; it is told, and is no bad row.",
    "join_unfit": "What the row is to be joined by is empty, damaged, or another row's.",
    "id_missing": "The row has no id, and its picture has no file name to take one from.",
    "id_unsafe": "The id holds control characters or is too long.",
    "id_duplicate": "Another row has this id.",
    "id_damaged": "A spreadsheet has made a rounded number or a date of the id.",
    "value_damaged": "The text holds the error of a formula in a spreadsheet.",
    "image_missing": "The row names no picture.",
    "reference_gap": "A reference is given although the one before it is empty.",
    "references_too_many": "The model takes fewer pictures.",
    "local_refused": "Files of this machine may be named on the command line only.",
    "bucket_refused": "Retouch may not read this bucket.",
    "prompt_missing": "The row has no prompt.",
    "prompt_too_long": "The prompt is too long.",
    "value_missing": "A column that the template uses is empty.",
    "model_unknown": "The catalogue has no such model.",
    "field_unknown": "The model has no such field.",
    "value_invalid": "The model does not take this value.",
    "output_unsafe": "The output key is not safe to write to.",
    "output_duplicate": "Another row has this output key.",
    "output_is_input": "A row's picture lies at the output key.",
}
"""Codes of a plan's own, beside the row reasons of `jobs.reasons`; a code is never renamed."""


class ManifestError(RetouchError):
    """The manifest cannot be used.

    `line` is the physical line (1 is the first) and `column` a column's name, where the error has a place; `file` is
    the manifest's name, filled in by whoever knows it.
    """

    file = ""

    def __init__(self, message: str, *, remedy: str = "", line: int | None = None, column: str = "") -> None:
        self.message = message
        self.remedy = remedy
        self.line = line
        self.column = column
        place = f"line {line:,}: " if line is not None else ""
        super().__init__(f"{place}{message}" + (f"; {remedy}" if remedy else ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class RowProblem:
    """One thing that is wrong with a row, and what would be right."""

    line: int
    column: str
    code: str
    message: str
    remedy: str


def problem(column: str, code: str, message: str, remedy: str) -> RowProblem:
    """Return a problem whose line is filled in later, by whoever knows it."""
    return RowProblem(line=0, column=column, code=code, message=message, remedy=remedy)


def shown(text: str, limit: int = 60) -> str:
    """Return `text` quoted for a message: control characters escaped, cut after `limit` characters."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "'" + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut) + "'"


def listed(names: Iterable[str], limit: int = 12) -> str:
    """Return names as a list for a message; the rest is counted."""
    every = list(names)
    rest = f" and {len(every) - limit} more" if len(every) > limit else ""
    return ", ".join(every[:limit]) + rest


_FORMULA = re.compile(r"^\s*[=+\-@\t\r\n＝＋－＠]")


def guarded(text: str) -> str:
    """Return a cell that no spreadsheet runs as a formula: an apostrophe goes before what would start one."""
    return f"'{text}" if _FORMULA.match(text) else text


class ErrorsFile:
    """`errors.csv`, made only when the first problem is written, and only kept when the plan ends well.

    It starts with a byte order mark, because spreadsheets take a CSV without one for the local code page.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._draft = path.with_name(f".{path.name}.part")
        self._file: IO[str] | None = None
        self._writer: Any = None

    def __enter__(self) -> Self:
        return self

    def write(self, found: RowProblem) -> None:
        """Add one line."""
        if self._file is None:
            self._file = self._open()
            self._writer = csv.writer(self._file)
            self._writer.writerow(("line", "column", "code", "problem", "remedy"))
        texts = (found.column, found.code, found.message, found.remedy)
        try:
            self._writer.writerow((found.line, *map(guarded, texts)))
        except OSError as error:
            raise self._cannot(error) from None

    def _open(self) -> IO[str]:
        try:
            self._draft.parent.mkdir(parents=True, exist_ok=True)
            return self._draft.open("w", encoding="utf-8-sig", newline="")
        except OSError as error:
            raise self._cannot(error) from None

    def _cannot(self, error: OSError) -> ManifestError:
        return ManifestError(
            f"rows are wrong, and {self.path} cannot be written ({error.strerror})",
            remedy="work in a folder that you may write to, on a disk that has room",
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        try:
            self._file.close()
        except OSError as failed:  # the last lines had no room
            self._draft.unlink(missing_ok=True)
            if kind is None:
                raise self._cannot(failed) from None
            return
        if kind is None:
            self._draft.replace(self.path)
        else:
            self._draft.unlink(missing_ok=True)
