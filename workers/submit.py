"""Step 1: from a request to a receipt.

`prepare` does everything that costs nothing: it looks at the output key, loads the pictures, and finds what is
filed already. A `Purchase` then sends all of the body but its last part, so that no slot is idle while a body travels.
Only then the gate takes slot, money and fingerprint, and writes the intent; the `sent` mark is written, and the last
part leaves. The API takes nothing whose last part is missing, so what happens before the mark was provably no purchase.
"""

from __future__ import annotations

import random
from dataclasses import replace

import structlog

from jobs.batch import Batch, BatchState
from jobs.crashpoints import crashpoint
from jobs.errors import BadCredentials, LedgerError, NotFound, Refused, StorageError, Superseded, Unavailable
from jobs.events import Accepted, Begun, Doubted, Event, Failed, GivenBack, NotSubmitted, Unchanged
from jobs.job import Job, State
from jobs.ledger.change import FILED_S
from jobs.pictures import Format, PictureError
from jobs.request import fingerprint
from jobs.retry import backoff
from workers.api import protocol
from workers.api.client import Heard, Key, NotSent
from workers.desk import Desk, Prepared
from workers.filed import Filed
from workers.inputs import InputFailed, Loaded
from workers.intents import Bought, MayBeBought
from workers.keys import PARKED_S
from workers.results import OutputNotOurs, Standing, output_key

log = structlog.get_logger(__name__)

STORAGE_AWAY_S = 15.0
"""The longest pause between tries while storage is away: nothing is asked of it then."""

API_AWAY_S = 15.0
"""The longest pause between tries while the API cannot be reached: half of the time in which a batch should be as fast
as before once it is back. A key that rests is asked for here, not at the API."""

LOOK_LASTS_S = FILED_S / 2
"""A body that has travelled for longer is worth another look at the bucket: on one that is twice as old the ledger lets
nothing begin."""

FETCHABLE_S = protocol.URL_LIFE_S / 2
"""An edit that was begun so long ago can still be fetched once more, with a margin."""

_FORMATS: dict[str, Format] = {"jpeg": "jpeg", "png": "png", "webp": "webp"}


def prepare(job: Job, desk: Desk) -> Event:
    """Return what a queued job can do now: begin, end unchanged, fail, or wait."""
    order, batch = job.order, desk.batch(job.order.batch)
    if batch is None:
        return Failed(code="cancelled", detail="the batch is gone")
    key = desk.keys.next(desk.gate.waiting)
    if key is None:
        return _without_key(job, desk)
    try:
        loaded = desk.inputs.load(order.request)
        print_ = fingerprint(batch.origin, order.request, loaded.identities)
        looked_at = desk.now()
        try:
            filed = _to_publish(job, desk, batch, print_, looked_at)
        except Refused as error:  # our own folder: the rights or the credentials are gone, for every row alike
            return _pause_for_storage(job, desk, str(error))
        if filed is not None:
            return _from_filed(job, desk, filed, print_, loaded, overwrite=batch.overwrite)
        output = output_key(order.output, _expected_format(job, desk))
        if desk.results.check_output(output, print_, overwrite=batch.overwrite) is Standing.NOT_OURS:
            return Failed(code="output_not_ours", detail=f"{output}: use --overwrite to replace it")
        prepared = desk.prepared[job.id, job.fence] = _encode(job, desk, loaded)
    except BadCredentials as error:
        return _pause_for_storage(job, desk, str(error))
    except InputFailed as error:
        return desk.after_failure(job, error.code, str(error), for_good=not error.transient)
    except PictureError as error:
        return Failed(code=error.code, detail=str(error))
    except OutputNotOurs as error:
        return Failed(code="output_not_ours", detail=str(error))
    except Refused as error:  # the output key's own trouble: what is Retouch's own could be read
        return Failed(code="output_refused", detail=str(error))
    except (Unavailable, NotFound) as error:
        desk.away.failed("storage", str(error))
        return GivenBack(wait=backoff(job.waits + 1, cap=STORAGE_AWAY_S), why=str(error))
    desk.away.answered("storage")
    desk.previews.before(job.id, batch, loaded.pictures[0])
    return Begun(
        fingerprint=print_,
        key_id=key.id,
        account=key.account,
        simulated=batch.simulated,
        looked_at=looked_at,
        flags=prepared.flags,
        inputs=loaded.evidence,
    )


