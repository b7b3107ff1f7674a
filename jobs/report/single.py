"""Writes `jobs.csv`: a line for each job of a batch that a source profile made, and where its picture came from.

`results.csv` is the user's table, so a row of three pictures is one line of it. Who puts pictures back one by one, into
an asset manager or a shop, reads this instead; what stands under a name of `results.csv` is the same here.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from jobs.batch import Table
from jobs.report.joining import Joined
from jobs.report.lines import TableFile, guarded, json_line
from jobs.report.tables import ADDED, JOB_ID, Told, as_cell, told

COLUMNS = (
    "retouch_row",
    JOB_ID,
    "retouch_group",
    "retouch_column",
    "retouch_role",
    "retouch_position",
    "retouch_image",
    *ADDED,
)
"""`retouch_row` counts the rows of the manifest from 1, blank ones too: which line of `results.csv` the job's is."""


def jobs_name(table: Table) -> str:
    """Return the name of the file: it has the manifest's form."""
    return f"jobs.{'jsonl' if table.form == 'jsonl' else 'csv'}"


class Jobs:
    """`jobs.csv` or `jobs.jsonl`, written job by job, as a context manager. Without a source profile there is none."""

    def __init__(self, folder: Path, table: Table) -> None:
        self._json = table.form == "jsonl"
        self._lines = TableFile(folder / jobs_name(table), table) if table.several else None
        if self._lines is not None and not self._json:
            self._lines.row(COLUMNS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lines is not None:
            self._lines.__exit__(kind, error, trace)

    def add(self, joined: Joined) -> None:
        """Write one job."""
        if self._lines is None:
            return
        row, picture = joined.row, joined.row.picture
        found: Told = {"retouch_row": row.at[0], "retouch_group": row.group, **told(joined)}
        if picture is not None:
            found |= {
                "retouch_column": picture.column,
                "retouch_role": picture.role,
                "retouch_position": picture.position,
                "retouch_image": picture.image,
            }
        if self._json:
            self._lines.line(json_line({name: found.get(name) for name in COLUMNS}))
        else:
            self._lines.row(guarded(as_cell(found.get(name))) for name in COLUMNS)
