"""Celery's side of Redis: what producers and workers must agree on to find each other's messages."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from celery import Celery
from kombu import Exchange, Queue
from kombu.exceptions import OperationalError

from config.settings import Settings, SettingsError
from jobs.queues import EDIT, EDIT_QUEUE, HOUSE_QUEUE, KEY_PREFIX, PAID_QUEUE, QUEUES


def transport(settings: Settings, *, asks_again_s: int | None = None) -> dict[str, Any]:
    """Return the settings that both ends of a queue need, each with its reason.

    Args:
        settings: name the Redis.
        asks_again_s: who takes messages in Celery's event loop asks anew after so many seconds in which none came, 1 if
            that is not said.

    Raises:
        SettingsError: no Redis is named.
    """
    if settings.redis.url is None:
        raise SettingsError("no Redis is named: set RETOUCH_REDIS__URL, or use `retouch up` for one of its own")
    return {
        "broker_url": settings.redis.url.get_secret_value(),
        "result_backend": None,  # batches are counted in the ledger; results and chords expire
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],  # a pickled message is refused unread
        "task_queues": [Queue(name, Exchange(name), routing_key=name) for name in QUEUES],
        "task_default_queue": HOUSE_QUEUE,
        "task_routes": {EDIT: {"queue": EDIT_QUEUE}},
        "task_create_missing_queues": False,
        "task_publish_retry": True,  # a doubled message does nothing
        "task_publish_retry_policy": {"max_retries": 3, "interval_start": 0, "interval_step": 0.2},
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # Redis comes back; the worker waits for it
        "broker_transport_options": {
            "global_keyprefix": KEY_PREFIX,  # a shared Redis cannot mix two applications' messages
            "queue_order_strategy": "priority",  # paid results before housekeeping before new edits
            "ack_emulation": False,  # what would be put back in an hour the tick has found long before; two calls saved
            **({} if asks_again_s is None else {"polling_interval": asks_again_s}),
            "socket_timeout": 15,  # without it a half-open connection hangs for ever; must exceed the interval
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
            "max_connections": 100,
            "client_name": "retouch-celery",
        },
        "timezone": "UTC",
        "enable_utc": True,
    }


class Messenger:
    """Sends hints to workers by task name. Give it the application that owns the connection."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def send(self, task: str, *args: str | int, paid: bool = False) -> None:
        """Send one message; `paid` puts an edit before all others.

        A message is a hint: one that cannot be sent is dropped, and the workers' tick finds what was forgotten.
        """
        queue = PAID_QUEUE if paid else EDIT_QUEUE if task == EDIT else HOUSE_QUEUE
        with suppress(OperationalError):
            self._app.send_task(task, args=list(args), queue=queue, ignore_result=True, argsrepr="…", kwargsrepr="…")


def waiting(app: Celery) -> int:
    """Return how many messages wait in the workers' queues.

    Raises:
        OperationalError: Redis cannot be reached.
    """
    with app.pool.acquire(block=True, timeout=5) as found:
        connection: Any = found
        channel = connection.default_channel
        return sum(channel.queue_declare(queue=name).message_count for name in QUEUES)
