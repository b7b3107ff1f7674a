"""Receipts whose job cannot be told of them as usual: Redis is away, or somebody else has moved the job meanwhile.

A receipt is paid for. Until the ledger knows it, it is in a note on this disk.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import structlog

from jobs.crashpoints import crashpoint
from jobs.errors import LedgerError, StorageError, Superseded
from jobs.events import Accepted, cost_of
from jobs.job import Job, Receipt, State
from jobs.outcome import late_line
from jobs.queues import EDIT
from jobs.states import apply
from workers.desk import Desk, insistently

log = structlog.get_logger(__name__)

WRITE_DOWN_S = 600.0
"""What happened is written down for so long, if Redis is away."""


def note(before: Job, after: Job, event: Accepted, desk: Desk) -> None:
    """Note a receipt on the disk, as well as that can be done."""
    try:
        desk.spool.notes.write(before, event.receipt)
    except OSError as error:
        log.warning("receipt not noted", **after.log_context(), why=error.strerror)


def leave_noted(before: Job, after: Job, event: Accepted, desk: Desk) -> None:
    """Leave a receipt to whoever looks for notes."""
    noted = desk.spool.notes.let_go(before, event.receipt)
    log.error("receipt not recorded", **after.log_context(), cost=event.receipt.cost, noted=noted)


def tell_late(before: Job, after: Job, event: Accepted, desk: Desk) -> None:
    """Deliver a receipt whose job somebody else has moved. Until that is done it is nowhere but in a note."""
    note(before, after, event, desk)
    crashpoint("late-receipt-noted")
    try:
        deliver_receipt(before, event.receipt, desk)
    except (LedgerError, StorageError):
        leave_noted(before, after, event, desk)
    else:
        crashpoint("late-receipt-told")
        desk.spool.notes.told(before, event.receipt)


def deliver_receipt(job: Job, receipt: Receipt, desk: Desk) -> None:
    """Record a receipt that came after somebody else had moved the job: knowledge is never refused.

    A job that waits in doubt, or was queued again, goes on with it. For any other it is a second charge, which is
    written into the bucket where the ledger has forgotten the batch.
    """
    away = (LedgerError, StorageError)
    insistently(partial(_deliver, job, receipt, desk), desk, errors=away, give_up_s=WRITE_DOWN_S)


def _deliver(job: Job, receipt: Receipt, desk: Desk) -> None:
    while (current := desk.ledger.load(job.id)) is not None and _takes_receipt(current, job):
        current = _as_submitted(current, job)
        try:
            desk.ledger.record(current, apply(current, Accepted(receipt=receipt), desk.now()))
        except Superseded:
            continue
        log.warning("late receipt used", job=job.id, task_id=receipt.task_id)
        desk.send(EDIT, job.id, paid=True)
        return
    if current is not None and current.receipt is not None and current.receipt.task_id == receipt.task_id:
        return
    line, (cost, _) = late_line(job, receipt), cost_of(job, receipt.cost)
    if not desk.ledger.late_receipt(job.order.batch, line, cost, day=job.day, key=job.key_id):
        key = desk.layout.late(job.order.batch, receipt.task_id)
        desk.bucket.put(key, f"{line}\n".encode(), content_type="application/x-ndjson")
    log.warning("second charge", job=job.id, task_id=receipt.task_id)


def _as_submitted(current: Job, job: Job) -> Job:
    """Return a job as it stands with what only its submission knew: it may have been made anew since, of its plan.

    Where money is reserved for it, it stays in the books in which it is.
    """
    known = replace(current, fingerprint=job.fingerprint, inputs=job.inputs, submitted_at=job.submitted_at)
    if current.state is not State.QUEUED:
        return known
    return replace(known, key_id=job.key_id, account=job.account, day=job.day)


def _takes_receipt(current: Job, job: Job) -> bool:
    """Whether a job as it stands goes on with the receipt of a submission that was made of it as `job`."""
    if current.state is State.SUBMITTING:  # its worker died before it could write the receipt down
        return (current.attempt, current.fence) == (job.attempt, job.fence)
    return current.state in (State.IN_DOUBT, State.QUEUED)
