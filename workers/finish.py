"""Finishing: the report is written from the plan and the outcomes, then the batch leaves Redis.

It may run twice, and at the same time as a crash: a lock keeps it single as far as possible, and every file it
writes is the same again. Who is held up for longer than the lock lasts may wake in a later round of the batch, so all
of it is for the one opening that it began with. A batch is `done` only after its `summary.json` lies in the bucket.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog

from jobs.batch import Batch, BatchState, Progress, document
from jobs.bucket.rows import first_round, gone_of, idle_rows_of, rows_of
from jobs.crashpoints import crashpoint
from jobs.errors import LedgerError, StorageError, Unavailable
from jobs.job import State
from jobs.known.line import learnt
from jobs.known.state import Changes, NameState
from jobs.pictures import PictureError, thumbnail
from jobs.report.build import OUTCOMES, SUMMARY, build_report
from jobs.report.joining import Joined
from jobs.report.tables import failed_name
from jobs.row import Row
from workers.desk import Desk
from workers.flush import flush

log = structlog.get_logger(__name__)

LOCK_S = 30.0

_CHARSETS = {"cp1252": "windows-1252", "utf-8-sig": "utf-8", "utf-16-le": "utf-16", "utf-16-be": "utf-16"}
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
}


def over(batch: Batch, progress: Progress) -> bool:
    """Whether nothing of this batch is left to do: every job is final or held, and every row fed or cancelled."""
    fed = all(progress.cursors.get(group, 0) >= rows for group, rows in batch.groups.items())
    return progress.live == 0 and ((fed and not progress.behind) or progress.state is BatchState.CANCELLED)


def finish(batch_id: str, desk: Desk) -> None:
    """Write a batch's report and close it, if nothing of it is left to do."""
    with _locked(f"finish:{batch_id}", desk) as ours:
        found = desk.ledger.batch(batch_id)
        if ours is None or found is None or not over(*found):
            return
        batch, progress = found
        opening = progress.opening
        crashpoint("finish-begun")
        flush(batch_id, desk)

        def overtaken() -> bool:
            """Whether somebody else finishes the batch, has done so, or has even opened its next round."""
            now = desk.ledger.batch(batch_id)
            stands = now is not None and (now[1].opening, now[1].finished_at) == (opening, progress.finished_at)
            return not stands or not ours()

        written = _write_report(batch, progress, desk, overtaken)
        crashpoint("report-written")
        if not written or not desk.ledger.mark_finished(batch_id, opening=opening):
            log.warning("held up until somebody else had finished the batch", batch=batch_id, round=batch.round)
            return
        crashpoint("finish-marked")
        if progress.state is not BatchState.CANCELLED:
            states = [BatchState.OPEN, BatchState.PAUSED, BatchState.DONE]
            desk.ledger.set_state(batch_id, BatchState.DONE, "", only_from=states, opening=opening)
            crashpoint("batch-done")
        if not progress.held:
            # Where a charge has become known since the flush, the tick sends us again.
            desk.ledger.forget(batch_id, if_flushed=True, opening=opening)
        log.info("batch finished", batch=batch_id, held=progress.held)


def _write_report(batch: Batch, progress: Progress, desk: Desk, overtaken: Callable[[], bool]) -> bool:
    """Write every file of the report; False, and no further file, once we are `overtaken`.

    Who is suspended between that look and the write can still overwrite one file of the next round: a store knows no
    condition that would refuse it.
    """
    at = desk.now()
    uri = desk.layout.uri(desk.bucket.name, desk.layout.batch(batch.id, "report.html"))
    told = document(batch, progress, report=uri)
    if progress.state is BatchState.CANCELLED:
        told["counts"]["cancelled"] += told["counts"]["queued"]
        told["counts"]["queued"] = 0
    else:
        told["state"], told["reason"] = str(BatchState.DONE), ""
    told["finished_at"] = at
    late = [head.key for head in desk.bucket.keys(desk.layout.late_parts(batch.id))]
    told["late_parts"] = late
    first = _with_earlier_rounds(batch, told, desk)
    state = NameState(batch.name, desk.bucket, desk.layout)
    with TemporaryDirectory(prefix="retouch-report-") as name, Changes(Path(name), _lines(state, first)) as changes:
        folder = Path(name)
        for output, etag, seen_at in gone_of(first, desk.bucket, desk.layout):
            changes.gone(output, etag, seen_at)
        report = build_report(
            batch,
            told,
            rows_of(first, desk.bucket, desk.layout),
            _outcomes(batch, late, folder, desk),
            folder,
            idle=idle_rows_of(first, desk.bucket, desk.layout),
            pictures=lambda row, outcome: _thumbnails(row, outcome, desk),
            at=at,
            each=lambda one: _learn(one, batch.origin, changes),
        )
        if overtaken():
            return False
        _remember(state, changes, batch)
        for file in sorted(report.files, key=lambda name: name == SUMMARY):  # the summary last: it says `done`
            if overtaken():
                return False
            kind = _type_of(file, batch.table.encoding)
            desk.bucket.put_file(desk.layout.batch(batch.id, file), folder / file, content_type=kind)
        if batch.round > 1 and failed_name(batch.table) not in report.files:  # an earlier round's
            if overtaken():
                return False
            desk.bucket.delete(desk.layout.batch(batch.id, failed_name(batch.table)))
    return True


