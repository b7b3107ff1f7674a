"""Step 3: from a result's URL to the bucket. The edit is paid, so nothing here ever leads to a second one.

The bytes are fetched at once, checked, filed under the fingerprint as the API delivered them, then published by a
copy. While storage is away they go onto this worker's disk, the job is `kept`, and its thread is free.
"""

from __future__ import annotations

import structlog

from jobs.batch import Batch, BatchState
from jobs.crashpoints import crashpoint
from jobs.errors import LedgerError, Refused, StorageError
from jobs.events import Event, Failed, GivenBack, Kept, Stored, UrlExpired
from jobs.job import Job, State
from jobs.pictures import Picture, PictureError, check_result
from jobs.retry import backoff
from workers.api.client import DownloadFailed
from workers.desk import Desk, insistently
from workers.hands import KEPT_PATIENCE_S
from workers.results import OutputNotOurs
from workers.spool.spool import NotKept

log = structlog.get_logger(__name__)

DOWNLOADS_OF_A_BROKEN_RESULT = 3
TRIES_OF_A_RENEWED_URL = 8
"""A fresh URL that the delivery host does not know is tried so often (about 30 s): hosts learn of a result late."""
STORAGE_WAIT_S = 5.0
KEPT_WAIT_S = 15.0
"""The longest pause between two tries to store what is kept: its bytes are safe."""
LEDGER_AWAY_S = 600.0
FILED_BUT_NOT_PUBLISHED = ("output_not_ours", "output_refused")


def store(job: Job, desk: Desk) -> Event:
    """Fetch, check, file and publish the result of a job, and return how it ended or where it is kept."""
    patience = KEPT_PATIENCE_S if job.state is State.KEPT else desk.until(job.deadline) / 2
    with desk.hands.holding(patience) as one_of_few:
        return GivenBack(wait=0.0, why="shutting down") if one_of_few is None else _stored(job, desk)


def _stored(job: Job, desk: Desk) -> Event:
    try:
        found = _from_disk(job, desk)
    except OSError as error:
        return GivenBack(wait=backoff(job.waits + 1, cap=60.0), why=f"the spool cannot be read: {error.strerror}")
    kept = found is not None
    if found is None:
        if job.state is State.KEPT:
            return _expired(job, "the disk that it was kept on has spoilt it")
        fetched = _download(job, desk)
        if isinstance(fetched, Event):
            return fetched
        found = fetched
        crashpoint("downloaded")
    return _put_away(job, desk, *found, kept=kept)


def is_filed(event: Event) -> bool:
    """Whether an event that ended a job says that its bytes lie in the bucket, published or not."""
    return isinstance(event, Stored) or (isinstance(event, Failed) and event.code in FILED_BUT_NOT_PUBLISHED)


def secure(job: Job, desk: Desk) -> None:
    """Fetch a result onto the disk, whatever Redis and storage do. Only for what would be lost otherwise."""
    fetched = None if desk.spool.find(job) is not None else _download(job, desk)
    if fetched is not None and not isinstance(fetched, Event):
        _is_kept(job, desk, *fetched)


def _from_disk(job: Job, desk: Desk) -> tuple[bytes, Picture] | None:
    kept = desk.spool.find(job)
    data = desk.spool.read(kept) if kept is not None else None
    return (data, check_result(data, content_length=None)) if data is not None else None


def _download(job: Job, desk: Desk) -> tuple[bytes, Picture] | Event:
    tries, broken = 0, 0
    while True:
        tries += 1
        try:
            data, announced = desk.api.download(job.url)
            return data, check_result(data, content_length=announced)
        except PictureError as error:
            broken += 1
            if broken >= DOWNLOADS_OF_A_BROKEN_RESULT and error.code == "result_unreadable":
                return Failed(code="result_unreadable", detail=str(error), paid=True)
            why = str(error)
        except DownloadFailed as error:
            if not error.transient or (error.expired and (not job.renewed or tries >= TRIES_OF_A_RENEWED_URL)):
                return _expired(job, str(error))
            why = str(error)
        if desk.until(job.deadline) <= 0:
            return _expired(job, why)
        log.info("download failed", job=job.id, tries=tries, why=why)
        if desk.sleep(min(backoff(tries, first=0.5, cap=10.0), desk.until(job.deadline))):
            return GivenBack(wait=0.0, why="shutting down")


