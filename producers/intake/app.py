"""The producers' own Celery application: it plans what a schedule or an upload asks for, from the queue `intake`.

A message is a hint here too. Every task may come twice, on two machines, or break off anywhere; the beat sends it
again until a record or a receipt lies in the bucket.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any

import structlog
from celery import Celery
from celery.beat import Scheduler
from celery.signals import setup_logging, worker_ready, worker_shutting_down
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError

from config.broker import transport
from config.heartbeat import Heartbeat
from config.logs import set_up_logging
from config.parts import bucket_of, catalogue_of, layout_of, ledger_of
from config.settings import Settings
from jobs.errors import LedgerError, RetouchError, StorageError
from jobs.queues import INTAKE_QUEUE, PLAN_FIRING, PLAN_UPLOAD
from producers.inbox.take import take
from producers.intake.beat import EVERY_S, Beat
from producers.intake.desk import Desk, Lost
from producers.intake.firing import fire
from producers.intake.stagings import Stagings
from producers.messages import Sender
from producers.schedules.cron import from_stamp
from producers.schedules.file import read_schedules
from producers.schedules.history import HELD

THREADS = 2
"""Plans at once; the parts of one plan are uploaded side by side already."""
_HEART_S = 5.0

log = structlog.get_logger(__name__)


@contextmanager
def desk_of(settings: Settings, *, origin: str, simulated: bool) -> Iterator[Desk]:
    """Open the records; `origin` is the name under which results are filed."""
    with ExitStack() as stack:
        bucket, sender = bucket_of(settings), Sender(settings)
        stack.callback(bucket.close)
        stack.callback(sender.close)
        yield Desk(
            settings=settings,
            catalogue=catalogue_of(settings),
            ledger=ledger_of(settings),
            bucket=bucket,
            layout=layout_of(settings),
            hints=sender,
            origin=origin,
            simulated=simulated,
        )


def application(settings: Settings) -> Celery:
    """Return an application that knows the queue, and no task yet.

    Raises:
        SettingsError: no Redis is named.
    """
    app = Celery("producers", set_as_current=False)
    app.conf.update(
        **{
            **transport(settings),
            "task_queues": [Queue(INTAKE_QUEUE, Exchange(INTAKE_QUEUE), routing_key=INTAKE_QUEUE)],
            "task_default_queue": INTAKE_QUEUE,
            "task_routes": {},
        },
        task_acks_late=False,  # what is lost is sent again by the beat
        worker_pool="threads",
        worker_concurrency=THREADS,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
    )
    return app


def with_tasks(app: Celery, desk: Desk, stagings: Stagings) -> Celery:
    """Give an application its tasks; local pictures are handed to `stagings`."""

    def plan_firing(schedule: str, firing: str) -> None:
        known = read_schedules(desk.settings.schedules)
        if schedule not in known:
            log.error("no such schedule here", schedule=schedule, file=str(desk.settings.schedules))
            return
        record = fire(known[schedule], from_stamp(firing), desk)
        if record is None:
            return
        told = log.warning if record.outcome == HELD else log.info
        told("firing", schedule=schedule, firing=firing, outcome=record.outcome, why=record.why)
        if record.batch:
            stagings.begin(known[schedule], record.batch)

    def plan_upload(key: str, etag: str) -> None:
        receipt = take(key, etag, desk)
        if receipt is not None:
            log.info("upload", key=key, state=receipt["state"], batch=receipt["batch"])

    app.task(name=PLAN_FIRING)(_told(plan_firing))
    app.task(name=PLAN_UPLOAD)(_told(plan_upload))
    return app


def _told(task: Callable[..., None]) -> Callable[..., None]:
    """Say in one line why a task broke off; the beat sends it again."""

    def telling(*args: str) -> None:
        try:
            task(*args)
        except Lost:
            log.warning("somebody else goes on with this", args=args)
        except RetouchError as error:
            log.warning("not done, it will be tried again", args=args, why=str(error))

    return telling


def run_intake(settings: Settings, *, origin: str, simulated: bool, arguments: list[str]) -> None:
    """Be the intake until it is told to stop."""
    stop = threading.Event()
    heart = Heartbeat(settings.heartbeat_file)

    def log_our_way(**_: Any) -> None:
        set_up_logging(settings)

    def begin(**_: Any) -> None:
        threading.Thread(target=beating, name="heart", daemon=True).start()
        stagings.resume()

    def end(**_: Any) -> None:
        stop.set()

    with desk_of(settings, origin=origin, simulated=simulated) as desk, closing(Stagings(desk)) as stagings:

        def beating() -> None:
            while True:
                answered = True
                try:
                    desk.ledger.batches()  # asks; `now` may answer from memory
                except LedgerError:
                    answered = False
                with suppress(OSError):
                    heart.beat(redis=answered)
                if stop.wait(_HEART_S):
                    return

        setup_logging.connect(log_our_way, weak=False)
        worker_ready.connect(begin, weak=False)
        worker_shutting_down.connect(end, weak=False)
        app = with_tasks(application(settings), desk, stagings)
        name = f"retouch-intake-{os.getpid()}@%h"
        quietly = ["--loglevel", "WARNING", "--without-gossip", "--without-mingle", "-n", name]
        app.worker_main(["worker", *quietly, *arguments])


def run_beat(settings: Settings, *, origin: str, simulated: bool) -> None:
    """Be a beat until it is told to stop."""
    heart = Heartbeat(settings.heartbeat_file)
    with desk_of(settings, origin=origin, simulated=simulated) as desk:
        app = application(settings)

        def send(task: str, args: tuple[str, ...]) -> None:
            with suppress(OperationalError):  # it is sent again
                app.send_task(task, args=list(args), queue=INTAKE_QUEUE, ignore_result=True)

        def shown_alive(*, redis: bool) -> None:
            with suppress(OSError):  # a disk that is full must not stop the clock
                heart.beat(redis=redis)

        beat = Beat(desk, send)

        class Turns(Scheduler):
            """Celery's beat with our turn in place of its table of tasks."""

            def setup_schedule(self) -> None:
                """Have no table."""

            def tick(self, *_: Any, **__: Any) -> float:
                """Take one turn; return how long to sleep."""
                try:
                    wait = beat.once()
                except RetouchError as error:
                    log.warning("the beat waits", why=str(error))
                    shown_alive(redis=isinstance(error, StorageError))
                    return EVERY_S
                shown_alive(redis=True)
                return wait

        setup_logging.connect(lambda **_: set_up_logging(settings), weak=False)
        try:
            turns: Any = Turns  # the stubs know only the name of a class
            app.Beat(scheduler_cls=turns, loglevel="WARNING", quiet=True, schedule="").run()
        finally:
            with suppress(RetouchError):
                beat.close()
