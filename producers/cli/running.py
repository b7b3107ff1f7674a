"""`retouch run` and `retouch submit`: plan, ask, open the batch, upload what is local; `run` stays to the end.

Until the yes, nothing has begun and everything that was written is removed again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from jobs.batch import Batch, exit_code
from jobs.errors import LedgerError, StorageError
from jobs.outcome import usd
from jobs.report.build import PAGE
from jobs.report.text import as_text
from jobs.report.wording import counted, dollars, duration
from producers.cli import options as o
from producers.cli.asked import Asked, due_at, taking_asked
from producers.cli.house import House, working_house
from producers.cli.live import SIMULATED, line
from producers.cli.planning import document as plan_document
from producers.cli.planning import planned, refused, show
from producers.cli.voice import INTERRUPTED, OK, UNREACHABLE, Stop, Voice
from producers.collect import Collected, collect
from producers.follow import Following
from producers.plan import Plan
from producers.room import is_full
from producers.staging import AHEAD, Staging, left
from producers.submit import PlanWriter, agreed, batch_id, open_batch, settling

Document = dict[str, Any]

_PATIENCE_S = 1.0
"""After so long without a word people press Ctrl-C again."""


@taking_asked
def run(
    asked: Asked,
    with_worker: o.WithWorker = False,
    yes: o.Yes = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> int:
    """Plan, ask, edit every picture of MANIFEST, and report: stays until the batch is done."""
    voice = Voice(json=json, quiet=quiet)
    _somebody_says_yes(voice, yes)
    with working_house(voice, simulate=asked.simulate, with_worker=with_worker) as house:
        batch = accepted(asked, house, voice, yes=yes)
        if batch is None:
            return OK
        return to_the_end(batch, house, voice)


@taking_asked
def submit(
    asked: Asked,
    with_worker: o.WithWorker = False,
    yes: o.Yes = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> int:
    """Plan, ask, and open a batch for MANIFEST; prints its id once local pictures are uploaded."""
    voice = Voice(json=json, quiet=quiet)
    _somebody_says_yes(voice, yes)
    workers = None if with_worker else 0
    with working_house(voice, simulate=asked.simulate, with_worker=with_worker, workers=workers) as house:
        batch = accepted(asked, house, voice, yes=yes)
        if batch is None:
            return OK
        stage(batch, house, voice)
        voice.tell(batch.id)
        if house.runs_here:
            voice.note(f"The local stack ends with this command: `retouch resume {batch.id}` works on the batch.")
        else:
            voice.note(f"`retouch status {batch.id} --watch` follows it.")
        voice.document(house.view.batch(batch.id))
        return OK


def accepted(asked: Asked, house: House, voice: Voice, *, yes: bool) -> Batch | None:
    """Plan the manifest, ask for the yes, and open the batch; None if the answer is no.

    Raises:
        ManifestError: the manifest cannot be used.
        Stop: rows are bad, or a part of the local stack broke.
    """
    by = due_at(
        asked.by, house.ledger.now(), house.settings
    )  # a Redis that is away is noticed before anything is written
    id_ = batch_id(asked.batch_name(), datetime.now(UTC))
    if house.simulated:
        voice.note(SIMULATED)
    at = house.ledger.now()
    with (
        PlanWriter(house.bucket, house.layout, id_) as writer,
        house.known(asked.batch_name(), fresh=asked.fresh) as known,
    ):
        made = planned(
            asked,
            house.settings,
            house.catalogue,
            voice,
            lines=writer.write_line,
            aside=writer.set_aside,
            settle=settling(known, writer, at),
            settles=lambda: not known.nothing,
        )
        if made.invalid and not asked.skip_invalid:
            raise refused(made, plan_document(made))
        if not voice.quiet:
            show(made, voice.err)  # stdout is for what comes of it: `submit` prints the id there, and only that
        for gone in known.gone():
            writer.miss(gone, at)
        writer.close()
        if made.estimate.rows and not yes and not voice.confirm(_question(made, house)):
            voice.note("Nothing was started.")
            voice.document({**plan_document(made), "started": False})
            return None
        batch = agreed(
            writer,
            made,
            at=house.ledger.now(),
            origin=house.origin,
            simulated=house.simulated,
            manifest=made.manifest,
            overwrite=asked.overwrite,
            fresh=asked.fresh,
            priority=asked.priority,
            by=by,
        )
        open_batch(batch, writer, bucket=house.bucket, layout=house.layout, ledger=house.ledger, hints=house.hints)
    return batch


def to_the_end(batch: Batch, house: House, voice: Voice) -> int:
    """Follow a batch that is open, bring its results here if the store is local, and say how it ended."""
    try:
        with uploading(batch, house, voice) as uploads:
            found = _follow(batch, house, voice, uploads)
    except KeyboardInterrupt:
        raise _interrupted(batch, house) from None
    except (LedgerError, StorageError):
        house.check()  # that a part of the local stack was given up says more
        raise
    uploads.check()
    house.check()
    voice.tell(as_text(found) if "models" in found else line(found))
    mirrored = None
    if found["state"] != "paused" and house.own_storage:
        try:
            mirrored = mirror(batch, house)
        except OSError as error:
            raise _not_brought(error, batch, house, found) from None
    if mirrored is not None:
        _tell_mirrored(mirrored, voice)
        found["folder"] = str(mirrored.folder)
    voice.document(found)
    return exit_code(found)


def mirror(batch: Batch, house: House) -> Collected:
    """Bring the results of a batch in the local store here as plain files; what is right already stays."""
    folder = house.out_folder(batch.name)
    return collect(batch.id, batch.name, folder, bucket=house.bucket, layout=house.layout)


def _not_brought(error: OSError, batch: Batch, house: House, found: Document) -> Stop:
    folder = house.out_folder(batch.name)
    message = f"The results lie in the local store, and cannot be brought to {folder} ({error.strerror})."
    remedy = f"Make room, or give the right to write there; then `retouch download {batch.id} {folder}`."
    return Stop("disk_full" if is_full(error) else "file", message, remedy, exit_code=UNREACHABLE, document=found)


def _tell_mirrored(brought: Collected, voice: Voice) -> None:
    for key, why in brought.failed:
        voice.warn(f"{key} was not brought here: {why}")
    voice.tell(f"Images: {brought.folder}/ ({brought.written:,} new, {brought.same:,} there already)")
    if (brought.folder / PAGE).exists():
        voice.tell(f"Open:   {brought.folder / PAGE}")


class Uploads:
    """Local pictures on their way to the bucket, in a thread of their own."""

    def __init__(self, batch: Batch, house: House) -> None:
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        self._staging = _staging(batch, house)
        if batch.local:
            self._thread = threading.Thread(target=self._run, name="uploads", daemon=True)
            self._thread.start()

    def broken(self) -> bool:
        """Whether uploading has ended with an error."""
        return self._error is not None

    def check(self) -> None:
        """Raise what uploading ended with."""
        if self._error is not None:
            raise self._error

    def close(self, say: Callable[[str], None]) -> None:
        """Stop after the pictures that are being uploaded; what is left pauses the batch."""
        self._stop.set()
        if self._thread is None:
            return
        self._thread.join(_PATIENCE_S)
        if self._thread.is_alive():
            say("Stopping; first what is being uploaded ends.")
            self._thread.join()

    def _run(self) -> None:
        try:
            self._staging.run(self._stop)
        except Exception as error:  # noqa: BLE001 - it is raised again in the command's own thread
            self._error = error


@contextmanager
def uploading(batch: Batch, house: House, voice: Voice) -> Iterator[Uploads]:
    """Upload the local pictures of a batch beside whatever else is done."""
    uploads = Uploads(batch, house)
    try:
        yield uploads
    finally:
        uploads.close(voice.note)


def stage(batch: Batch, house: House, voice: Voice) -> None:
    """Upload the local pictures of a batch, and return when none is left.

    Raises:
        Stop: it was interrupted; the batch is paused.
        StorageError: an upload failed; the batch is paused.
    """
    if not batch.local:
        return
    if house.runs_here and house.stack is not None and batch.rows > AHEAD:
        house.stack.add_worker()  # uploading stays close to the feed, and only a worker feeds
    staging = _staging(batch, house)
    try:
        staging.run(threading.Event(), _telling(batch, voice))
    except KeyboardInterrupt:
        raise _interrupted(batch, house) from None


def _staging(batch: Batch, house: House) -> Staging:
    return Staging(
        batch,
        bucket=house.bucket,
        layout=house.layout,
        ledger=house.ledger,
        hints=house.hints,
        memory=house.settings.data_dir,
    )


def _follow(batch: Batch, house: House, voice: Voice, uploads: Uploads) -> Document:
    def stop() -> bool:
        return uploads.broken() or house.broken()

    with voice.screen() as screen:
        return Following(house.view, batch.id, screen, stop=stop, uploading=batch.local).run()


def _question(made: Plan, house: House) -> str:
    most = dollars(usd(min(made.ceiling, made.estimate.at_most)))
    price = f"about {dollars(usd(made.estimate.expected))}, at most {most}"
    took = duration(made.estimate.seconds)
    start = f"Start {counted(made.estimate.rows, 'edit')} for {price}, about {took}?"
    return f"SIMULATED, nothing is bought. {start}" if house.simulated else start


def _somebody_says_yes(voice: Voice, yes: bool) -> None:
    """Refuse before any work what could only end at a question that nobody hears."""
    if not yes and not voice.at_terminal:
        raise Stop(
            "nobody_to_ask",
            "A batch costs money and there is no terminal to ask at.",
            "Give --yes to start it without being asked; `retouch plan` shows the price.",
        )


def _interrupted(batch: Batch, house: House) -> Stop:
    """Return what is said after Ctrl-C: what becomes of the batch, and which command goes on."""
    found = house.ledger.batch(batch.id)
    if found is not None and batch.local and left(batch, found[1]):
        rows = counted(left(batch, found[1]), "row")
        message = f"Interrupted; the batch is paused, {rows} still wait for local pictures."
        remedy = f"`retouch resume {batch.id}` in this folder goes on."
    elif house.runs_here:
        message = "Interrupted; the local stack has stopped, and nothing is lost."
        remedy = f"`retouch resume {batch.id}` in this folder goes on."
    else:
        message = "Interrupted; the batch runs on."
        remedy = f"`retouch status {batch.id} --watch` follows it, `retouch cancel {batch.id}` ends it."
    return Stop("interrupted", message, remedy, exit_code=INTERRUPTED, document={"batch": batch.id})


def _telling(batch: Batch, voice: Voice) -> Callable[[int], None]:
    told = [batch.rows + 1]

    def tell(rows: int) -> None:
        if rows and told[0] - rows >= 500:
            voice.note(f"uploading local pictures: {counted(rows, 'row')} left")
            told[0] = rows

    return tell
