"""The simulator's own record of what it accepted and charged, and its counts.

A line is on the disk before the POST is answered, so a crash of anybody leaves an independent account; lines
that arrive together share one fsync.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from simulator.accounts import Account
from simulator.tasks import Status, Task


class LedgerFile:
    """Appends JSON lines; `append` returns when the line is safe."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")
        self._lock = asyncio.Lock()
        self._waiting: list[bytes] = []
        self._added = 0
        self._safe = 0

    async def append(self, entry: dict[str, Any]) -> None:
        """Write `entry` and wait until it is on the disk."""
        self._waiting.append(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
        self._added += 1
        mine = self._added
        async with self._lock:
            if self._safe >= mine:
                return
            lines, self._waiting = self._waiting, []
            upto = self._added
            await asyncio.to_thread(self._write, b"".join(lines))
            self._safe = upto

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass(slots=True)
class Counts:
    """What has been seen, beside the tasks."""

    begun: int = 0
    """POSTs whose head came; the body of one that the client gave up never came whole."""
    posts: int = 0
    """POSTs that came whole, or that were reset."""
    received: int = 0
    """Bytes of bodies that came, whole or not."""
    polls: int = 0
    wrong_host_polls: int = 0
    downloads: int = 0
    key_leaks: int = 0
    """Requests to the delivery host that carried a key."""
    faults: Counter[str] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    """HTTP statuses of POSTs that were answered at all."""


def entry(task: Task, now: float) -> dict[str, Any]:
    """Return a task as the ledger shows it. It stays there after the API would have forgotten it."""
    return {
        "id": task.id,
        "n": task.number,
        "key": task.account.id,
        "model": task.model.name,
        "content": task.content,
        "prompt_sha256": sha256(task.prompt.encode()).hexdigest(),
        "charged": task.charged,
        "accepted_at": task.timeline.accepted_at,
        "ended_at": task.timeline.ends_at if _ended(task, now) else None,
        "status": _status(task, now),
        "result_sha256": task.result_sha256,
        "polls": task.polls,
        "downloads": task.downloads,
        "told_ready_at": task.told_ready_at,
        "downloaded_at": task.downloaded_at,
    }


def summary(tasks: Iterable[Task], accounts: Iterable[Account], counts: Counts, now: float) -> dict[str, Any]:
    """Return the totals; `repeated` counts the tasks that asked for an edit asked for before."""
    statuses: Counter[str] = Counter()
    contents: Counter[str] = Counter()
    not_delivered = 0
    for task in tasks:
        shown = _status(task, now)
        statuses[shown] += 1
        contents[task.content] += 1
        not_delivered += shown == Status.READY and task.downloads == 0
    keys: dict[str, Any] = {}
    charges: list[float] = []
    over_limit = crowded_out = 0
    for account in accounts:
        account.free(now)
        charges.append(account.charged)
        over_limit += account.over_limit
        crowded_out += account.crowded_out
        keys[account.id] = {
            "charged": _money(account.charged),
            "credits": _money(account.credits),
            "in_flight": {name: places for name, places in account.in_flight.items() if places},
            "peaks": account.peaks,
            "over_limit": account.over_limit,
        }
    return {
        "tasks": sum(contents.values()),
        "contents": len(contents),
        "repeated": sum(contents.values()) - len(contents),
        "not_delivered": not_delivered,
        "statuses": dict(statuses),
        "charged": _money(math.fsum(charges)),
        "over_limit": over_limit,
        "crowded_out": crowded_out,
        "keys": keys,
        "begun": counts.begun,
        "posts": counts.posts,
        "received": counts.received,
        "answers": {str(status): number for status, number in counts.answers.items()},
        "polls": counts.polls,
        "wrong_host_polls": counts.wrong_host_polls,
        "downloads": counts.downloads,
        "key_leaks": counts.key_leaks,
        "faults": dict(counts.faults),
    }


def _ended(task: Task, now: float) -> bool:
    return now >= task.timeline.ends_at and task.ending.status is not None


def _status(task: Task, now: float) -> str:
    status = task.ending.status if _ended(task, now) else task.status(now)
    return (status or Status.PENDING).value


def _money(amount: float) -> float:
    return round(amount, 4)
