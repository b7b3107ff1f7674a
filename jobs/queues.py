"""The names by which producers, the tick and Celery know each other: tasks and queues, nothing else.

A message is a hint. Losing one costs seconds, doubling one costs nothing: the ledger decides.
"""

from __future__ import annotations

EDIT = "retouch.edit"
"""Take the job with this id as far as it goes."""
FEED = "retouch.feed"
"""Create jobs of a batch's limit group up to its window."""
FLUSH = "retouch.flush"
"""Write a batch's finished outcomes to the bucket."""
FINISH = "retouch.finish"
"""Write a batch's report, then close it."""
SETTLE = "retouch.settle"
"""Decide about a doubt whose wait is over."""

PLAN_FIRING = "retouch.plan_firing"
"""Plan and open what a schedule wants at one firing time."""
PLAN_UPLOAD = "retouch.plan_upload"
"""Plan and answer a manifest that was dropped in the inbox."""

PAID_QUEUE = "paid"
"""Edits that have a receipt: their result waits and its URL dies, so workers look here first."""
HOUSE_QUEUE = "house"
EDIT_QUEUE = "edits"
INTAKE_QUEUE = "intake"
"""The producers' own; workers do not look at it."""

QUEUES = (PAID_QUEUE, HOUSE_QUEUE, EDIT_QUEUE)
"""In the order in which a worker looks at them."""

KEY_PREFIX = "retouch:celery:"
"""Every key of Celery's in Redis starts with it, so a shared Redis cannot mix messages of two applications."""
