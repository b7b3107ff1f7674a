"""Writes the user's rows back: `results.csv` with what became of each, `failed.csv` to run what is left.

**One line for each row of the manifest**, in its order, those without a job among them: what was added taken away,
`results.csv` is the user's table. Where a source profile makes several jobs of a row, added cells are lists in the
order of its pictures, parted by bars; a bar or a backslash that is meant has a backslash before it. A line for each
job is in `jobs.csv` (`jobs.report.single`).

**Formulas.** A cell that begins with `=` can be run by a spreadsheet. The user's own cells still travel unchanged,
cell for cell: they are the user's data, they were in the user's file before, and a results file whose cells differ
cannot be joined to anything. Only the cells that Retouch adds to `results.csv` are guarded by an apostrophe, and of
these only the key can begin so: codes, hashes and figures cannot. `failed.csv` is not guarded at all, since
one added apostrophe in a prompt would be another purchase. The exact form for machines is `outcomes.jsonl`.

**failed.csv is complete on its own**: every value that a flag or a template had given stands in its row, so it files
under the same keys and fingerprints, run from any folder without a flag.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote

from jobs.batch import Table
from jobs.job import MADE_IT
from jobs.report.joining import Joined
from jobs.report.lines import TableFile, guarded, json_line
from jobs.request import Param
from jobs.row import Cells, IdleRow, Row

STATUS, REASON, COST = "retouch_status", "retouch_reason", "retouch_cost_usd"
ADDED = (
    STATUS,
    REASON,
    "retouch_key",
    "retouch_sha256",
    "retouch_width",
    "retouch_height",
    COST,
)
"""The columns that results have beside the user's own."""
JOB_ID = "retouch_id"
"""The first of them where a source profile made the jobs, and so their ids."""
LEFT_OUT = "left_out"
"""The status of a row that was left out; its reason is the code in `errors.csv`."""

Told = dict[str, str | int | float | None]

_ALIASES = {"input_image": "image"} | {f"input_image_{n + 1}": f"ref_{n}" for n in range(1, 8)}
_PLANNED = frozenset({"id", "image", "prompt", "model", "output", "pass_urls", *_ALIASES.values()})
"""Columns whose value in `failed.csv` is always the planned one, whatever the user's cell says."""


def results_name(table: Table) -> str:
    """Return the name of the results file: it has the manifest's form."""
    return f"results.{'jsonl' if table.form == 'jsonl' else 'csv'}"


def failed_name(table: Table) -> str:
    """Return the name of the file of rows that did not make it."""
    return f"failed.{'jsonl' if table.form == 'jsonl' else 'csv'}"


