"""The Celery tasks: each takes a hint and hands it to the function that knows what to do. A hint may come twice."""

from __future__ import annotations

from jobs.queues import EDIT, FEED, FINISH, FLUSH, SETTLE
from workers import edit as editing
from workers import feed as feeding
from workers import finish as finishing
from workers import flush as flushing
from workers import settle as settling
from workers.app import app, process


@app.task(name=EDIT)
def edit(job: str) -> None:
    """Take a job as far as it goes now."""
    editing.edit(job, process.desk)


@app.task(name=FEED)
def feed(batch: str, group: str) -> None:
    """Create jobs of a batch's limit group until its window is full."""
    feeding.feed(batch, group, process.desk)


@app.task(name=FLUSH)
def flush(batch: str) -> None:
    """Write finished outcomes to the bucket."""
    flushing.flush(batch, process.desk)


@app.task(name=SETTLE)
def settle(job: str) -> None:
    """Decide about a doubt whose wait is over."""
    settling.settle(job, process.desk)


@app.task(name=FINISH)
def finish(batch: str) -> None:
    """Write a batch's report and close it."""
    finishing.finish(batch, process.desk)