def _expired(job: Job, why: str) -> Event:
    if job.renewed:
        return Failed(code="paid_not_delivered", detail=why, paid=True)
    return UrlExpired()


def _put_away(job: Job, desk: Desk, data: bytes, picture: Picture, *, kept: bool) -> Event:
    """File and publish the bytes, or keep them; only where neither works do they wait in memory."""

    def keep() -> None:
        nonlocal kept
        kept = kept or _is_kept(job, desk, data, picture)

    batch = insistently(
        lambda: desk.batch(job.order.batch), desk, errors=LedgerError, give_up_s=LEDGER_AWAY_S, meanwhile=keep
    )  # the bytes are in hand, and Redis is no reason to drop them
    tries = 0
    while True:
        tries += 1
        try:
            return _filed(job, desk, data, picture, batch)
        except StorageError as error:
            if isinstance(error, Refused):
                _pause(job, desk, str(error))
            why = str(error)
        keep()
        if kept and job.state is State.KEPT:
            return GivenBack(wait=backoff(job.waits + 1, first=1.0, cap=KEPT_WAIT_S), why=why)
        if kept:
            return Kept(detail=why, spool=desk.spool.id)
        log.warning("result not stored yet", job=job.id, tries=tries, why=why)
        if desk.sleep(backoff(tries, first=0.5, cap=STORAGE_WAIT_S)):
            if _is_kept(job, desk, data, picture, anyway=True):
                return Kept(detail=why, spool=desk.spool.id)
            return GivenBack(wait=0.0, why="shutting down")


def _filed(job: Job, desk: Desk, data: bytes, picture: Picture, batch: Batch | None) -> Event:
    overwrite, fresh = (batch.overwrite, batch.fresh) if batch else (False, False)
    filed = desk.results.file(job.fingerprint, data, picture, job=job.id, batch=job.order.batch, fresh=fresh)
    crashpoint("filed")
    try:
        published = desk.results.publish(filed, job.order.output, job=job.id, overwrite=overwrite)
    except OutputNotOurs as error:
        return Failed(code="output_not_ours", detail=f"{error}; the result is filed, --overwrite publishes it")
    except Refused as error:
        return Failed(code="output_refused", detail=f"{error}; the result is filed")
    if batch is not None:
        desk.previews.after(job.id, batch, data)
    return Stored(result=filed.published(published), flags=_flags(job, desk, picture))


def _is_kept(job: Job, desk: Desk, data: bytes, picture: Picture, *, anyway: bool = False) -> bool:
    try:
        desk.spool.keep(job, data, picture, anyway=anyway)
    except NotKept as error:
        log.warning("result not kept", job=job.id, why=str(error))
        return False
    return True


def _pause(job: Job, desk: Desk, why: str) -> None:
    try:
        if desk.ledger.set_state(job.order.batch, BatchState.PAUSED, "storage", only_from=[BatchState.OPEN]):
            log.warning("batch paused: the bucket refuses to be written", batch=job.order.batch, why=why)
    except LedgerError as error:  # the bytes must not be lost over it
        log.warning("batch not paused", batch=job.order.batch, why=str(error))


def _flags(job: Job, desk: Desk, picture: Picture) -> tuple[str, ...]:
    """Say where the result is not what was asked for. It is filed and counts as stored all the same."""
    request = job.order.request
    model = desk.model(request.model)
    flags = []
    if picture.format != (request.params.get("output_format") or model.output_format):
        flags.append("format_differs")
    width, height = request.params.get("width"), request.params.get("height")
    if (width and picture.width != width) or (height and picture.height != height):
        flags.append("size_differs")
    return tuple(flags)
