"""Plain Celery, prefork, a process for each slot: one task loads, submits, polls, fetches and stores.

The worker is `celery -A bench.rivals.celery_blocking worker -c 24`; run as a program, this sends the manifest and
waits for the results.
"""

from __future__ import annotations

import time

from celery import Celery

from bench.rivals.place import (
    POLL_S,
    REDIS_URL,
    Done,
    Row,
    http_client,
    load,
    result_url,
    rows,
    s3_client,
    store,
    submit,
)
from bench.rivals.place import write_results as write

app = Celery("rivals", broker=REDIS_URL, backend=REDIS_URL)
app.conf.update(worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True)


@app.task(name="edit")
def edit(row: Row) -> Done:
    """Make one edit, from its picture to its stored result."""
    picture = load(s3_client(), row)
    receipt = submit(row, picture)
    url = None
    while url is None:
        time.sleep(POLL_S)
        url = result_url(receipt["polling_url"])
    result = http_client().get(url).raise_for_status().content
    return store(s3_client(), row, receipt["id"], result)


if __name__ == "__main__":
    sent = [edit.delay(row) for row in rows()]
    write([result.get() for result in sent])
