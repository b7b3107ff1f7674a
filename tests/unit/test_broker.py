"""Messages: hints that may be lost, sent to the queue that says how urgent they are."""

from typing import Any

import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from config.broker import Messenger
from jobs.queues import EDIT, FEED


class Recording(Celery):
    """An application that remembers what it was to send."""

    def __init__(self) -> None:
        super().__init__("test", set_as_current=False)
        self.sent: list[tuple[str, list[Any], str]] = []

    def send_task(self, name: str, args: Any = None, **options: Any) -> Any:  # type: ignore[override]
        self.sent.append((name, args, options["queue"]))


@pytest.mark.parametrize(
    ("task", "paid", "queue"), [(EDIT, False, "edits"), (EDIT, True, "paid"), (FEED, False, "house")]
)
def test_an_edit_with_a_receipt_goes_before_housekeeping_and_that_before_new_edits(
    task: str, paid: bool, queue: str
) -> None:
    app = Recording()

    Messenger(app).send(task, "autumn.1", paid=paid)

    assert app.sent == [(task, ["autumn.1"], queue)]


def test_a_hint_that_cannot_be_sent_is_dropped() -> None:
    class Away(Recording):
        def send_task(self, name: str, args: Any = None, **options: Any) -> Any:  # type: ignore[override]
            super().send_task(name, args, **options)
            raise OperationalError

    app = Away()

    Messenger(app).send(FEED, "autumn", "flux")

    assert len(app.sent) == 1
