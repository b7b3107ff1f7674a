"""One worker process: its desk, and the threads that live as long as it does.

Celery's soft shutdown does nothing for threads, so a flag is set when a shutdown begins and every wait listens to
it: waiting jobs go back at once, a POST in flight and a download are finished and written down. What has not ended
after RETOUCH_WORKER__DRAIN_S is left to its lease: the process ends, and another one takes it over.
"""

from __future__ import annotations

import gc
import os
import socket
import threading
import uuid
from collections.abc import Callable

import structlog
from celery import Celery
from celery.worker import state
from kombu.exceptions import OperationalError

from config.broker import Messenger, waiting
from config.heartbeat import Heartbeat
from config.parts import bucket_of, catalogue_of, days_of, layout_of, ledger_of, place_of
from config.settings import Settings, SettingsError
from jobs.errors import Unavailable
from jobs.models import Catalogue
from jobs.pictures import MAX_BYTES
from workers.api.client import Api, Key
from workers.appetite import Appetite
from workers.creditwatch import CreditWatch
from workers.desk import Desk
from workers.drain import Drain
from workers.epoch import EpochGuard
from workers.gate import Gate
from workers.inputs import Inputs
from workers.intents import Intents
from workers.keeper import LeaseKeeper
from workers.keys import LOOK_S, KeyRing
from workers.keywatch import KeyWatch
from workers.listener import Listener
from workers.pace import Pace
from workers.results import Results
from workers.spool.spool import Spool
from workers.storage import Storage, WatchedBucket
from workers.tick import Tick, take_over_ended
from workers.turns import HOUSE_THREADS, Turns
from workers.web import Web

log = structlog.get_logger(__name__)

WATCH_S = 5.0
SILENCE_S = 15.0


def threads_wanted(settings: Settings, catalogue: Catalogue) -> int:
    """Return the threads of a process: every window, so that one survivor can run all, and housekeeping."""
    if settings.worker.concurrency is not None:
        return settings.worker.concurrency
    return sum(group.window for group in catalogue.groups.values()) + HOUSE_THREADS


class Process:
    """Owns the desk. Nothing is opened before `check` or `start`."""

    def __init__(self, settings: Settings, app: Celery) -> None:
        self._settings = settings
        self._app = app
        self._desk: Desk | None = None
        self._tick: Tick | None = None
        self._drain: Drain | None = None
        self._listener: Listener | None = None
        self.heart = Heartbeat(settings.heartbeat_file)
        self.appetite = Appetite()
        self.exit_code = 0

    @property
    def desk(self) -> Desk:
        """The desk, made at first use."""
        if self._desk is None:
            self._desk = _make_desk(self._settings, self._app)
        return self._desk

    def check(self) -> None:
        """Make sure that Redis answers and has not gone back in time, that results can be kept, and the bucket be seen.

        A bucket that is only away is no reason not to start: tasks that are paid for must be fetched before their
        results expire, and the disk is there for them. Nothing is bought before it has been seen.

        Raises:
            SettingsError, LedgerError, StorageError: with what to do.
        """
        self.desk.ledger.now()
        take_over_ended(self.desk)  # first: what they bought may not be there for long
        try:
            self._look()
        except Unavailable as error:
            log.warning("storage is away; paid results are kept until it is back", why=str(error))
            self.desk.unseen = self._look

    def _look(self) -> None:
        next(self.desk.bucket.keys(self.desk.layout.prefix, limit=1), None)
        self.desk.epoch.look()
        self.desk.intents.check()
        CreditWatch(self.desk).look()  # before the first submission, so that it can be judged

    def start(self) -> None:
        """Start the lease keeper, the tick and the listener."""
        desk = self.desk
        desk.keeper.start()
        self._drain = Drain(desk)
        self._drain.start()  # before the tick, so that a receipt on the disk is told before its doubt is judged
        self._tick = Tick(desk, self.heart)
        self._tick.start()
        self._listener = Listener(desk)
        self._listener.start()
        threading.Thread(target=self._watch, name="appetite", daemon=True).start()
        threading.Thread(target=self._ask_resting, name="resting-keys", daemon=True).start()
        self._tell_room()
        _spare_the_collector()
        log.info("worker started", owner=desk.owner, threads=desk.threads, origin=self._settings.api.origin)

    def _tell_room(self) -> None:
        """Warn where the spool, and not the API's limit, decides how many edits are under way."""
        desk = self.desk
        slots = max(group.places for group in desk.catalogue.groups.values())
        largest = max(model.largest_result for model in desk.catalogue.models.values())
        if desk.spool.limit < slots * largest:
            log.warning(
                "the spool has room for fewer results than the API has slots; raise RETOUCH_WORKER__SPOOL_BYTES",
                results=desk.spool.limit // largest,
                slots=slots,
                wanted=slots * largest,
            )

    def stop(self) -> None:
        """Begin the shutdown: every wait ends, and so does the process at the latest after the time to drain."""
        desk = self.desk
        if not desk.stopping.is_set():
            last = threading.Timer(self._settings.worker.drain_s, _end_at_once)
            last.daemon = True
            last.start()
        desk.stopping.set()
        desk.gate.freed()

    def close(self) -> None:
        """End the threads, when the last job has been given back."""
        if self._tick is not None:
            self._tick.close()
        if self._drain is not None:
            self._drain.close()
        if self._listener is not None:
            self._listener.close()
        self.desk.keeper.close()
        self.desk.api.close()
        self.desk.spool.close()
        log.info("worker stopped", owner=self.desk.owner)

    def _ask_resting(self) -> None:
        """Look whether the API is back; a thread of its own, since an API that is away may let everybody wait."""
        watch = KeyWatch(self.desk)
        while not self.desk.stopping.wait(LOOK_S):
            try:
                watch.ask_resting()
            except Exception:
                log.exception("resting keys not looked at")

    def _watch(self) -> None:
        """End this process with 1 when it has lost its appetite, so that whoever looks after it starts it anew."""
        desk = self.desk
        while not desk.stopping.wait(WATCH_S):
            if not self.appetite.doubtful():
                continue
            try:
                messages = waiting(self._app)
            except OperationalError:
                self.appetite.fed()
                continue
            if self.appetite.lost(waiting=messages, room=desk.keeper.held() < desk.threads - HOUSE_THREADS):
                log.error("this worker takes no messages any more, and ends", owner=desk.owner, waiting=messages)
                self.exit_code = 1
                self.stop()
                state.should_stop = self.exit_code  # type: ignore[assignment]  # Celery's stubs know no code here
                return


