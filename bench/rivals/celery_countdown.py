"""Celery with a countdown retry for each poll, so that no process waits: as many lanes as slots.

A lane takes a row off a list in Redis, submits it, looks again every half second by a retry, stores the result and
takes the next row; so the limit is kept without a counter. The worker is `celery -A bench.rivals.celery_countdown
worker -c 8`; run as a program, this fills the list, starts the lanes and waits for the last result.
"""

from __future__ import annotations

import json
import time
from functools import cache

import redis
from celery import Celery, Task

from bench.rivals.place import POLL_S, REDIS_URL, SLOTS, Row, http_client, load, result_url, rows, s3_client, store
from bench.rivals.place import submit as submitted
from bench.rivals.place import write_results as write

WAITING, DONE = "rivals:waiting", "rivals:done"

app = Celery("rivals", broker=REDIS_URL)
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)


@cache
def lists() -> redis.Redis:
    """Return this process's client of the lists."""
    return redis.Redis.from_url(REDIS_URL, decode_responses=True)


@app.task(name="start")
def start() -> None:
    """Take the next row, if there is one, and submit it."""
    taken = lists().lpop(WAITING)
    if taken is not None:
        row: Row = json.loads(str(taken))
        receipt = submitted(row, load(s3_client(), row))
        finish.apply_async((row, receipt["id"], receipt["polling_url"]), countdown=POLL_S)


@app.task(name="finish", bind=True, max_retries=None)
def finish(self: Task[..., None], row: Row, task_id: str, polling_url: str) -> None:
    """Look whether an edit is ready, later again if not; store it and go on with the next row."""
    url = result_url(polling_url)
    if url is None:
        raise self.retry(countdown=POLL_S)
    start.delay()
    result = http_client().get(url).raise_for_status().content
    lists().rpush(DONE, json.dumps(store(s3_client(), row, task_id, result)))


if __name__ == "__main__":
    wanted = rows()
    lists().rpush(WAITING, *(json.dumps(row) for row in wanted))
    for _ in range(SLOTS):
        start.delay()
    while int(str(lists().llen(DONE))) < len(wanted):
        time.sleep(0.2)
    write([json.loads(line) for line in lists().lrange(DONE, 0, -1)])
