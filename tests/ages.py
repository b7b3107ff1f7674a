"""Time for tests over a real Redis, whose clock cannot be moved: what is compared with it is moved instead."""

from __future__ import annotations

import redis


def let_pass(client: redis.Redis, seconds: float) -> None:
    """Make everything of the ledger this much older; nobody else may write meanwhile."""
    ms = round(seconds * 1000)
    for key in [str(key) for key in client.scan_iter("retouch:*")]:
        left = client.pttl(key)
        if left > 0:
            client.pexpire(key, left - ms) if left > ms else client.delete(key)
        if key in ("retouch:leases", "retouch:due", "retouch:doubts", "retouch:batches"):
            for member in client.zrange(key, 0, -1):
                client.zincrby(key, -ms, str(member))
        if key.startswith(("retouch:job:", "retouch:batch:")):
            for name, value in client.hgetall(key).items():
                if str(name).startswith(("nb", "outcomes_at", "feeding:")) and int(value):
                    client.hset(key, name, int(value) - ms)


def let_doubts_pass(client: redis.Redis, seconds: float) -> None:
    """Make the waits of all doubts this much shorter, while workers are at work: a doubt stands still."""
    ms = round(seconds * 1000)
    for job in [str(job) for job in client.zrange("retouch:doubts", 0, -1)]:
        client.hincrby(f"retouch:job:{job}", "nb", -ms)
        client.zincrby("retouch:doubts", -ms, job)
