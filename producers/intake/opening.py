"""Plans a manifest into the bucket and opens it later: at once, or when a person says yes.

A plan that is whole is `batch.json` and, beside it, the mark `planned.json`; opening removes the mark last. So who
comes after a crash knows where it happened, and a batch that was opened once is never opened again from its plan,
not even when Redis has lost it: its edits may be bought.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.batch import Batch
from jobs.errors import NotFound
from jobs.row import IdleRow, Row
from jobs.shares import Priority
from producers.intake.desk import Desk, Lost
from producers.known import KnownRows
from producers.manifest.options import PlanOptions
from producers.manifest.output import batch_name
from producers.plan import Plan, make_plan
from producers.price import Item
from producers.submit import PLANNED_MARK, PlanWriter, agreed, begin, settling

ERRORS = "errors.csv"
FAILED_OFTEN = "failed_often"
"""Why a row of a schedule was left out that nothing is wrong with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be planned: a file of this machine, and everything that is said about it.

    `source` is where it came from, as `batch.json` shows it.
    """

    batch: str
    path: Path
    source: str
    options: PlanOptions
    overwrite: bool = False
    fresh: bool = False
    priority: Priority = Priority.NORMAL
    by: float = 0.0

    @property
    def name(self) -> str:
        """The batch's name."""
        return batch_name(self.path, self.options.name)


def stands(desk: Desk, batch: str) -> Batch | None:
    """Return a batch whose plan is whole in the bucket, whether it was opened or not."""
    try:
        return Batch.from_json(desk.bucket.get(desk.layout.batch(batch, "batch.json")).decode())
    except NotFound:
        return None


def waits(desk: Desk, batch: str) -> bool:
    """Whether a planned batch has not been opened yet."""
    return desk.bucket.head(desk.layout.batch(batch, PLANNED_MARK)) is not None


def write_plan(
    asked: Asked,
    desk: Desk,
    known: KnownRows,
    *,
    still_ours: Callable[[], None],
    refuse: Callable[[Plan], str],
    wanted: Callable[[Row], bool] = lambda _: True,
    last: Callable[[Row], bool] = lambda _: False,
) -> tuple[Plan, Batch | None, str]:
    """Plan a manifest and keep the plan as a batch that waits, unless `refuse` says why not.

    Rows that are `known` to be unchanged are settled. Other valid rows that are not `wanted` are left out, and out of
    the price; of the rest, those that are to come `last` do.

    Returns:
        The plan; the batch, None if it was refused; and why, or an empty text. The rows' errors lie in the batch's
        folder as `errors.csv` either way.

    Raises:
        ManifestError: the manifest as a whole cannot be used; nothing stays.
        Lost: somebody else does this work now; what it wrote is left alone.
        StorageError: the bucket is away; nothing stays.
    """

    is_wanted = True

    def settle(row: Row) -> bool:
        nonlocal is_wanted
        is_wanted = wanted(row)  # asked once of every row: it takes note of them
        return settled(row)

    def take(row: Row) -> None:
        if is_wanted and last(row):
            writer.write_last(row)
        elif is_wanted:
            writer.write(row)
        else:
            left_out.append((row.expected, row.at_most))
            record, number = row.at
            writer.set_aside(IdleRow(record=record, cells=row.cells, number=number, reason=FAILED_OFTEN))

    left_out: list[tuple[int, int]] = []
    at = desk.ledger.now()

    with (
        tempfile.TemporaryDirectory(prefix="retouch-") as scratch,
        PlanWriter(desk.bucket, desk.layout, asked.batch) as writer,
    ):
        settled = settling(known, writer, at)
        try:
            made = make_plan(
                asked.path,
                asked.options,
                desk.catalogue,
                errors_csv=Path(scratch) / ERRORS,
                sink=take,
                aside=writer.set_aside,
                settle=settle,
                objects=desk.objects,
            )
            for gone in known.gone():
                writer.miss(gone, at)
            writer.close()
            still_ours()
        except Lost:
            writer.keep()  # the chunks under this name are somebody else's by now
            raise
        if made.errors_csv is not None:
            desk.bucket.put_file(desk.layout.batch(asked.batch, ERRORS), made.errors_csv, content_type="text/csv")
        why = refuse(made)
        if why:
            return made, None, why
        batch = agreed(
            writer,
            made,
            at=desk.ledger.now(),
            origin=desk.origin,
            simulated=desk.simulated,
            manifest=asked.source,
            overwrite=asked.overwrite,
            fresh=asked.fresh,
            priority=asked.priority,
            by=asked.by,
        )
        batch = _without(batch, left_out)
        _put(desk, batch.id, PLANNED_MARK, json.dumps({"batch": batch.id}))
        _put(desk, batch.id, "batch.json", batch.as_json())
        writer.keep()
        return made, batch, ""


def open_planned(batch: Batch, desk: Desk) -> None:
    """Open a batch whose plan waits; nothing happens to one that was opened before.

    Raises:
        LedgerError: Redis is away.
        StorageError: the bucket is away.
    """
    if not waits(desk, batch.id):
        return
    begin(batch, desk.ledger, desk.hints)
    desk.bucket.delete(desk.layout.batch(batch.id, PLANNED_MARK))


def _without(batch: Batch, left_out: Sequence[tuple[int, int]]) -> Batch:
    """Return a batch whose price is without these rows: (expected, at most) of each."""
    expected, at_most = (sum(prices) for prices in zip(*left_out, strict=True)) if left_out else (0, 0)
    less = Item(kind="left_out", title="rows left out", rows=-len(left_out), expected=-expected, at_most=-at_most)
    return replace(
        batch,
        expected=batch.expected - expected,
        at_most=batch.at_most - at_most,
        estimate=(*batch.estimate, *([less.as_json()] if left_out else [])),
        skipped=batch.skipped + len(left_out),
    )


def _put(desk: Desk, batch: str, name: str, text: str) -> None:
    data = text.encode("utf-8", "backslashreplace")
    desk.bucket.put(desk.layout.batch(batch, name), data, content_type="application/json")