def _type_of(file: str, encoding: str) -> str:
    """Return a report file's type; tables are written as the manifest was, which no reader can tell from the bytes."""
    suffix = Path(file).suffix
    if suffix == ".csv":
        return f"text/csv; charset={_CHARSETS.get(encoding, encoding)}"
    return _TYPES.get(suffix, "application/octet-stream")


def _lines(state: NameState, first: Batch) -> int:
    """Return about how many lines the state of a name has after this batch."""
    try:
        return state.index().rows + first.rows
    except Unavailable:
        raise
    except StorageError:  # `_remember` will say so
        return first.rows


def _learn(one: Joined, origin: str, changes: Changes) -> None:
    known = learnt(origin, one.row, one.outcome)
    if known is not None:
        changes.add(known)


def _remember(state: NameState, changes: Changes, batch: Batch) -> None:
    """Write what the next plan of this name needs to settle unchanged rows. It is a help: no batch waits for it."""
    try:
        state.write(changes)
    except Unavailable:
        raise
    except StorageError as error:
        log.warning("the state of the name was not written", batch=batch.id, why=str(error))


def _with_earlier_rounds(batch: Batch, told: dict[str, Any], desk: Desk) -> Batch:
    """Return the batch as first agreed, and make `told` the document of all its rounds together."""
    if batch.round == 1:
        return batch
    first = first_round(batch, desk.bucket, desk.layout)
    before = json.loads(desk.bucket.get(desk.layout.before_round(batch.id, batch.round, SUMMARY)))
    told |= {"rows": first.rows, "skipped": first.skipped, "created_at": first.created_at}
    for name in ("expected_usd", "at_most_usd", "ceiling_usd", "doubt_exposure_usd"):
        told[name] = round(told[name] + before[name], 6)
    told["doubts"] += before["doubts"]
    return first


def _outcomes(batch: Batch, late: Sequence[str], folder: Path, desk: Desk) -> Iterator[Mapping[str, Any]]:
    """Yield every outcome; of the late parts those alone that the summary names, or they would be added twice."""
    all_late = desk.layout.late_parts(batch.id)
    parts = (head.key for head in desk.bucket.keys(desk.layout.batch(batch.id, "outcomes/")))
    for key in (*late, *(part for part in parts if not part.startswith(all_late))):
        for line in desk.bucket.get(key).decode("utf-8").split("\n"):
            if line:
                yield json.loads(line)
    if batch.round > 1:
        yield from _cancelled_earlier(batch.id, folder, desk)


def _cancelled_earlier(batch_id: str, folder: Path, desk: Desk) -> Iterator[Mapping[str, Any]]:
    """Yield the outcomes of rows that a cancelled round never fed: they stand in its report alone."""
    earlier = folder / ".earlier"
    desk.bucket.download(desk.layout.batch(batch_id, OUTCOMES), earlier)
    with earlier.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            outcome = json.loads(line)
            if outcome["state"] == State.CANCELLED:
                yield outcome
    earlier.unlink()


def _thumbnails(row: Row, outcome: Mapping[str, Any], desk: Desk) -> tuple[bytes | None, bytes | None]:
    before, after = desk.previews.taken(outcome.get("job", ""))
    uri = row.request.inputs[0]
    if before is None and uri.startswith("s3://"):
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        before = _thumbnail(key, desk, bucket)
    if not outcome.get("output"):
        return before, None
    return before, after or _thumbnail(outcome["output"], desk)


def _thumbnail(key: str, desk: Desk, bucket: str = "") -> bytes | None:
    try:
        return thumbnail(desk.bucket.get(key, bucket=bucket, max_bytes=64 * 1024 * 1024))
    except (StorageError, PictureError):
        return None


@contextmanager
def _locked(name: str, desk: Desk) -> Iterator[Callable[[], bool] | None]:
    """Hold a lock, renewed by a thread for as long as the body runs; yields what says whether it is ours still.

    Yields None where somebody else holds it.
    """
    token = uuid.uuid4().hex
    ended = threading.Event()

    def ours() -> bool:
        return desk.ledger.lock(name, token, LOCK_S)

    if not ours():
        yield None
        return

    def renew() -> None:
        while not ended.wait(LOCK_S / 3):
            try:
                ours()
            except LedgerError as error:
                log.warning("lock not renewed", name=name, why=str(error))

    keeper = threading.Thread(target=renew, name=f"lock-{name}", daemon=True)
    keeper.start()
    try:
        yield ours
    finally:
        ended.set()
        desk.ledger.unlock(name, token)
