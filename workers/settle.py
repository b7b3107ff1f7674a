"""Settling a doubt whose wait is over: asked again out of the allowance, or held for the operator."""

from __future__ import annotations

import structlog

from jobs.batch import BatchState
from jobs.crashpoints import crashpoint
from jobs.errors import StorageError, Superseded
from jobs.events import Accepted, Event, Failed, Held, Resubmitted
from jobs.job import State
from jobs.ledger.change import Closed
from jobs.queues import EDIT
from jobs.states import apply
from workers.desk import Desk

log = structlog.get_logger(__name__)


def settle(job_id: str, desk: Desk) -> None:
    """Decide about one doubt. Running it twice, or too early, does nothing."""
    job = desk.ledger.load(job_id)
    if job is None or job.state is not State.IN_DOUBT or job.held or job.not_before > desk.now():
        return
    crashpoint("doubt-found")
    found = desk.ledger.batch(job.order.batch)
    try:
        if (receipt := desk.intents.receipt(job)) is not None:  # this ledger went back in time
            desk.ledger.record(job, apply(job, Accepted(receipt=receipt), desk.now()))
            log.warning("receipt found in the bucket", **{**job.log_context(), "task_id": receipt.task_id})
            desk.send(EDIT, job_id, paid=True)
            return
        if found is not None and found[1].state is not BatchState.CANCELLED:
            again = desk.ledger.resubmit(job, apply(job, Resubmitted(), desk.now()))
            if again.closed is None:
                crashpoint("doubt-resubmitted")
                log.info("doubt resubmitted", **job.log_context())
                desk.send(EDIT, job_id)
                return
            if again.closed is Closed.CANCELLED:  # it was, since we looked
                event: Event = Failed(code="in_doubt", detail=job.detail)
            else:
                event = Held()
        else:
            event = Failed(code="in_doubt", detail=job.detail)
        desk.ledger.record(job, apply(job, event, desk.now()))
        crashpoint("doubt-held")
        log.warning("doubt not resubmitted", became=type(event).__name__, **job.log_context())
    except Superseded:  # its answer came
        return
    except StorageError as error:  # the tick asks again
        log.warning("doubt left alone", job=job_id, why=str(error))
