"""The way of one job: claim it, run its steps until it is final or given back, write down each event.

Which step comes next is the job's state; a rescued job goes on from where it stood.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping

import structlog

from jobs.batch import BatchState
from jobs.errors import LedgerError, Superseded
from jobs.events import Accepted, AttemptFailed, Begun, Cancelled, Doubted, Event, Failed, GivenBack, LateReceipt
from jobs.job import Job, Receipt, State
from jobs.outcome import late_line
from jobs.queues import EDIT, FEED
from jobs.retry import after_failure, doubt_wait
from jobs.states import apply
from workers.desk import Desk, insistently
from workers.poll import poll
from workers.store import store
from workers.submit import post, prepare

log = structlog.get_logger(__name__)

Step = Callable[[Job, Desk], Event]

STEPS: Mapping[State, Step] = {
    State.QUEUED: prepare,
    State.SUBMITTING: post,
    State.RUNNING: poll,
    State.READY: store,
}

HOUSE_THREADS = 4
"""Threads that edits leave to housekeeping, half of them also to edits that have a receipt."""

WRITE_DOWN_S = 600.0
"""What happened is written down for so long, if Redis is away."""


def edit(job_id: str, desk: Desk) -> None:
    """Take a job as far as it goes now. Nothing happens if it is not there to be worked on."""
    if desk.stopping.is_set():
        return
    claim = desk.ledger.claim(job_id, desk.owner)
    if claim.job is None:
        return
    with desk.keeper.holding(claim.job):
        try:
            _run(claim.job, claim.batch_state, desk)
        except Superseded as error:
            log.info("job moved elsewhere", job=job_id, why=str(error))
        except LedgerError as error:  # its lease lapses, and whoever finds Redis again goes on
            log.warning("job left where it stands", job=job_id, why=str(error))
        finally:
            desk.prepared.pop(job_id, None)


def _run(job: Job, batch_state: BatchState, desk: Desk) -> None:
    if job.state is State.QUEUED and batch_state is BatchState.CANCELLED:
        job = _write_down(job, Cancelled(), desk)
    elif _crowded(job, desk):
        job = _write_down(job, GivenBack(wait=random.uniform(0.5, 1.5), why="this process is full"), desk)
    while not job.final and job.owner:
        job = _write_down(job, _step(job, desk), desk)


def _crowded(job: Job, desk: Desk) -> bool:
    """Whether this edit would take a thread that housekeeping, or a paid edit, needs."""
    spare = HOUSE_THREADS // 2 if job.receipt else HOUSE_THREADS
    return desk.keeper.held() > max(desk.threads - spare, 1)


def _step(job: Job, desk: Desk) -> Event:
    step = STEPS.get(job.state)
    if step is None:
        return GivenBack(wait=60.0, why=f"nothing to do in {job.state}")
    try:
        return step(job, desk)
    except (Superseded, LedgerError):
        raise
    except Exception as error:  # one row's bug must not end the thread, nor lose the row
        log.exception("step failed", **job.log_context())
        return _after_bug(job, desk, f"{type(error).__name__}")


def _after_bug(job: Job, desk: Desk, detail: str) -> Event:
    """What a step that raised makes of its job. From `submitting` on, what may have been paid is never dropped."""
    match job.state:
        case State.SUBMITTING:
            wait = doubt_wait(desk.model(job.order.request.model).latency.p999_s, desk.doubt_wait_s)
            return Doubted(detail=f"internal error: {detail}", wait=wait)
        case State.QUEUED:
            return after_failure(job, "internal_error", detail)
        case _:
            return GivenBack(wait=30.0, why=detail)


def _write_down(job: Job, event: Event, desk: Desk) -> Job:
    """Carry out an event, and return the job as it stands afterwards."""
    if isinstance(event, Begun):
        entered = desk.gate.enter(job, event)
        if isinstance(entered, Job):
            return entered
        event = entered
    after = apply(job, event, desk.now())
    try:
        recorded = insistently(lambda: desk.ledger.record(job, after), desk, errors=LedgerError, give_up_s=WRITE_DOWN_S)
    except Superseded:
        if isinstance(event, Accepted):
            deliver_receipt(job, event.receipt, desk)
        raise
    if isinstance(event, GivenBack | AttemptFailed | Doubted | Failed):
        log.info(
            type(event).__name__, **after.log_context(), why=getattr(event, "why", "") or getattr(event, "code", "")
        )
    if recorded.feed_wanted:
        desk.send(FEED, after.order.batch, after.order.limit_group)
    return after


def deliver_receipt(job: Job, receipt: Receipt, desk: Desk) -> None:
    """Record a receipt that came after somebody else had moved the job: knowledge is never refused."""
    for _ in range(10):
        current = desk.ledger.load(job.id)
        if current is None:
            desk.ledger.late_receipt(job.order.batch, late_line(job, receipt), receipt.cost or 0)
            log.warning("receipt of an ended job", job=job.id, task_id=receipt.task_id)
            return
        if current.receipt is not None and current.receipt.task_id == receipt.task_id:
            return
        useful = current.state is State.IN_DOUBT or (current.state is State.QUEUED and not current.owner)
        event = Accepted(receipt=receipt) if useful else LateReceipt(receipt=receipt)
        if current.state is State.SUBMITTING:
            desk.sleep(0.5)  # another submission of this job is under way; what it becomes decides
            continue
        try:
            desk.ledger.record(current, apply(current, event, desk.now()))
        except Superseded:
            continue
        if useful:
            desk.send(EDIT, job.id, paid=True)
        log.warning("late receipt", job=job.id, task_id=receipt.task_id, used=useful)
        return
    log.error("receipt not recorded", job=job.id, task_id=receipt.task_id)