class Results:
    """`results.csv` or `results.jsonl`, written row by row, as a context manager.

    A column of the user's that has the name of an added one is replaced in its place: results can be run again.

    Args:
        folder: where the file is written.
        table: how the manifest was written.
        idle: the manifest's rows that are no jobs, ascending; read as far as the jobs have come.
    """

    def __init__(self, folder: Path, table: Table, idle: Iterable[IdleRow] = ()) -> None:
        self._lines = TableFile(folder / results_name(table), table)
        self._json = table.form == "jsonl"
        self._several = table.several
        self._columns = table.columns
        self._added = (JOB_ID, *ADDED) if table.several else ADDED
        self._places = {name: _place(table.columns, name) for name in self._added}
        self._idle = iter(idle)
        self._next = next(self._idle, None)
        self._row: tuple[int, Cells] | None = None
        """The row of the manifest whose jobs are being taken: its record and its cells."""
        self._told: list[Told] = []
        if not self._json:
            missing = [name for name, place in self._places.items() if place is None]
            self._lines.row([*table.columns, *missing])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._take_idle(None)
                self._write()
        finally:
            self._lines.__exit__(kind, error, trace)

    def add(self, joined: Joined) -> None:
        """Take a job, in the order of the manifest; its row is written when the next one begins."""
        self._take_idle(joined.row.at)
        self._take(joined.row.at[0], joined.row.cells, told(joined))

    def _take_idle(self, before: tuple[int, int] | None) -> None:
        while (row := self._next) is not None and (before is None or row.at < before):
            self._next = next(self._idle, None)
            left_out: Told | None = {STATUS: LEFT_OUT, REASON: row.reason} if row.reason else None
            self._take(row.record, row.cells, left_out)
            for _ in range(row.times - 1):
                self._write()

    def _take(self, record: int, cells: Cells, told: Told | None) -> None:
        if self._row is not None and self._row[0] != record:
            self._write()
            self._told = []
        self._row = record, cells
        if told is not None:
            self._told.append(told)

    def _write(self) -> None:
        if self._row is None:
            return
        _, own = self._row
        added = {name: self._one(name) for name in self._added}
        if not isinstance(own, tuple):
            self._lines.line(json_line({**own, **added}))
            return
        # What a row has too much stays at its end, so that what is added stands under its names.
        width = len(self._columns)
        cells = [*own, *[""] * (width - len(own))]
        cells, more = cells[:width], cells[width:]
        for name, value in added.items():
            text = guarded(as_cell(value))
            place = self._places[name]
            if place is None:
                cells.append(text)
            else:
                cells[place] = text
        self._lines.row([*cells, *more])

    def _one(self, name: str) -> Any:
        """Return what is added to the row under one name: a value, or a list where there may be several jobs."""
        values = [one.get(name) for one in self._told]
        if name == COST:
            return round(sum(float(value or 0) for value in values), 6) if values else None
        if not self._several:
            return values[0] if values else None
        return values if self._json else "|".join(_escaped(as_cell(value)) for value in values)


