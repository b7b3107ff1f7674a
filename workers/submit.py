"""Step 1: from a request to a receipt.

`prepare` does everything that costs nothing: it looks at the output key, loads the pictures, and finds what is
filed already. The gate then takes slot, money and fingerprint, and writes the intent. `post` sends. The last part
of the body leaves only after the `sent` mark is written; what happens before that mark was provably no purchase.
"""

from __future__ import annotations

import structlog

from jobs.batch import BatchState
from jobs.errors import LedgerError, Superseded, Unavailable
from jobs.events import Accepted, Begun, Doubted, Event, Failed, GivenBack, NotSubmitted, Unchanged
from jobs.job import Job
from jobs.job import Result as FinalResult
from jobs.pictures import PictureError
from jobs.request import fingerprint
from jobs.retry import after_failure, backoff, doubt_wait, throttled_wait
from workers.api import protocol
from workers.api.client import Key, NotSent
from workers.desk import Desk, Prepared
from workers.inputs import InputFailed, Loaded
from workers.results import Filed, OutputNotOurs, Standing

log = structlog.get_logger(__name__)

API_AWAY_S = 60.0
"""The longest pause between tries while the API cannot be reached."""


def prepare(job: Job, desk: Desk) -> Event:
    """Return what a queued job can do now: begin, end unchanged, fail, or wait."""
    order, batch = job.order, desk.batch(job.order.batch)
    if batch is None:
        return Failed(code="cancelled", detail="the batch is gone")
    key = desk.keys.next()
    if key is None:
        _pause_for_key(job, desk, "every key is refused")
        return GivenBack(wait=60.0, why="key")
    try:
        loaded = desk.inputs.load(order.request)
        print_ = fingerprint(batch.origin, order.request, loaded.identities)
        filed = desk.results.find(print_)
        if filed is not None and (not batch.fresh or filed.batch == order.batch):
            return _from_filed(job, desk, filed, print_, overwrite=batch.overwrite)
        standing = desk.results.check_output(order.output, print_, overwrite=batch.overwrite)
        if standing is Standing.NOT_OURS:
            return Failed(code="output_not_ours", detail=f"{order.output}: use --overwrite to replace it")
        desk.prepared[job.id] = _encode(job, desk, loaded)
    except InputFailed as error:
        return after_failure(job, error.code, str(error), for_good=not error.transient)
    except PictureError as error:
        return Failed(code=error.code, detail=str(error))
    except OutputNotOurs as error:
        return Failed(code="output_not_ours", detail=str(error))
    except Unavailable as error:
        return GivenBack(wait=backoff(job.waits + 1, cap=API_AWAY_S), why=str(error))
    return Begun(fingerprint=print_, key_id=key.id, flags=desk.prepared[job.id].flags)


def post(job: Job, desk: Desk) -> Event:
    """Send the submission of a job that has passed the gate, and return what became of it."""
    prepared = desk.prepared.pop(job.id)
    key = desk.keys.of(job.key_id)
    if key is None:
        return NotSubmitted(wait=0.0, why="the key is gone")
    if desk.stopping.is_set():
        return NotSubmitted(wait=0.0, why="shutting down")
    try:
        answer = desk.api.submit(prepared.path, prepared.body, key, lambda: _mark(job, desk))
    except NotSent as error:
        return NotSubmitted(wait=backoff(job.waits + 1, cap=API_AWAY_S), why=str(error))
    except (Superseded, LedgerError) as error:  # the mark was not written, so nothing left
        return NotSubmitted(wait=backoff(job.waits + 1, cap=API_AWAY_S), why=str(error))
    return _event(job, desk, answer, key)


def _mark(job: Job, desk: Desk) -> None:
    desk.ledger.mark_sent(job)


def _event(job: Job, desk: Desk, answer: protocol.SubmitAnswer, key: Key) -> Event:
    model = desk.model(job.order.request.model)
    match answer:
        case protocol.Accepted(receipt=receipt):
            return Accepted(receipt=receipt)
        case protocol.Throttled(after=after):
            wait = throttled_wait(after, job.waits)
            desk.ledger.throttle(wait)
            return NotSubmitted(wait=wait, why="throttled")
        case protocol.KeyRefused(status=status, detail=detail):
            log.warning("key refused", key=key.id, status=status, detail=detail)
            if desk.keys.park(key.id):
                return NotSubmitted(wait=0.0, why="key refused")
            _pause_for_key(job, desk, f"HTTP {status}: {detail}")
            return NotSubmitted(wait=60.0, why="key refused")
        case protocol.RefusedForGood(detail=detail):
            return Failed(code="request_refused", detail=detail)
        case protocol.RefusedForNow(detail=detail):
            return after_failure(job, "api_error", detail)
        case protocol.Unknown(detail=detail):
            wait = doubt_wait(model.latency.p999_s, desk.doubt_wait_s)
            return Doubted(detail=f"the answer to the submission was lost ({detail})", wait=wait)


def _pause_for_key(job: Job, desk: Desk, detail: str) -> None:
    if desk.ledger.set_state(job.order.batch, BatchState.PAUSED, "key", only_from=[BatchState.OPEN]):
        log.warning("batch paused: the API refuses the key", batch=job.order.batch, detail=detail)


def _encode(job: Job, desk: Desk, loaded: Loaded) -> Prepared:
    request = job.order.request
    model = desk.model(request.model)
    encoded = desk.inputs.encode(loaded, model)
    return Prepared(
        path=model.path,
        body=protocol.build(model, request, encoded.sent),
        flags=("input_shrunk",) if encoded.shrunk else (),
    )


def _from_filed(job: Job, desk: Desk, filed: Filed, print_: str, *, overwrite: bool) -> Event:
    published = desk.results.publish(filed, job.order.output, job=job.id, overwrite=overwrite)
    result = FinalResult(
        key=published.key,
        sha256=filed.sha256,
        bytes=filed.bytes,
        format=filed.format,
        width=filed.width,
        height=filed.height,
        replaced_sha256=published.replaced_sha256,
    )
    return Unchanged(result=result, fingerprint=print_, how=published.how)