class _Ended(Exception):
    """The submission goes no further, and nothing of it counts at the API."""

    def __init__(self, event: Event) -> None:
        super().__init__()
        self.event = event


def _silence() -> bool:
    return False


class Purchase:
    """One submission. `job` is the job as it stands: queued until the gate lets it through, then submitting."""

    def __init__(self, job: Job, begun: Begun, desk: Desk) -> None:
        self.job = job
        self._begun = begun
        self._desk = desk
        self._ahead = False
        """The body is at the API but for its last part, which waits for the gate."""
        self._declared = False

    def made(self) -> Event:
        """Submit, and return what became of it: something that can happen to `job`.

        Raises:
            LedgerError: Redis was away at the gate; whether the job is submitting is not known.
            Superseded: somebody else has moved the job.
        """
        desk, group = self._desk, self.job.order.limit_group
        prepared = desk.prepared.pop((self.job.id, self.job.fence))
        key = desk.keys.of(self._begun.key_id)
        if key is None:
            return GivenBack(wait=0.0, why="the key is gone")
        try:
            self._keep_room()
            if not desk.gate.primes(group, self._begun.account):
                self._enter(_silence)
            elif (turned_back := desk.gate.ahead(self.job, self._begun, size=len(prepared.body))) is not None:
                return turned_back
            event = self._sent(prepared, key)
        except _Ended as ended:
            event = ended.event
        if isinstance(event, NotSubmitted):
            crashpoint("refused")
            if self._declared:
                desk.intents.withdraw(self.job)
        return event

    def _keep_room(self) -> None:
        """Make sure that the result could be kept, whatever becomes of storage meanwhile."""
        desk = self._desk
        if (away := self._storage_away()) is not None:
            raise _Ended(away)
        if not desk.spool.reserve(self.job, desk.largest_result(self.job)):
            raise _Ended(GivenBack(wait=random.uniform(5.0, 10.0), why="no room to keep its result"))

    def _storage_away(self) -> GivenBack | None:
        why = self._desk.storage.trouble
        return GivenBack(wait=STORAGE_AWAY_S, why=f"storage is away: {why}") if why else None

    def _sent(self, prepared: Prepared, key: Key) -> Event:
        desk = self._desk
        try:
            answer = desk.api.submit(
                prepared.path, prepared.body, key, self._mark, gate=self._pass, wanted=self._is_wanted
            )
        except NotSent as error:
            if self._ahead and not error.by_us:
                desk.gate.unborne()
            elif not error.by_us:
                desk.away.failed("api", str(error))
                desk.keys.failed(key.id)
            return self._back(str(error))
        if self.job.state is State.QUEUED:
            return self._early(answer, key)
        return _event(self.job, desk, answer, key)

    def _is_wanted(self) -> bool:
        return not self._desk.stopping.is_set()

    def _pass(self, heard: Heard) -> None:
        """Pass the gate with a body that has been sent ahead, unless that was done before."""
        if self.job.state is State.QUEUED:
            self._ahead = True
            self._enter(heard)

    def _enter(self, heard: Heard) -> None:
        """Take slot, money and fingerprint, and write the intent. Where the API has spoken it is heard instead."""
        desk = self._desk

        def ended() -> GivenBack | None:
            if heard():
                return GivenBack(wait=0.0, why="the API has spoken")
            if not desk.keys.usable(self._begun.key_id):
                return GivenBack(wait=0.0, why="the key is parked")
            return self._storage_away()

        self._look_again()
        entered = desk.gate.enter(self.job, self._begun, primed=self._ahead, unless=ended)
        if not isinstance(entered, Job):
            if heard():
                return
            raise _Ended(entered)
        self.job = entered
        crashpoint("begun")
        desk.turns.moved(entered)
        self._declare()

    def _look_again(self) -> None:
        """Look for a filed result once more where the body has travelled for so long that one may lie there."""
        desk, at = self._desk, self._desk.now()
        if at - self._begun.looked_at < LOOK_LASTS_S:
            return
        batch = desk.batch(self.job.order.batch)
        try:
            filed = batch and _to_publish(self.job, desk, batch, self._begun.fingerprint, at)
        except StorageError as error:
            raise _Ended(self._back(str(error))) from None
        if filed is not None:
            raise _Ended(GivenBack(wait=0.0, why="just filed"))
        self._begun = replace(self._begun, looked_at=at)

    def _declare(self) -> None:
        desk = self._desk
        try:
            desk.intents.declare(self.job, desk.epoch.id)
        except Bought as error:
            raise _Ended(Accepted(receipt=error.receipt)) from None
        except MayBeBought as error:
            wait = desk.doubt_wait(self.job.order.request.model)
            raise _Ended(Doubted(detail=str(error), wait=wait, begun_at=error.at)) from None
        except StorageError as error:
            raise _Ended(self._back(str(error))) from None
        self._declared = True
        crashpoint("intent-in-bucket")

    def _mark(self) -> None:
        """Write the mark. A shutdown that has begun lets nothing leave any more."""
        desk = self._desk
        if desk.stopping.is_set():
            raise _Ended(NotSubmitted(wait=0.0, why="shutting down"))
        try:
            desk.ledger.mark_sent(self.job)
        except (Superseded, LedgerError) as error:  # the mark was not written, so nothing leaves
            raise _Ended(self._back(str(error))) from None

    def _back(self, why: str, wait: float | None = None) -> Event:
        """Return the job to the queue, unspent: nothing was submitted."""
        kind = GivenBack if self.job.state is State.QUEUED else NotSubmitted
        wait = backoff(self.job.waits + 1, cap=API_AWAY_S) if wait is None else wait
        return kind(wait=wait, why=why)

    def _early(self, answer: protocol.SubmitAnswer, key: Key) -> Event:
        """Return what an answer makes of a job whose body was not whole, and which holds no slot."""
        desk = self._desk
        desk.gate.unborne()
        if isinstance(answer, protocol.Throttled) and not answer.rate:
            # For all that is known the places were full of what is ours: that says nothing of how many there are.
            return self._back("throttled before its slot was there", answer.after)
        event = _event(self.job, desk, answer, key)
        if isinstance(event, Accepted):
            begun = replace(self._begun, day=desk.days.book(desk.now(), simulated=self._begun.simulated))
            self.job = replace(self.job, **begun.change(self.job, desk.now()))
        if isinstance(event, NotSubmitted):
            return GivenBack(wait=event.wait, why=event.why)
        return event