def _spare_the_collector() -> None:
    """Take what is loaded by now out of the garbage collector's sight: it stays, and is most of what there is."""
    gc.collect()
    gc.freeze()


def _end_at_once() -> None:
    log.error("not everything ended in time; leases of what is left lapse, and others take it over")
    os._exit(1)


def _make_desk(settings: Settings, app: Celery) -> Desk:
    catalogue = catalogue_of(settings)
    threads = threads_wanted(settings, catalogue)
    owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    stopping = threading.Event()
    ledger = ledger_of(settings)
    layout = layout_of(settings)
    storage = Storage()
    # A paid result does not wait for a store that says nothing: the disk is there for it.
    bucket = WatchedBucket(bucket_of(settings, connections=threads + 8, silence_s=SILENCE_S, tries=2), storage, layout)
    trusted = settings.api.trusted_hosts

    def read_keys() -> list[Key]:
        return [Key.of(secret, settings.api.account_of) for secret in settings.api.all_keys()]

    keys = KeyRing(read_keys(), ledger.now)
    days = days_of(settings)
    return Desk(
        owner=owner,
        catalogue=catalogue,
        ledger=ledger,
        bucket=bucket,
        layout=layout,
        results=Results(bucket, layout),
        api=Api(
            base_url=settings.api.base_url,
            trusted_hosts=trusted,
            timeout_s=settings.api.timeout_s,
            now=ledger.now,
            refused=settings.submit.refused_statuses,
        ),
        keys=keys,
        read_keys=read_keys,
        inputs=Inputs(bucket, layout, Web(trusted_hosts=trusted, max_bytes=MAX_BYTES), settings.s3.input_buckets),
        gate=Gate(
            ledger,
            stopping,
            days,
            key_spent=keys.spent,
            places=lambda group: catalogue.groups[group].waiting,
        ),
        intents=Intents(bucket, layout, on=settings.submit.intents_in_bucket),
        epoch=EpochGuard(ledger, bucket, layout, place_of(settings)),
        keeper=LeaseKeeper(ledger, owner),
        pace=Pace(),
        send=Messenger(app).send,
        doubt_wait_s=settings.submit.doubt_wait_s,
        settles_by_credits=settings.submit.settle_by_credits,
        retry_for_s=settings.submit.retry_for_s,
        threads=threads,
        days=days,
        spool=_spool_of(settings, home=layout.uri(bucket.name, layout.prefix), now=ledger.now, owner=owner),
        turns=Turns(threads),
        storage=storage,
        stopping=stopping,
    )


def _spool_of(settings: Settings, *, home: str, now: Callable[[], float], owner: str) -> Spool:
    folder = settings.spool_folder
    try:
        return Spool(folder, settings.worker.spool_bytes, home=home, now=now, owner=owner)
    except OSError as error:
        raise SettingsError(
            f"{folder} cannot be written ({error.strerror}), and paid results must be kept somewhere while storage is"
            " away: name a folder on a disk that lasts in RETOUCH_WORKER__SPOOL_DIR"
        ) from None
