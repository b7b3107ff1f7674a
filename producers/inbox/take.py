"""Takes one uploaded manifest: plans it, opens it or lets it wait, answers with a receipt, and moves it away.

The order is what makes it safe to be cut off anywhere and to be repeated: plan, open, receipt, move. The batch's id
follows from key and ETag, the receipt is a conditional PUT, and the move is done again by whoever finds a receipt. A
file is removed on the condition that it still is the one that was taken: nothing that is dropped meanwhile is lost.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from jobs.batch import Batch
from jobs.bucket.conditions import keeps_conditional_deletes
from jobs.errors import NotFound, PreconditionFailed
from jobs.models import MICROS_PER_USD
from jobs.outcome import usd
from producers.inbox.place import Upload, inbox_of
from producers.intake.desk import Desk, alone
from producers.intake.opening import ERRORS, Asked, open_planned, stands, write_plan
from producers.intake.options import of_settings
from producers.manifest.problems import ManifestError
from producers.plan import Plan
from producers.submit import batch_id

Receipt = dict[str, Any]

log = structlog.get_logger(__name__)

_LONGEST_NAME = 100
"""Characters of a file's name that are kept: file systems have limits that buckets do not have."""


def take(key: str, etag: str, desk: Desk) -> Receipt | None:
    """Take an upload, once; None if somebody else is at it or it is not there any more.

    Raises:
        LedgerError, StorageError: they are away; ask again later.
        Lost: somebody else has taken over.
    """
    upload = Upload(key=key, etag=etag, inbox=inbox_of(desk.layout))
    with alone(desk, f"upload:{upload.token}") as still_ours, tempfile.TemporaryDirectory(prefix="retouch-") as scratch:
        if still_ours is None:
            return None
        receipt = read_receipt(upload, desk)
        if receipt is None and not _is_there(upload, desk):
            return None
        if receipt is not None and desk.bucket.head(_moved_to(upload, receipt)) is not None:
            _remove(upload, desk)
            return receipt
        path = Path(scratch) / upload.file_name[-_LONGEST_NAME:]
        try:
            desk.bucket.download(upload.key, path, if_match=upload.etag)
        except (NotFound, PreconditionFailed):  # moved by whoever had the lock before, or replaced: another upload
            return receipt
        if not _is_there(upload, desk):  # a store may not know conditions
            return receipt
        if receipt is None:
            receipt = _answered(upload, path, desk, still_ours)
            with suppress(PreconditionFailed):
                data = json.dumps(receipt, ensure_ascii=False, indent=2).encode("utf-8", "backslashreplace")
                desk.bucket.put(upload.receipt, data, content_type="application/json", if_absent=True)
        desk.bucket.put_file(_moved_to(upload, receipt), path)
        _remove(upload, desk)
        return receipt


def read_receipt(upload: Upload, desk: Desk) -> Receipt | None:
    """Return the receipt of an upload that was answered."""
    try:
        found: Receipt = json.loads(desk.bucket.get(upload.receipt))
    except NotFound:
        return None
    return found


def _moved_to(upload: Upload, receipt: Receipt) -> str:
    return upload.answered(accepted=receipt["state"] != "refused")


def _remove(upload: Upload, desk: Desk) -> None:
    """Remove the file that was taken, and no other that has come in its place.

    Where the store does not keep such a condition the file stays: better twice than not at all.
    """
    if not keeps_conditional_deletes(desk.bucket, upload.probe):
        log.warning("the store has no conditional DELETE, so the file stays in the inbox", file=upload.key)
        return
    with suppress(NotFound, PreconditionFailed):
        desk.bucket.delete(upload.key, if_match=upload.etag)


def _is_there(upload: Upload, desk: Desk) -> bool:
    head = desk.bucket.head(upload.key)
    return head is not None and head.etag == upload.etag


def _answered(upload: Upload, path: Path, desk: Desk, still_ours: Callable[[], None]) -> Receipt:
    """Plan it, open it if it is cheap enough, and return its receipt."""
    blank: Receipt = {"file": upload.key, "etag": upload.etag, "state": "refused", "batch": ""}
    id_ = batch_id(upload.name, _first_seen(upload, desk), upload.token)
    batch = stands(desk, id_)
    if batch is None:
        options = of_settings(desk.settings, relative_to=f"s3://{desk.bucket.name}/{upload.folder}")
        asked = Asked(
            batch=id_,
            path=path,
            source=f"s3://{desk.bucket.name}/{upload.key}",
            options=replace(options, name=upload.name),
        )
        try:
            with desk.known(asked.name) as known:
                made, batch, _ = write_plan(asked, desk, known, still_ours=still_ours, refuse=_refuse)
        except ManifestError as error:
            return {**blank, "error": {"message": error.message, "line": error.line, "remedy": error.remedy}}
        if batch is None:
            return {**blank, **_problems(made, desk.layout.batch(id_, ERRORS))}
    most = desk.settings.inbox.run_below_usd
    runs = usd(batch.expected) < most
    if runs:  # nobody was asked, so it spends no more than what may run without asking
        batch = replace(batch, ceiling=min(batch.ceiling, round(most * MICROS_PER_USD)))
        open_planned(batch, desk)
    return {**blank, **_accepted(batch, runs=runs)}


def _accepted(batch: Batch, *, runs: bool) -> Receipt:
    found = {
        "state": "open" if runs else "planned",
        "batch": batch.id,
        "rows": batch.rows,
        "unchanged": batch.unchanged,
        "expected_usd": usd(batch.expected),
        "at_most_usd": usd(batch.at_most),
        "ceiling_usd": usd(batch.ceiling),
    }
    return found if runs else {**found, "remedy": f"It waits for a yes: `retouch resume {batch.id}` starts it."}


def _problems(made: Plan, errors: str) -> Receipt:
    return {
        "rows": made.rows,
        "invalid": made.invalid,
        "problems": [
            {"line": p.line, "column": p.column, "code": p.code, "message": p.message, "remedy": p.remedy}
            for p in made.problems
        ],
        "problem_count": made.problem_count,
        "errors": errors,
        "remedy": "Correct these rows and upload the file again.",
    }


def _refuse(made: Plan) -> str:
    return f"{made.invalid} rows cannot be used" if made.invalid or not made.rows else ""


def _first_seen(upload: Upload, desk: Desk) -> datetime:
    """Return the time in the batch's id, which has to be the same for whoever takes the file again."""
    try:
        found = desk.bucket.get(upload.taken)
    except NotFound:
        with suppress(PreconditionFailed):
            data = json.dumps({"file": upload.key, "at": int(desk.ledger.now())}).encode()
            desk.bucket.put(upload.taken, data, content_type="application/json", if_absent=True)
        found = desk.bucket.get(upload.taken)
    return datetime.fromtimestamp(json.loads(found)["at"], UTC)
