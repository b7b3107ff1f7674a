"""The Celery application of the workers: queues, delivery and worker life are Celery's, everything else is ours.

Start it with `retouch worker`, or plainly with `celery -A workers.app worker`.
"""

from __future__ import annotations

import sys
from typing import Any

from celery import Celery, bootsteps
from celery.signals import (
    celeryd_init,
    setup_logging,
    task_received,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)

from config.arming import arm
from config.broker import transport
from config.logs import set_up_logging
from config.parts import catalogue_of
from config.settings import SettingsError, read_settings
from jobs.errors import RetouchError
from workers.process import Process, threads_wanted

try:
    settings = read_settings()
    shared = transport(settings, asks_again_s=5)  # it hears at once of what comes, and idle it need not ask each second
    arm(settings)
except SettingsError as error:
    sys.stderr.write(f"retouch: {error}\n")
    raise SystemExit(2) from None

app = Celery("workers", set_as_current=False, include=["workers.tasks"])
app.conf.update(
    **shared,
    # A broken connection would run every job in flight a second time with late acknowledgement; a message that is
    # lost with early acknowledgement costs the tick's few seconds.
    task_acks_late=False,
    task_reject_on_worker_lost=False,  # nor is a paid step ever run again blindly
    worker_pool="threads",  # a waiting edit costs a thread, not a process
    worker_concurrency=threads_wanted(settings, catalogue_of(settings)),
    worker_prefetch_multiplier=1,  # no more messages held back than threads
    worker_enable_remote_control=False,  # who can write to Redis must not be able to stop workers
    worker_send_task_events=False,  # the ledger counts; events would double every message
    worker_hijack_root_logger=False,  # our own formatter takes secrets out
    worker_redirect_stdouts=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,  # threads cannot be cancelled; leases decide
)

process = Process(settings, app)
LOOP_EVERY_S = 2.0


class LoopTurns(bootsteps.StartStopStep):
    """Shows that Celery's own loop turns: it can stand still on a half-open connection while all threads live."""

    requires = ("celery.worker.components:Timer",)

    def start(self, parent: Any) -> None:
        """Note every turn from now on."""
        parent.timer.call_repeatedly(LOOP_EVERY_S, process.heart.loop)


app.steps["worker"].add(LoopTurns)


@setup_logging.connect(weak=False)
def _log(**_: Any) -> None:
    """Take logging out of Celery's hands: its formatter would show what ours takes out."""
    set_up_logging(settings)


@celeryd_init.connect(weak=False)
def _check(conf: Any, options: Any, **_: Any) -> None:
    """Refuse a pool that would break what the steps rely on, and a worker without a key."""
    pool = options.get("pool_cls") or options.get("pool") or conf.worker_pool
    if pool != "threads" and getattr(pool, "__module__", "") != "celery.concurrency.thread":
        _refuse(f"the worker runs in Celery's thread pool only; leave out -P (it says {pool})")
    if not settings.has_real_key:
        _refuse("no API key: set RETOUCH_API__KEYS (or BFL_API_KEY), or try `retouch up`, which simulates the API")
    try:
        process.check()
    except (SettingsError, RetouchError) as error:
        _refuse(str(error), code=2 if isinstance(error, SettingsError) else 3)


@worker_ready.connect(weak=False)
def _begin(**_: Any) -> None:
    process.start()


@task_received.connect(weak=False)
def _taken(**_: Any) -> None:
    process.appetite.fed()


@worker_shutting_down.connect(weak=False)
def _stop(**_: Any) -> None:
    process.stop()


@worker_shutdown.connect(weak=False)
def _end(**_: Any) -> None:
    process.close()


def _refuse(why: str, code: int = 2) -> None:
    sys.stderr.write(f"retouch: {why}\n")
    raise SystemExit(code)
