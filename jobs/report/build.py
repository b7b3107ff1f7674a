"""Writes every file of a batch's report into a folder, in one pass over its rows.

It knows neither the bucket nor Redis: rows and outcomes come as streams, thumbnails from a callable. `summary.json`
is written last and comes last in `Report.files`, because a batch counts as done once that file exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jobs.batch import Batch, BatchState
from jobs.report.html import write_page
from jobs.report.joining import ROWS_PER_RANGE, Joined, cancelled, joined
from jobs.report.lines import encodable, json_line
from jobs.report.sheet import CARDS, ContactSheet, Pictures
from jobs.report.single import Jobs, jobs_name
from jobs.report.summary import Summary, summary
from jobs.report.tables import Failed, Results, failed_name, results_name
from jobs.row import IdleRow, Row

OUTCOMES, PAGE, SUMMARY = "outcomes.jsonl", "report.html", "summary.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was written: file names in the order in which to upload them, and `summary.json`'s dict."""

    files: tuple[str, ...]
    summary: dict[str, Any]


def build_report(
    batch: Batch,
    document: Mapping[str, Any],
    rows: Iterable[Row],
    outcomes: Iterable[Mapping[str, Any]],
    folder: Path,
    *,
    idle: Iterable[IdleRow] = (),
    pictures: Pictures,
    at: float,
    each: Callable[[Joined], object] = lambda _: None,
    cards: int = CARDS,
    rows_per_range: int = ROWS_PER_RANGE,
) -> Report:
    """Write the report of `batch` into `folder`.

    Args:
        batch: what was agreed; its table says how the manifest was written.
        document: the batch document (`jobs.batch.document`). Where its state is `cancelled`, a row without an
            outcome is one that was never fed, and ends cancelled.
        rows: every row of the batch, ascending (`joining.in_order`).
        outcomes: every outcome line of every round, in any order, with doubles.
        folder: an existing folder; files of an earlier report in it are replaced.
        idle: the manifest's rows that are no jobs, ascending.
        pictures: thumbnails of a row before and after; called for at most `cards` rows, after everything else is
            written. What it raises as RetouchError, OSError or ValueError counts as no picture.
        at: the time (epoch seconds) at which rows that were never fed were cancelled.
        each: gets every row with its outcome, in order.
        cards: how many rows the page shows.
        rows_per_range: how many rows' outcomes are in memory at once.

    Raises:
        OutcomeMissing: a row has no outcome, and the batch was not cancelled.
    """
    was_cancelled = document["state"] == BatchState.CANCELLED
    totals, sheet, table = Summary(), ContactSheet(cards), batch.table
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(dir=folder, prefix=".scratch-")))
        lines = stack.enter_context((folder / OUTCOMES).open("w", encoding="utf-8", newline="\n"))
        results = stack.enter_context(Results(folder, table, idle))
        jobs = stack.enter_context(Jobs(folder, table))
        failed = stack.enter_context(Failed(folder, table, scratch))
        for one in joined(
            rows,
            outcomes,
            scratch,
            missing=lambda row: cancelled(batch, row, at) if was_cancelled else None,
            rows_per_range=rows_per_range,
        ):
            lines.write(json_line(one.outcome) + "\n")
            results.add(one)
            jobs.add(one)
            failed.add(one)
            totals.add(one.outcome, earlier_usd=one.earlier_usd)
            sheet.offer(one)
            each(one)
        failing = failed.write()
    tables = [results_name(table)]
    tables += [jobs_name(table)] if table.several else []
    tables += [failed_name(table)] if failing else []
    files = (OUTCOMES, *tables, PAGE, SUMMARY)
    told = summary(document, totals, files=files)
    write_page(folder / PAGE, told, sheet.sections(pictures), cards=len(sheet.chosen))
    (folder / SUMMARY).write_text(encodable(told, indent=2) + "\n", encoding="utf-8")
    return Report(files=files, summary=told)
