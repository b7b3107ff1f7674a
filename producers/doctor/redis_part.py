"""Looks at Redis: whether it may be trusted with the record of edits that are under way.

The judgement (`judged`) is pure: it reads what `INFO`, `CONFIG GET` and `TIME` said. A hosted Redis often refuses
`CONFIG`, so what only that could tell is then said to be unknown.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from producers.doctor.findings import Finding, broken, ok, warning

PART = "redis"
OLDEST = (6, 2)
FULL, NEARLY_FULL = 0.98, 0.8
CLOCKS_APART_S = 5.0
_ANSWER_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a Redis says of itself. `ahead_s` is how far its clock is ahead of ours; `appendfsync` "" if untold."""

    info: Mapping[str, Any] = field(default_factory=dict)
    appendfsync: str = ""
    ahead_s: float = 0.0


def look_at_redis(url: str) -> list[Finding]:
    """Return what is to be said of the Redis at `url`; nothing is written to it."""
    try:
        client = redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=_ANSWER_S,
            socket_connect_timeout=_ANSWER_S,
            retry=Retry(NoBackoff(), 0),
        )
    except ValueError:
        return [broken(PART, "RETOUCH_REDIS__URL is no URL of a Redis.", "Write it as redis://:PASSWORD@HOST:6379/0.")]
    with closing(client):
        try:
            return judged(_facts(client))
        except redis.AuthenticationError:
            return [broken(PART, "Redis refuses the password.", "Correct the password in RETOUCH_REDIS__URL.")]
        except redis.exceptions.NoPermissionError:
            sentence = "Redis lets this user in but not look at INFO and TIME."
            return [broken(PART, sentence, "Give the user of RETOUCH_REDIS__URL the rights +@all on retouch keys.")]
        except redis.RedisError as error:
            sentence = f"Redis does not answer ({type(error).__name__})."
            return [broken(PART, sentence, "Start it, or correct host and port in RETOUCH_REDIS__URL.")]


def _facts(client: redis.Redis) -> Facts:
    before = time.time()
    seconds, micros = client.time()
    after = time.time()
    info: Mapping[str, Any] = client.info()
    try:
        told: Mapping[Any, Any] = client.config_get("appendfsync")
    except redis.ResponseError:  # hosted: CONFIG is not for us
        told = {}
    ahead = seconds + micros / 1e6 - (before + after) / 2
    return Facts(info=info, appendfsync=str(told.get("appendfsync", "")), ahead_s=ahead)


def judged(facts: Facts) -> list[Finding]:
    """Return a finding for each thing that matters, in the order of the check."""
    return [
        *_version(facts.info),
        *_role(facts.info),
        *_eviction(facts.info),
        *_memory(facts.info),
        *_persistence(facts),
        *_clock(facts.ahead_s),
    ]


def _version(info: Mapping[str, Any]) -> Iterator[Finding]:
    text = str(info.get("redis_version", "0"))
    found = tuple(int(part) for part in text.split(".")[:2] if part.isdigit())
    if found < OLDEST:
        yield broken(PART, f"This is Redis {text}; Retouch needs 6.2 or later.", "Install Redis 6.2 or later.")
    else:
        yield ok(PART, f"Redis {text} answers.")


def _role(info: Mapping[str, Any]) -> Iterator[Finding]:
    if info.get("role") == "slave":
        yield broken(PART, "This Redis is a replica and takes no writes.", "Let RETOUCH_REDIS__URL name the primary.")
    if info.get("cluster_enabled"):
        sentence = "This Redis is a cluster, and a job's step writes several keys at once, which a cluster refuses."
        yield broken(PART, sentence, "Use a single Redis (with replicas, if you like).")


def _eviction(info: Mapping[str, Any]) -> Iterator[Finding]:
    policy = str(info.get("maxmemory_policy", "noeviction"))
    if policy == "noeviction":
        yield ok(PART, "It evicts nothing (noeviction).")
        return
    loses = "locks and fingerprints" if policy.startswith("volatile") else "jobs whose edits are paid for"
    remedy = "Set `maxmemory-policy noeviction` (CONFIG SET, and in redis.conf)."
    if info.get("maxmemory"):
        yield broken(PART, f"Redis throws away {loses} when its memory is full (maxmemory-policy {policy}).", remedy)
    else:
        yield warning(PART, f"Redis would throw away {loses} if a maxmemory were set ({policy}).", remedy)


def _memory(info: Mapping[str, Any]) -> Iterator[Finding]:
    most, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if not most:
        yield ok(PART, f"It uses {_mb(used)} and has no maxmemory.")
        return
    remedy = "Raise maxmemory; a batch needs a few MB whatever its size, so look what else lies in this Redis."
    said = f"{_mb(used)} of its {_mb(most)} are used"
    if used >= most * FULL:
        yield broken(PART, f"Redis is full ({said}): no new edit is begun, paid ones still come home.", remedy)
    elif used >= most * NEARLY_FULL:
        yield warning(PART, f"Redis is nearly full ({said}): when it is, no new edit is begun.", remedy)
    else:
        yield ok(PART, f"{said[0].upper()}{said[1:]}.")


def _persistence(facts: Facts) -> Iterator[Finding]:
    info = facts.info
    if info.get("aof_enabled") and info.get("aof_last_write_status", "ok") != "ok":
        sentence = "Redis cannot write its append-only file, so it refuses every write."
        yield broken(PART, sentence, "Make room on its disk, or mend the disk.")
        return
    if not info.get("aof_enabled"):
        sentence = "Redis has no append-only file: after its restart, edits that were at the API are paid for and lost."
        remedy = "Set `appendonly yes` (and `appendfsync always`, or `everysec`)."
        yield warning(PART, sentence, remedy)
        return
    if facts.appendfsync == "always":
        yield ok(PART, "Every write is on its disk before it is answered (AOF, fsync always).")
    elif facts.appendfsync == "everysec":
        sentence = "A power cut at Redis may lose its last second: edits begun in it could be paid for twice."
        yield warning(PART, sentence, "Set `appendfsync always` if your disk is fast enough, or accept it.")
    elif facts.appendfsync == "no":
        sentence = "Redis leaves writing to the system (appendfsync no): a power cut may lose half a minute of edits."
        yield warning(PART, sentence, "Set `appendfsync always` or `everysec`.")
    else:
        yield ok(PART, "It keeps an append-only file; it does not tell how often that is forced to the disk.")


def _clock(ahead_s: float) -> Iterator[Finding]:
    if abs(ahead_s) <= CLOCKS_APART_S:
        yield ok(PART, "Its clock and this machine's agree.")
        return
    which = "ahead of" if ahead_s > 0 else "behind"
    sentence = f"Redis's clock is {abs(ahead_s):,.0f} s {which} this machine's: schedules and deadlines go by Redis's."
    yield warning(PART, sentence, "Let NTP set the clock of both machines.")


def _mb(size: int) -> str:
    return f"{size / 1_000_000:,.1f} MB"