def _event(job: Job, desk: Desk, answer: protocol.SubmitAnswer, key: Key) -> Event:
    if isinstance(answer, protocol.RefusedForNow | protocol.Unknown):
        desk.away.failed("api", answer.detail)
        desk.keys.failed(key.id)
    else:
        desk.away.answered("api")
        desk.keys.answered(key.id)
    match answer:
        case protocol.Accepted(receipt=receipt):
            return Accepted(receipt=receipt)
        case protocol.Throttled(after=after, rate=rate):
            return NotSubmitted(wait=desk.limits.refused(job, after, rate=rate), why="throttled")
        case protocol.KeyRefused(status=status, detail=detail):
            return _key_refused(job, desk, key, f"HTTP {status}: {detail}", status)
        case protocol.RefusedForGood(detail=detail):
            return Failed(code="request_refused", detail=detail)
        case protocol.RefusedForNow(detail=detail):
            return NotSubmitted(wait=backoff(job.waits + 1, cap=API_AWAY_S), why=detail)
        case protocol.Unknown(detail=detail):
            wait = desk.doubt_wait(job.order.request.model)
            return Doubted(detail=f"the answer to the submission was lost ({detail})", wait=wait)


def _without_key(job: Job, desk: Desk) -> Event:
    if desk.keys.works:
        return GivenBack(wait=backoff(job.waits + 1, cap=API_AWAY_S), why="every key rests")
    _pause_for_key(job, desk, "every key is parked")
    return GivenBack(wait=PARKED_S, why="every key is parked")


