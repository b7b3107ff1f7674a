"""The ledger in Redis: each change is one Lua script, time is Redis's, a lost reply changes nothing.

Give it a client with `decode_responses=True`. One process shares one `RedisLedger` over all its threads.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from jobs.batch import Batch, BatchState, Progress
from jobs.errors import Superseded
from jobs.job import Job, Order
from jobs.ledger.books import MONEY, RESTORED
from jobs.ledger.change import (
    ASIDE_AGAIN_S,
    CEILINGS,
    DOUBT_AGAIN_S,
    FRONT_S,
    PARTS_A_ROUND,
    RESEND_S,
    TOMBSTONE_S,
    Change,
    Closed,
)
from jobs.ledger.hashes import job_of, progress_of
from jobs.ledger.leases import LEASE_MS, Leases
from jobs.ledger.life import RedisLife
from jobs.ledger.places import RedisPlaces
from jobs.ledger.port import NO_STEPS, Claim, Hint, Recorded, Restored, Steps
from jobs.money import NO_CAPS, UNPROVED, Caps, Sums

_RESEND_MS = round(RESEND_S * 1000)


def connect(url: str, *, connections: int = 200) -> redis.Redis:
    """Return a client for the ledger; a half-open connection is noticed within 15 s.

    Three repeats of a failed command are safe, because every script answers the same for the same token.
    """
    over_tcp = {} if url.startswith("unix:") else {"socket_keepalive": True}
    pool = redis.BlockingConnectionPool.from_url(
        url,
        **over_tcp,
        max_connections=connections,
        timeout=10,
        decode_responses=True,
        socket_timeout=15,
        socket_connect_timeout=5,
        health_check_interval=10,
        client_name="retouch",
        retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), 3),
    )
    return redis.Redis(connection_pool=pool)


class RedisLedger(Leases, RedisPlaces, RedisLife):
    """Keeps the contract of `jobs.ledger.port.Ledger` in Redis 6.2 or later (or Valkey)."""

    # -- batches

    def open_batch(self, batch: Batch) -> bool:
        """Start a batch; False if it is known already."""
        known = _opened(batch)
        flat: list[str | int] = [batch.id, uuid.uuid4().hex]
        for field, value in known.items():
            flat += [field, value]
        k = self._keys
        return bool(self._script("open", [k.batch(batch.id), k.batches], flat)[0] == "done")

    def batch(self, batch: str) -> tuple[Batch, Progress] | None:
        """Return a batch that the ledger holds."""
        found: dict[str, str] = self._guarded(self._client.hgetall, self._keys.batch(batch))
        if "agreed" not in found:
            return None
        return Batch.from_json(found["agreed"]), progress_of(found)

    def batches(self) -> Sequence[str]:
        """Return the ids of the batches that the ledger holds, oldest first."""
        found: list[str] = self._guarded(self._client.zrange, self._keys.batches, 0, -1)
        return found

    def set_state(
        self,
        batch: str,
        state: BatchState,
        reason: str,
        *,
        only_from: Sequence[BatchState],
        only_reason: str | None = None,
        about: Mapping[str, Any] | None = None,
        opening: str = "",
    ) -> bool:
        """Move a batch's state if it is one of `only_from`, and waits for `only_reason` if one is given."""
        k = self._keys
        keys = [k.batch(batch), k.jobs(batch), k.due, k.absent]
        facts = json.dumps(about) if about else ""
        args = [str(state), reason, k.job(""), facts, "*" if only_reason is None else only_reason, opening]
        args += [str(s) for s in only_from]
        return bool(self._script("set_state", keys, args)[0] == "done")

    def resume_groups(self, batch: str, group: str = "") -> None:
        """Let a stopped group go on, or all of them, with a fresh window."""
        k = self._keys
        self._script("resume_groups", [k.batch(batch), k.jobs(batch), k.due, k.absent], [k.job(""), group])

    def set_ceiling(self, batch: str, micros: int) -> None:
        """Let a batch spend this much in all (micro-dollars)."""
        self._set_fields(batch, ["ceiling", micros])

    def mark_finished(self, batch: str, *, opening: str = "") -> bool:
        """Note that a batch's report lies in the bucket as of now."""
        return self._set_fields(batch, ["finished_at", round(self.now() * 1000)], opening)

    def stage(self, batch: str, group: str, rows: int) -> None:
        """Raise the mark up to which a group's rows can be fed."""
        self._script("stage", [self._keys.batch(batch)], [group, rows])

    def feed(
        self,
        batch: str,
        group: str,
        cursor: int,
        orders: Sequence[Order],
        *,
        low: int,
        round_: int = 1,
        steps: Steps = NO_STEPS,
        opening: str = "",
    ) -> bool:
        """Create these jobs and move the cursor past them, if it stands at `cursor`."""
        k = self._keys
        op = uuid.uuid4().hex
        to = cursor + len(orders) if steps.to is None else steps.to
        args: list[str | int] = [group, cursor, to, steps.behind, op, low, _RESEND_MS]
        blank = Job(order=orders[0], round=round_).live_json() if orders else {}
        args += [json.dumps(blank, separators=(",", ":")), opening, len(steps.over)]
        for over in steps.over.items():
            args += over
        for order in orders:
            args += [order.job, json.dumps(order.as_json(), separators=(",", ":")), order.bound]
        keys = [k.batch(batch), k.jobs(batch), k.due, *(k.job(order.job) for order in orders)]
        return bool(self._script("feed", keys, args)[0] == "done")

    def jobs_of(self, batch: str) -> Sequence[str]:
        """Return the ids of the batch's jobs that the ledger holds."""
        found: set[str] = self._guarded(self._client.smembers, self._keys.jobs(batch))
        return sorted(found)

    def take_outcomes(self, batch: str) -> tuple[int, Sequence[str]] | None:
        """Set the batch's finished outcomes apart as a numbered part."""
        k = self._keys
        answer = self._script("take_outcomes", [k.batch(batch), k.outcomes(batch), k.absent], [])
        return None if answer[0] == "none" else (int(answer[2]), answer[3])

    def drop_outcomes(self, batch: str, part: int) -> None:
        """Forget a part that is safe in the bucket."""
        k = self._keys
        self._script("drop_outcomes", [k.batch(batch), k.outcomes(batch, part)], [part])

    def outcomes(self, batch: str) -> Sequence[str]:
        """Return the finished outcomes that are not known to lie in the bucket; they stay where they are."""
        k = self._keys
        found: list[str] = self._guarded(self._client.lrange, k.outcomes(batch), 0, -1)
        part = self._guarded(self._client.hget, k.batch(batch), "part_pending")
        if part:
            found += self._guarded(self._client.lrange, k.outcomes(batch, int(part)), 0, -1)
        return found

    def outcomes_waiting(self, batch: str) -> tuple[int, float]:
        """Return how many outcomes wait to be set apart, and for how many seconds the oldest has."""
        k = self._keys
        pipe = self._client.pipeline(transaction=False)
        pipe.llen(k.outcomes(batch))
        pipe.hmget(k.batch(batch), ["outcomes_at", "part_pending"])
        length, (since, pending) = self._guarded(pipe.execute)
        if pending:
            return max(int(length), 1), 1e9
        return int(length), max(self.now() - int(since or 0) / 1000, 0.0) if length else 0.0

    def forget(self, batch: str, *, if_flushed: bool = False, opening: str = "") -> bool:
        """Remove everything of a batch; with `if_flushed` only if no job is left and no outcome waits to be written."""
        k = self._keys
        keys = [k.batch(batch), k.jobs(batch), k.outcomes(batch), k.batches, k.leases, k.due, k.doubts]
        args: list[str | int] = [batch, k.job(""), int(if_flushed), opening, k.money(""), k.bought("")]
        return bool(self._script("forget", keys, args)[0] == "done")

    def restore(self, batch: Batch, restored: Restored) -> bool:
        """Put a batch back, paused; False where the ledger holds it."""
        k = self._keys
        known = {**_opened(batch), "state": str(BatchState.PAUSED), "reason": "operator"}
        known |= {f"cursor:{group}": cursor for group, cursor in restored.cursors.items()}
        known |= {f"staged:{group}": rows for group, rows in restored.staged.items()}
        known |= {f"n:{state}": count for state, count in restored.counts.items()}
        for code, (rows, cost) in restored.reasons.items():
            known |= {f"rows:{code}": rows, f"cost:{code}": cost}
        known |= {name: getattr(restored, name) for name in RESTORED}
        known |= {f"price_paid:{model}": paid for model, paid in restored.price_paid.items()}
        known |= {f"price_due:{model}": due for model, due in restored.price_due.items()}
        flat = [part for pair in known.items() for part in pair]
        args: list[str | int] = [batch.id, uuid.uuid4().hex, _RESEND_MS, len(flat), *flat]
        for order in restored.orders:
            blank = json.dumps(Job(order=order, round=batch.round).live_json(), separators=(",", ":"))
            args += [order.limit_group, json.dumps(order.as_json(), separators=(",", ":")), blank]
            args.append(order.bound)
        keys = [k.batch(batch.id), k.jobs(batch.id), k.due, k.batches, *(k.job(each.job) for each in restored.orders)]
        return bool(self._script("restore", keys, args)[0] == "done")

    def restore_day(self, day: str, sums: Mapping[str, Sums]) -> None:
        """Let a day, and each API key on it, have settled and used for doubts at least this."""
        args: list[str | int] = []
        for key, known in sums.items():
            suffix = f":{key}" if key else ""
            args += [f"settled{suffix}", known.settled, f"doubt_used{suffix}", known.doubt_used]
        self._script("restore_day", [self._keys.money(day)], args)

    # -- jobs

    def load(self, job: str) -> Job | None:
        """Return a job that is not final, as it stands."""
        found: dict[str, str] = self._guarded(self._client.hgetall, self._keys.job(job))
        return job_of(found) if "order" in found else None

    def claim(self, job: str, owner: str, *, spool: str = "") -> Claim:
        """Take a job into ownership under a new fence, if it is there to be worked on by who has this spool."""
        k = self._keys
        keys = [k.job(job), k.batch(_batch_of(job)), k.leases, k.due]
        op, again_ms = uuid.uuid4().hex, round(ASIDE_AGAIN_S * 1000)
        answer = self._script("claim", keys, [job, owner, op, LEASE_MS, _RESEND_MS, spool, again_ms])
        if answer[0] != "claimed":
            return Claim(job=None, why=answer[0])
        state = BatchState(answer[2]) if answer[2] else BatchState.DONE
        pairs = answer[3]
        fields = dict(pairs) if isinstance(pairs, dict) else dict(zip(pairs[::2], pairs[1::2], strict=True))
        return Claim(job=job_of(fields), batch_state=state, weight=float(answer[4]))

    def record(self, before: Job, after: Job, *, op: str = "") -> Recorded:
        """Carry out a transition if the job still is `before`."""
        return self._move("record", before, after, op or uuid.uuid4().hex, [self._keys.absent], [])

    def begin(
        self, before: Job, after: Job, *, looked_at: float = 0.0, caps: Caps = NO_CAPS, only_ask: bool = False
    ) -> Recorded:
        """Carry out the beginning of a submission, if slot, money and fingerprint are free."""
        sizes = [group.size for group in self._catalogue.lineage(after.order.limit_group)]
        return self._move(
            "begin",
            before,
            after,
            "" if only_ask else uuid.uuid4().hex,
            [
                *self._limit_keys(after.account, after.order.limit_group),
                *self._front_keys(after.account, after.order.limit_group),
                self._keys.epoch,
                self._keys.throttle(after.account),
            ],
            [
                UNPROVED,
                round(looked_at * 1000),
                _or_none(caps.day),
                _or_none(caps.key_day),
                *sizes,
                self._trusted.id,
                self._trusted.intents,
                round(FRONT_S * 1000),
            ],
        )

    def resubmit(self, before: Job, after: Job) -> Recorded:
        """Carry out a doubt's return to the queue, if the batch's allowance carries it."""
        return self._move("resubmit", before, after, uuid.uuid4().hex, [], [])

    def _move(
        self, name: str, before: Job, after: Job, op: str, keys: Sequence[str], args: Sequence[str | int]
    ) -> Recorded:
        k = self._keys
        batch = after.order.batch
        all_keys = [
            k.job(after.id),
            k.batch(batch),
            k.jobs(batch),
            k.outcomes(batch),
            k.leases,
            k.due,
            k.doubts,
            k.bought(after.fingerprint or "none"),
            k.money(after.day or "none"),
            *self._slot_keys(after.account, after.order.limit_group),
            *keys,
        ]
        change = Change.of(before, after, self.now()).as_json()
        answer = self._script(name, all_keys, [change, k.freed, op, TOMBSTONE_S, LEASE_MS, *args])
        if answer[0] == "open":
            return Recorded()
        if answer[0] in ("missing", "superseded"):
            raise Superseded(f"{after.id} was moved by somebody else ({answer[0]})")
        if answer[0] != "done":
            closed, figure = Closed(answer[0]), int(answer[2])
            return Recorded(
                closed=closed,
                wait_s=figure / 1000 if closed is Closed.THROTTLED else 0.0,
                needed=figure if closed in CEILINGS else 0,
            )
        intent = int(answer[3]) if len(answer) > 3 else 0
        self._trusted = replace(self._trusted, intents=max(self._trusted.intents, intent))
        more = len(answer) < 5 or answer[4] == 1  # asked again after a lost reply, it does not know any more
        return Recorded(feed_wanted=answer[2] == 1, none_left=answer[2] == 2, intent=intent, more=more)

    def mark_sent(self, job: Job) -> Job:
        """Write that the last part of the body leaves now; raises Superseded if it may not leave any more."""
        k = self._keys
        keys = [k.job(job.id), k.batch(job.order.batch)]
        answer = self._script("sent", keys, [job.attempt, job.fence])
        if answer[0] != "done":
            raise Superseded(f"{job.id} may not be sent any more ({answer[0]})")
        return replace(job, sent=True)

    def late_receipt(self, batch: str, line: str, cost: int, *, day: str = "", key: str = "") -> bool:
        """Record a charge for a job that has ended: an outcome line and its cost; False without such a batch."""
        k = self._keys
        token = hashlib.sha256(line.encode()).hexdigest()[:32]  # of the line: it may be told twice, by two processes
        keys = [k.batch(batch), k.outcomes(batch), k.op(token), k.money(day or "none"), k.absent]
        return bool(self._script("late", keys, [line, cost, day, key])[0] == "done")

    def money(self, day: str, key: str = "") -> Sums:
        """Return what all batches have spent and reserved on a day, or one API key has."""
        names = [name + (f":{key}" if key else "") for name in MONEY]
        found = self._guarded(self._client.hmget, self._keys.money(day), names)
        return Sums(**{name: int(value or 0) for name, value in zip(MONEY, found, strict=True)})

    # -- housekeeping

    def due(self, limit: int) -> Sequence[Hint]:
        """Return jobs that want a message, and note that they were sent one."""
        found = self._script("due", [self._keys.due, self._keys.absent], [limit, _RESEND_MS, self._keys.job("")])[2]
        return [Hint(job=job, paid=paid == "1") for job, paid in zip(found[::2], found[1::2], strict=True)]

    def doubts_due(self, limit: int) -> Sequence[str]:
        """Return jobs whose doubt has waited long enough, and look at them again later."""
        keys = [self._keys.doubts, self._keys.absent]
        found: list[str] = self._script("later", keys, [limit, DOUBT_AGAIN_S * 1000])[2]
        return found


def _or_none(cap: int | None) -> int:
    return -1 if cap is None else cap


def _opened(batch: Batch) -> dict[str, str | int]:
    """Return the hash of a batch of which nothing has run."""
    known: dict[str, str | int] = {
        "agreed": batch.as_json(),
        "state": str(BatchState.OPEN),
        "reason": "",
        "ceiling": batch.ceiling,
        "allowance": batch.allowance,
        "settled": 0,
        "reserved": 0,
        "parts": (batch.round - 1) * PARTS_A_ROUND,
        "to_feed": sum(batch.groups.values()),
        "lone": int(batch.lone),
    }
    known |= {f"most:{name}": most for name, most in asdict(batch.bounds).items()}
    for group, rows in batch.groups.items():
        known[f"cursor:{group}"] = 0
        known[f"staged:{group}"] = 0 if batch.local else rows
        known[f"low:{group}"] = 1
    return known


def _batch_of(job: str) -> str:
    return job.rpartition(".")[0]
