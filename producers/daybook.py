"""Rebuilds what was spent today from the outcomes in the bucket, for a Redis that was emptied or went back in time.

A ceiling of the day is over all batches, so those that have ended count too. Only what was written since the day began
is read.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket
from jobs.job import DOUBT, State
from jobs.ledger.port import Ledger
from jobs.models import MICROS_PER_USD
from jobs.money import Days, Sums
from jobs.outcome import LATE
from jobs.report.parts import write_parts
from jobs.spend import charges_of

LONGEST_DAY_S = 26 * 3600.0
"""A day with a change of clocks, and stores whose clocks differ from Redis's."""


def restore_today(batches: Collection[str], *, ledger: Ledger, bucket: Bucket, layout: Layout, days: Days) -> None:
    """Raise today's sums in the ledger to what the bucket knows. `batches` are about to be put right.

    Run twice it changes nothing. Doubts that are held in `batches` are left out: they are reserved again.

    Raises:
        StorageError, LedgerError: it was not done.
    """
    for batch in batches:
        write_parts(batch, ledger, bucket, layout)
    now = ledger.now()
    lines = list(_charged(bucket, layout, now - LONGEST_DAY_S))
    for simulated in (False, True):
        day = days.book(now, simulated=simulated)
        if sums := _sums(lines, day, batches):
            ledger.restore_day(day, sums)


def _charged(bucket: Bucket, layout: Layout, since: float) -> Iterator[dict[str, Any]]:
    """Yield what the lines of every batch say that was written since then: of each the charges alone."""
    folder = layout.prefix + "batches/"
    for head in bucket.keys(folder):
        batch, _, name = head.key.removeprefix(folder).partition("/")
        if not name.startswith("outcomes/") or (head.modified and head.modified < since):
            continue
        for text in filter(None, bucket.get(head.key).decode("utf-8").split("\n")):
            line = json.loads(text)
            known = {name: line.get(name) for name in ("row", "round", "attempt", "state", "task_id")}
            late = [{"day": "", "key": "", **line, "source": "receipt", "maybe_usd": 0.0}]
            charges = late if line["state"] == LATE else charges_of(line)
            facts = ("day", "key", "source", "cost_usd", "maybe_usd", "attempt")
            told = [{name: each[name] for name in facts} for each in charges]
            yield {**known, "batch": batch, "charges": told}


def _sums(lines: Collection[Mapping[str, Any]], day: str, reopened: Collection[str]) -> Mapping[str, Sums]:
    """Return what each key spent on a day, and all under an empty name. A line that came twice counts once."""
    seen: set[tuple[str, str]] = set()
    known: dict[tuple[Any, ...], tuple[str, int]] = {}
    maybe: dict[tuple[Any, ...], tuple[str, int]] = {}
    for line in sorted(lines, key=lambda line: bool(line["state"] == LATE)):
        if line["state"] == LATE and (line["batch"], line["task_id"]) in seen:
            continue
        seen.add((line["batch"], line["task_id"]))
        for charge in line["charges"]:
            late = line["task_id"] if line["state"] == LATE else ""
            which = (line["batch"], line["row"], line["round"], charge["attempt"], late)
            if charge["day"] != day:
                continue
            if charge["source"] != DOUBT:
                known[which] = (charge["key"], round(charge["cost_usd"] * MICROS_PER_USD))
            elif line["state"] != State.IN_DOUBT or line["batch"] not in reopened:
                maybe[which] = (charge["key"], round(charge["maybe_usd"] * MICROS_PER_USD))
    sums: dict[str, Sums] = {}
    for which, (key, cost) in known.items():
        _add(sums, key, cost, 0)
        maybe.pop(which, None)
    for key, cost in maybe.values():
        _add(sums, key, 0, cost)
    return sums


def _add(sums: dict[str, Sums], key: str, settled: int, doubt_used: int) -> None:
    for name in {"", key}:
        before = sums.get(name, Sums())
        sums[name] = Sums(settled=before.settled + settled, doubt_used=before.doubt_used + doubt_used)