def _key_refused(job: Job, desk: Desk, key: Key, detail: str, status: int) -> Event:
    """Park the key for everybody. A 402 has been seen with credits left: then it says nothing about the key."""
    if status == 402:
        known = desk.api.credits(key)
        if isinstance(known, protocol.KeyWorks) and known.micros is not None and known.micros >= job.order.reserve:
            log.warning("402 although there are credits", key=key.id)
            return NotSubmitted(wait=backoff(job.waits + 1, cap=API_AWAY_S), why="402 although there are credits")
    another = desk.keys.park(key.id, detail)
    log.warning("key parked", key=key.id, why=detail)
    try:
        desk.ledger.park_key(key.id, detail)
    except LedgerError as error:  # the others find out by themselves; this answer must still be written down
        log.warning("parked key not told", why=str(error))
    if another:
        return NotSubmitted(wait=0.0, why="key refused")
    _pause_for_key(job, desk, detail)
    return NotSubmitted(wait=PARKED_S, why="key refused")


def _pause_for_key(job: Job, desk: Desk, detail: str) -> None:
    log.warning("the API refuses the key", batch=job.order.batch, detail=detail)
    _pause(job, desk, "key")


def _pause_for_storage(job: Job, desk: Desk, detail: str) -> Event:
    log.warning("the bucket refuses Retouch's own files", batch=job.order.batch, detail=detail)
    _pause(job, desk, "storage")
    return GivenBack(wait=60.0, why="storage")


def _pause(job: Job, desk: Desk, reason: str) -> None:
    try:
        if desk.ledger.set_state(job.order.batch, BatchState.PAUSED, reason, only_from=[BatchState.OPEN]):
            log.warning("batch paused", batch=job.order.batch, reason=reason)
    except LedgerError as error:  # the next job tries again; what this one has learnt must still be written down
        log.warning("batch not paused", batch=job.order.batch, reason=reason, why=str(error))


def _expected_format(job: Job, desk: Desk) -> Format:
    """Return the format that the API will most likely deliver: the one asked for, else the model's own."""
    request = job.order.request
    said = str(request.params.get("output_format") or desk.model(request.model).output_format)
    return _FORMATS.get(said, "jpeg")


def _encode(job: Job, desk: Desk, loaded: Loaded) -> Prepared:
    request = job.order.request
    model = desk.model(request.model)
    encoded = desk.inputs.encode(loaded, model)
    return Prepared(
        path=model.path,
        body=protocol.build(model, request, encoded.sent),
        flags=("input_shrunk",) if encoded.shrunk else (),
    )


def _to_publish(job: Job, desk: Desk, batch: Batch, print_: str, at: float) -> Filed | None:
    """Return the result that was filed before, if this row is to have it and owes nothing for it."""
    filed = desk.results.find(print_)
    if filed is None or (batch.fresh and filed.batch != batch.id):
        return None
    if filed.job == job.id and desk.intents.forgotten(job, print_, at - FETCHABLE_S):
        return None  # the gate and the intent lead it to its own receipt, so that the bill has what it cost
    return filed


def _from_filed(job: Job, desk: Desk, filed: Filed, print_: str, loaded: Loaded, *, overwrite: bool) -> Event:
    published = desk.results.publish(filed, job.order.output, job=job.id, overwrite=overwrite)
    result = filed.published(published)
    return Unchanged(result=result, fingerprint=print_, how=published.how, inputs=loaded.evidence)