class Failed:
    """`failed.csv` or `failed.jsonl`: the rows that did not make it, held ones included, as a context manager.

    Rows are kept in a spill file until `write`, because only the last one tells which columns are needed.
    """

    def __init__(self, folder: Path, table: Table, scratch: Path) -> None:
        self.rows = 0
        self._path = folder / failed_name(table)
        self._table = table
        self._spilled = scratch / "failed.spilled"
        self._names: dict[str, None] = {}
        self._refs = 0
        self._open = ExitStack()
        self._file = self._open.enter_context(
            self._spilled.open("w", encoding="utf-8", errors="surrogatepass", newline="\n")
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def add(self, joined: Joined) -> None:
        """Take a row if it did not make it."""
        outcome = joined.outcome
        if outcome["state"] in MADE_IT:
            return
        self.rows += 1
        self._names.update(dict.fromkeys(joined.row.request.params))
        if joined.row.request.pass_urls:
            self._names["pass_urls"] = None
        self._refs = max(self._refs, len(joined.row.request.inputs) - 1)
        self._file.write(f"{outcome['state']} {outcome['reason']} {joined.row.as_line()}\n")

    def write(self) -> Path | None:
        """Write the file and return its path, or None where every row made it (an older file is removed)."""
        self._open.close()
        if not self.rows:
            self._path.unlink(missing_ok=True)
            return None
        with TableFile(self._path, self._table) as lines:
            if self._table.form == "jsonl":
                # One name for a thing in all rows: `image` in one and `input_image` in another is refused.
                spelled = {canonical(column): column for column in self._table.columns}
                for row, told in self._read():
                    lines.line(json_line(_planned_object(row, told, spelled, self._table.data_columns)))
            else:
                self._write_table(lines)
        return self._path

    def _write_table(self, lines: TableFile) -> None:
        # A column that was said to be data could be read as something else without that word.
        kept = [n for n, column in enumerate(self._table.columns) if column not in self._table.data_columns]
        columns = tuple(self._table.columns[n] for n in kept)
        refs = [f"ref_{n}" for n in range(1, self._refs + 1)]
        names = ["id", "image", *refs, "prompt", "model", "output", *self._names, STATUS, REASON]
        places = {name: _place(columns, name) for name in names}
        rewritten = [place for place, column in enumerate(columns) if canonical(column) in _PLANNED]
        lines.row([*columns, *(name for name, place in places.items() if place is None)])
        for row, told in self._read():
            values = {**planned(row), **told}
            own = _cells(row, len(self._table.columns))
            cells = [own[n] for n in kept]
            for known in rewritten:  # no old cell may stay beside the planned one under its other name
                cells[known] = ""
            for name, place in places.items():
                text = _text(values.get(name, ""))
                if place is None:
                    cells.append(text)
                elif name in values:
                    cells[place] = text
            lines.row(cells)

    def _read(self) -> Iterator[tuple[Row, dict[str, Param]]]:
        with self._spilled.open(encoding="utf-8", errors="surrogatepass", newline="\n") as file:
            for line in file:
                state, reason, row = line.split(" ", 2)
                yield Row.from_line(row), {STATUS: state, REASON: reason}


def planned(row: Row) -> dict[str, Param]:
    """Return what a manifest has to say for `row` to be planned again as it was, by column name.

    A picture on the planner's disk is named by its absolute path, a staged one by its `s3://` URI.
    """
    request = row.request
    named: dict[str, Param] = {"id": row.id, "image": _place_of(request.inputs[0])}
    named |= {f"ref_{n}": _place_of(uri) for n, uri in enumerate(request.inputs[1:], start=1)}
    named |= {"prompt": request.prompt, "model": request.model, "output": row.output}
    named |= request.params
    if request.pass_urls:
        named["pass_urls"] = True
    return named


def _planned_object(
    row: Row, told: Mapping[str, Param], spelled: Mapping[str, str], left_out: Collection[str]
) -> dict[str, Any]:
    """Return the JSON object of a failed row: the user's keys in their order, then what they did not say.

    `spelled` gives the user's name of a thing by Retouch's.
    """
    values = {**planned(row), **told}
    found: dict[str, Any] = {}
    for key, value in _object(row).items():
        name = canonical(key)
        if key in left_out:
            continue
        if name in values:
            found[key] = values.pop(name)
        elif name not in _PLANNED:
            found[key] = value
    return found | {spelled.get(name, name): value for name, value in values.items()}


def canonical(column: str) -> str:
    """Return the name by which Retouch knows a column: `input_image_2` is `ref_1`. `Seed` is data, not `seed`."""
    return _ALIASES.get(column, column)


def _place(columns: tuple[str, ...], name: str) -> int | None:
    """Return where the table has the column, or None."""
    return next((place for place, column in enumerate(columns) if canonical(column) == name), None)


def told(joined: Joined) -> Told:
    """Return what results say of a job."""
    outcome = joined.outcome
    return {
        JOB_ID: joined.row.id,
        STATUS: outcome["state"],
        REASON: outcome["reason"],
        "retouch_key": outcome["output"],
        "retouch_sha256": outcome["sha256"],
        "retouch_width": outcome["width"] or None,
        "retouch_height": outcome["height"] or None,
        COST: joined.cost_usd,
    }


def _cells(row: Row, width: int) -> list[str]:
    """Return the row's cells, as many as the header has: the planner refuses longer rows and fills shorter ones."""
    if not isinstance(row.cells, tuple):
        raise TypeError(f"row {row.number} has a JSON object where the table has cells")
    return [*row.cells, *[""] * (width - len(row.cells))][:width]


def _object(row: Row) -> dict[str, Any]:
    if not isinstance(row.cells, Mapping):
        raise TypeError(f"row {row.number} has cells where the manifest has JSON objects")
    return dict(row.cells)


def _text(value: Param) -> str:
    """Return a value as a cell that reads back as the same value: `5.0` stays a float, `true` is as in JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|") if "\\" in text or "|" in text else text


def as_cell(value: str | int | float | None) -> str:
    """Return a value of `told` as a cell: dollars to the micro-dollar and never with an exponent."""
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    return "" if value is None else str(value)


def _place_of(uri: str) -> str:
    return unquote(uri.removeprefix("file://")) if uri.startswith("file://") else uri
