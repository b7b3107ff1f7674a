"""The producers' side of the queues: a Celery application that only sends.

A message is a hint, so one that cannot be sent is dropped: the workers' tick finds what was forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from config.settings import Settings
from jobs.queues import EDIT, FEED, FINISH


class Hints(Protocol):
    """What producers tell the workers. Nothing depends on a hint but how soon something happens."""

    def feed(self, batch: str, groups: Iterable[str]) -> None:
        """Say that these limit groups of a batch can be fed."""

    def look(self, jobs: Iterable[str]) -> None:
        """Say that these jobs should be looked at."""

    def finish(self, batch: str) -> None:
        """Say that a batch may be at its end."""


class Sender:
    """Sends hints through Redis."""

    def __init__(self, settings: Settings) -> None:
        from celery import Celery  # loaded by commands that send something, and by no others

        from config.broker import Messenger, transport

        app = Celery("producers", set_as_current=False)
        app.conf.update(transport(settings))
        self._app = app
        self._messenger = Messenger(app)

    def feed(self, batch: str, groups: Iterable[str]) -> None:
        """Say that these limit groups of a batch can be fed."""
        for group in groups:
            self._send(FEED, batch, group)

    def look(self, jobs: Iterable[str]) -> None:
        """Say that these jobs should be looked at."""
        for job in jobs:
            self._send(EDIT, job)

    def finish(self, batch: str) -> None:
        """Say that a batch may be at its end."""
        self._send(FINISH, batch)

    def close(self) -> None:
        """Close the connections to Redis."""
        self._app.close()

    def _send(self, task: str, *args: str) -> None:
        self._messenger.send(task, *args)
