"""`retouch explain`: why one row of a batch ran, or did not."""

from __future__ import annotations

import json as json_
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.batch import Batch, BatchState, Progress
from jobs.bucket.rows import first_round, idle_rows_of, rows_of
from jobs.errors import NotFound
from jobs.outcome import BESIDE, outcome
from jobs.reasons import REASONS
from jobs.report.wording import counted, dollars, shown
from jobs.row import IdleRow, Row
from producers.cli import options as o
from producers.cli.house import House, looking_house
from producers.cli.voice import OK, Stop, Voice
from producers.intake.opening import FAILED_OFTEN
from producers.manifest.problems import PROBLEM_CODES

RowId = Annotated[str, typer.Argument(help="The row's id, as the manifest has it.", metavar="ID")]
Document = dict[str, Any]


def explain(batch: o.BatchName, id_: RowId, json: o.Json = False, quiet: o.Quiet = False) -> int:
    """Say why the row ID of BATCH ran, or why it did not."""
    voice = Voice(json=json, quiet=quiet)
    with looking_house(voice) as house:
        agreed = house.view.agreed(batch)
        first = first_round(agreed, house.bucket, house.layout)
        row = next((row for row in rows_of(first, house.bucket, house.layout) if row.id == id_), None)
        if row is None:
            return _left_out(first, id_, house, voice)
        known = _outcome(agreed, row, house)
        progress = house.view.progress(batch)
    why = in_words(known) if known else before_it_ran(agreed, row, progress)
    voice.tell(f"{id_} (row {row.number:,}, {row.request.model}): {why}")
    voice.document({"batch": batch, "id": id_, "row": row.number, "why": why, "outcome": known})
    return OK


def _left_out(first: Batch, id_: str, house: House, voice: Voice) -> int:
    """Say why a row of the manifest is not in the plan.

    Raises:
        Stop: the manifest has no such row.
    """
    idle = idle_rows_of(first, house.bucket, house.layout)
    found = next((row for row in idle if row.reason and _id_of(row, first) == id_), None)
    if found is None:
        left_out = f" {counted(first.skipped, 'row')} of the manifest were left out." * bool(first.skipped)
        raise Stop(
            "unknown_row",
            f"The plan of {first.id} has no row {shown(id_)}.{left_out}",
            "Ids are as in the manifest, in the same case. `errors.csv` lists invalid rows, those without an id too.",
        )
    why = f"It did not run: {why_left_out(found.reason)} ({found.reason})"
    voice.tell(f"{id_} (row {found.number:,}): {why}")
    voice.document({"batch": first.id, "id": id_, "row": found.number, "why": why, "outcome": None})
    return OK


def why_left_out(code: str) -> str:
    """Return why a row was left out, as a sentence."""
    if code == FAILED_OFTEN:
        return "it failed in four runs of its schedule, and nothing about it has changed since."
    said = PROBLEM_CODES.get(code) or (REASONS[code].sentence if code in REASONS else "It cannot be used.")
    return f"it is invalid. {said} `errors.csv` says more"


def _id_of(row: IdleRow, first: Batch) -> str:
    if isinstance(row.cells, Mapping):
        return str(row.cells.get("id", ""))
    named = dict(zip(first.table.columns, row.cells, strict=False))
    return named.get("id", "").strip()


def in_words(known: Document) -> str:
    """Return what an outcome means, as sentences."""
    cost = f" It cost {dollars(known['cost_usd'])}." if known["cost_usd"] else ""
    match known["state"]:
        case "stored":
            flags = f" It is flagged: {', '.join(known['flags'])}." if known["flags"] else ""
            return f"It ran, and its result is {known['output']}.{cost}{flags}"
        case "unchanged":
            same = "the same edit (picture, prompt, model and fields) is filed already, so nothing was bought"
            return f"It did not run: {same}. Its result is {known['output']}."
        case "failed" | "moderated":
            return f"It {known['state']}: {_reason(known)}{cost}"
        case "cancelled":
            return f"It did not run: the batch was cancelled first.{cost}"
    if known["state"] == "doubt":
        return f"Nobody knows whether it was bought: {_reason(known)} `retouch resume` or a person decides.{cost}"
    reason = f" {_reason(known)}" if known["reason"] else ""
    return f"It is under way: {known['state']}, attempt {known['attempt']}.{reason}{cost}"


def before_it_ran(batch: Batch, row: Row, progress: Progress | None) -> str:
    """Return why a row that is in the plan has no outcome and is no job yet."""
    if progress is None:
        return f"It has not run: nobody has opened the batch. `retouch resume {batch.id}` does."
    if progress.state is BatchState.PAUSED:
        said = REASONS[progress.reason].sentence if progress.reason in REASONS else progress.reason
        goes_on = "" if progress.reason == "doubt" else f" `retouch resume {batch.id}` goes on."
        return f"It has not run: the batch is paused ({said}).{goes_on}"
    if progress.state is BatchState.CANCELLED:
        return "It did not run: the batch was cancelled first."
    staged = progress.staged.get(row.limit_group, 0)
    if staged < batch.groups.get(row.limit_group, 0) and row.local:
        return "It has not run: its local picture, or one before it, is not uploaded yet."
    return "It has not run yet: it waits behind the rows before it."


def _outcome(batch: Batch, row: Row, house: House) -> Document | None:
    job = house.ledger.load(row.order(batch.id).job)
    if job is not None:
        return outcome(job)
    found = None
    for line in _lines(batch, house):
        known = json_.loads(line)
        if known["row"] == row.number and known["state"] not in BESIDE:
            found = known  # a later round comes later
    return found


def _lines(batch: Batch, house: House) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="retouch-") as scratch:
        path = Path(scratch) / "outcomes.jsonl"
        keys = [house.layout.batch(batch.id, "outcomes.jsonl")]
        try:
            house.bucket.download(keys[0], path)
        except NotFound:
            keys = [head.key for head in house.bucket.keys(house.layout.batch(batch.id, "outcomes/"))]
        for key in keys:
            house.bucket.download(key, path)
            with path.open(encoding="utf-8", newline="\n") as file:
                yield from (line for line in file if line.strip())


def _reason(known: Document) -> str:
    code = known["reason"]
    sentence = REASONS[code].sentence if code in REASONS else code
    return f"{sentence} {known['detail']}".strip() + f" ({code})"
