"""The outcome: the final record of a job, one line of `outcomes.jsonl`.

Its keys are a contract with users' scripts: they are added to, never renamed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from jobs.events import cost_of, held_doubt
from jobs.job import Charge, Job, Receipt, State
from jobs.models import MICROS_PER_USD
from jobs.reasons import FLAGS


def usd(micros: int) -> float:
    """Return micro-dollars as dollars, exact to six places."""
    return round(micros / MICROS_PER_USD, 6)


def outcome(job: Job) -> dict[str, Any]:
    """Return the outcome of a job that is final, or held in doubt."""
    request, result, receipt = job.order.request, job.result, job.receipt
    return {
        "batch": job.order.batch,
        "job": job.id,
        "row": job.order.row,
        "id": job.order.id,
        "group": job.order.group,
        "round": job.round,
        "attempt": job.attempt,
        "state": str(job.state),
        "verdict": "flagged" if job.flags else "ok" if job.state in (State.STORED, State.UNCHANGED) else "",
        "reason": job.reason,
        "detail": job.detail,
        "flags": [flag for flag in job.flags if flag in FLAGS],
        "output": result.key if result else "",
        "fingerprint": job.fingerprint,
        "inputs": list(job.inputs),
        "model": request.model,
        "seed": job.seed if job.seed is not None else request.params.get("seed"),
        "task_id": receipt.task_id if receipt else "",
        "region": receipt.region if receipt else "",
        "cost_usd": usd(job.cost),
        "cost_source": job.cost_source,
        "expected_usd": usd(job.order.estimate),
        "charges": [_charge(charge) for charge in (*job.charges, *held_doubt(job))],
        "input_mp": receipt.input_mp if receipt else None,
        "output_mp": receipt.output_mp if receipt else None,
        "bytes": result.bytes if result else 0,
        "sha256": result.sha256 if result else "",
        "replaced_sha256": result.replaced_sha256 if result else "",
        "etag": result.etag if result else "",
        "format": result.format if result else "",
        "width": result.width if result else 0,
        "height": result.height if result else 0,
        "attempts": len(job.failures) + 1,
        "doubts": job.doubts,
        "duplicates": [],  # `late_line` adds to them when the report is made,
        "found": False,  # and `found_line` makes this true
        "at": {
            "queued": job.queued_at,
            "submitted": job.submitted_at or None,
            "ready": job.ready_at or None,
            "stored": job.stored_at or None,
            "ended": job.ended_at or None,
        },
        "how": job.how,
    }


def _charge(charge: Charge) -> dict[str, Any]:
    return {
        "attempt": charge.attempt,
        "day": charge.day,
        "key": charge.key_id,
        "source": charge.source,
        "cost_usd": usd(charge.cost),
        "maybe_usd": usd(charge.maybe),
    }


def outcome_line(job: Job) -> str:
    """Return the outcome as one line of JSON, without its line end."""
    return json.dumps(outcome(job), separators=(",", ":"))


LATE = "late_receipt"
"""The state of a line that is no outcome: a charge that became known when its job had ended."""


FOUND = "late_result"
"""The state of a line that is no outcome: a paid result that was filed when no job waited for it any more."""

BESIDE = frozenset({LATE, FOUND})
"""The states of lines that say something about a row beside its outcome."""


def found_line(
    *,
    batch: str,
    job: str,
    row: int,
    round_: int,
    attempt: int,
    task_id: str,
    fingerprint: str,
    paid: int,
    day: str = "",
    key: str = "",
) -> str:
    """Return the line that says of a row that what was `paid` for it (micro-dollars) is filed after all.

    It adds no cost: that is in the row's outcome. Where the ledger was lost in between, `found_charge` is.
    """
    line = {
        "batch": batch,
        "job": job,
        "row": row,
        "round": round_,
        "attempt": attempt,
        "state": FOUND,
        "task_id": task_id,
        "fingerprint": fingerprint,
        "cost_usd": 0.0,
        "paid_usd": usd(paid),
        "day": day,
        "key": key,
    }
    return json.dumps(line, separators=(",", ":"))


def late_line(job: Job, receipt: Receipt) -> str:
    """Return the line that adds a charge to a job's outcome. It names the row; the outcome is written already."""
    cost, guessed = cost_of(job, receipt.cost)
    line = {
        "batch": job.order.batch,
        "job": job.id,
        "row": job.order.row,
        "round": job.round,
        "attempt": job.attempt,
        "state": LATE,
        "fingerprint": job.fingerprint,
        "task_id": receipt.task_id,
        "polling_url": receipt.polling_url,
        "cost_usd": usd(cost),
        "cost_source": guessed or "receipt",
        "day": job.day,
        "key": job.key_id,
        "account": job.account,
        "model": job.order.request.model,
    }
    return json.dumps(line, separators=(",", ":"))


def found_charge(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a `found_line` says was charged, as one of an outcome's charges."""
    return {
        "attempt": line["attempt"],
        "day": line.get("day", ""),
        "key": line.get("key", ""),
        "source": "found",
        "cost_usd": line["paid_usd"],
        "maybe_usd": 0.0,
    }
