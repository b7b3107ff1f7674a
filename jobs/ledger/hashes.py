"""Reads the hashes in which Redis keeps jobs and batches.

What the scripts compare or count is a field of its own; the rest of a job is one JSON text, written at each move.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from jobs.batch import BatchState, Progress
from jobs.bounds import Stop
from jobs.job import Job, Order, State
from jobs.shares import Priority


def progress_of(found: Mapping[str, str]) -> Progress:
    """Return what the hash of a batch counts."""

    def under(name: str) -> dict[str, int]:
        return {key[len(name) :]: int(value) for key, value in found.items() if key.startswith(name)}

    costs = under("cost:")
    stops = {key[len("stop:") :]: Stop.from_text(text) for key, text in found.items() if key.startswith("stop:")}
    behind: dict[str, dict[str, int]] = {}
    for key, row in under("behind:").items():
        limit_group, _, group = key.partition(":")
        behind.setdefault(limit_group, {})[group] = row
    return Progress(
        state=BatchState(found["state"]),
        reason=found.get("reason", ""),
        cursors=under("cursor:"),
        staged=under("staged:"),
        hot=under("hot:"),
        waiting=int(found.get("waiting", 0)),
        counts=under("n:"),
        held=int(found.get("held", 0)),
        settled=int(found.get("settled", 0)),
        reserved=int(found.get("reserved", 0)),
        withheld=int(found.get("withheld", 0)),
        doubts=int(found.get("doubts", 0)),
        duplicates=int(found.get("duplicates", 0)),
        duplicates_cost=int(found.get("duplicates_cost", 0)),
        doubt_used=int(found.get("doubt_used", 0)),
        kept={spool: rows for spool, rows in under("kept:").items() if rows},
        first=int(found.get("first", 0)),
        first_cost=int(found.get("first_cost", 0)),
        first_expected=int(found.get("first_expected", 0)),
        stops=stops,
        stopped=int(found.get("stopped", 0)),
        behind=behind,
        calls=int(found.get("calls", 0)),
        retried=int(found.get("retried", 0)),
        moderated_cost=int(found.get("moderated_cost", 0)),
        about=json.loads(found.get("about") or "{}"),
        credits=json.loads(found.get("credits") or "{}"),
        reasons={code: (rows, costs.get(code, 0)) for code, rows in under("rows:").items() if rows},
        low=under("low:"),
        ceiling=int(found.get("ceiling", 0)),
        priority=Priority(found["priority"]) if "priority" in found else None,
        by=float(found.get("by", 0)),
        weight=float(found.get("weight", 0)),
        shares={group: places for group, places in under("share:").items() if places},
        aside={group: jobs for group, jobs in under("aside:").items() if jobs},
        finished_at=int(found.get("finished_at", 0)) / 1000,
        opening=found.get("opened", ""),
    )


def job_of(found: Mapping[str, str]) -> Job:
    """Return the job that a hash holds."""
    job = Job.from_json(
        Order.from_json(json.loads(found["order"])),
        json.loads(found["live"]),
        state=State(found["state"]),
        attempt=int(found["attempt"]),
        fence=int(found["fence"]),
        owner=found["owner"],
        intent=int(found.get("intent", 0)),
        sent=found["sent"] == "1",
        not_before=int(found["nb"]) / 1000,
    )
    return job if job.queued_at else replace(job, queued_at=int(found["at"]) / 1000)
