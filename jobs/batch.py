"""A batch: one accepted manifest, what was agreed about it, and how far it has come.

`Batch` is what was agreed and lies in the bucket as `batch.json`; `Progress` is what the ledger counts. The batch
document, which scripts read, is made of both (`document`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Self

from jobs.bounds import Bounds, Stop
from jobs.credits import said
from jobs.job import State
from jobs.money import Reached
from jobs.outcome import usd
from jobs.reasons import REASONS
from jobs.report.waiting import why_waits
from jobs.shares import Priority

ROWS_PER_CHUNK = 256
UNCHANGED_PER_CHUNK = 1_000
"""Nobody waits for rows that the plan has settled, so they come in larger chunks."""
STAGED_ROWS_PER_CHUNK = 32
"""Local pictures are staged in smaller chunks, so that the first of them can be fed soon."""


class BatchState(StrEnum):
    """Where a batch stands. `done`: every job is final or held in doubt."""

    PLANNED = "planned"
    OPEN = "open"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """How the manifest was written, so that `results.csv` can be written the same way.

    `form` is `csv` or `jsonl`; `columns` are a table's header cells in order (for JSON lines, every key in the
    order of first sight). `newline` is the line end that the file used.
    """

    form: str = "csv"
    columns: tuple[str, ...] = ()
    delimiter: str = ","
    encoding: str = "utf-8"
    bom: bool = False
    newline: str = "\n"
    sep: str = ""
    """The line before the header that tells Excel the delimiter (`sep=;`), as it stood there."""
    data_columns: tuple[str, ...] = ()
    """Columns that were said to be data whatever they look like; `failed.csv` leaves them out."""
    several: bool = False
    """A source profile may make several jobs of a row, so that results have lists in what they add."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What was agreed. Money in micro-dollars; `groups` counts the rows of each limit group."""

    id: str
    name: str
    created_at: float
    rows: int
    groups: Mapping[str, int]
    ahead: Mapping[str, int] = field(default_factory=dict)
    """How many rows come first in each limit group although others were before them: the new ones of a schedule. Rows
    ascend up to there, and after it again."""
    chunk_rows: int = ROWS_PER_CHUNK
    local: bool = False
    """Some inputs lie on the planner's disk; feeding stops at the staged mark."""
    origin: str = "bfl"
    simulated: bool = False
    expected: int
    at_most: int
    ceiling: int
    bounds: Bounds = field(default_factory=Bounds)
    """How many failures it bears before it, or a group of it, stops."""
    lone: bool = False
    """All its rows are of one group, so that what stops the group stops the batch."""
    allowance: int
    """What resubmitting doubts may cost, in all."""
    priority: Priority = Priority.NORMAL
    by: float = 0.0
    """When it is to be done (epoch seconds); 0 is no matter when."""
    estimate: tuple[Mapping[str, Any], ...] = ()
    """What `expected` and `at_most` are made of, as documents show it; the items add up to them."""
    overwrite: bool = False
    fresh: bool = False
    skipped: int = 0
    """Invalid rows that were left out with --skip-invalid."""
    idle: int = 0
    """Lines beside the plan for rows that no job is made of (`IdleRow`); results have them too."""
    unchanged: int = 0
    """Rows that the plan itself has settled: they are in `rows`, but in no group, and never become jobs."""
    gone: int = 0
    """Outputs of earlier batches of the name that the plan found to lie at their keys no more."""
    manifest: str = ""
    table: Table = field(default_factory=Table)
    round: int = 1

    def as_json(self) -> str:
        """Return `batch.json`; `from_json` reads it back."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the batch that `as_json` wrote. Fields of a later release are ignored."""
        known = {f.name for f in fields(cls)}
        data = {key: value for key, value in json.loads(text).items() if key in known}
        table = data["table"]
        lists = {name: tuple(table.get(name, ())) for name in ("columns", "data_columns")}
        data["table"] = Table(**{**table, **lists})
        data["estimate"] = tuple(data.get("estimate", ()))
        data["bounds"] = Bounds(**data.get("bounds", {}))
        data["priority"] = Priority(data.get("priority", Priority.NORMAL))
        return cls(**data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What the ledger counts of a batch. `counts` covers the rows that were fed; `document` adds the rest."""

    state: BatchState
    reason: str = ""
    cursors: Mapping[str, int]
    """Rows fed so far, by limit group."""
    staged: Mapping[str, int]
    """Rows whose inputs can be read by workers, by limit group."""
    hot: Mapping[str, int]
    """Jobs that hold or want a slot, by limit group."""
    waiting: int = 0
    """Jobs that wait for a time, a person or storage."""
    counts: Mapping[str, int]
    held: int = 0
    settled: int = 0
    reserved: int = 0
    doubts: int = 0
    withheld: int = 0
    """The part of `reserved` that belongs to doubts held for a person."""
    doubt_used: int = 0
    """What resubmissions of doubts have used of the allowance."""
    duplicates: int = 0
    """Charges that became known for jobs that had ended, or been bought again."""
    duplicates_cost: int = 0
    """What these have cost; `settled` has it too."""
    kept: Mapping[str, int] = field(default_factory=dict)
    """Results that lie on a worker's disk until storage is back, by the disk."""
    first: int = 0
    first_cost: int = 0
    first_expected: int = 0
    """How many edits were settled first (20 at the most), what they cost and were expected to cost."""
    stops: Mapping[str, Stop] = field(default_factory=dict)
    """The groups of the manifest that are stopped, and why."""
    stopped: int = 0
    """Jobs of these that wait for them to go on; `waiting` has them too."""
    behind: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By limit group: groups whose rows the feed has stepped over, and from where on (the cursor is where to)."""
    calls: int = 0
    """Edits that were asked of the API for the first time,"""
    retried: int = 0
    """and how often one was asked again after a failure."""
    moderated_cost: int = 0
    """What moderated rows have cost since the batch was last resumed."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """Further facts about why the batch waits."""
    credits: Mapping[str, Any] = field(default_factory=dict)
    """What the account's credits said of the doubts that are held (`jobs.credits`)."""
    reasons: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """For each reason code: rows that ended with it, and what they cost."""
    low: Mapping[str, int] = field(default_factory=dict)
    """The number of hot jobs under which the next feed is wanted, by limit group."""
    ceiling: int = 0
    """What the batch may spend in all; it can be raised after it was agreed."""
    priority: Priority | None = None
    by: float = 0.0
    """What `retouch priority` made of both; None is what was agreed."""
    weight: float = 0.0
    """What it weighs beside other open batches (`jobs.shares`); 0 while it is alone."""
    shares: Mapping[str, int] = field(default_factory=dict)
    """Places of the window that are its own, by limit group, where others want some too."""
    aside: Mapping[str, int] = field(default_factory=dict)
    """Jobs that left their places to other batches for now, by limit group."""
    finished_at: float = 0.0
    opening: str = ""
    """Tells one opening of the batch from the next: each round has another, and so has a batch that was put right."""

    @property
    def live(self) -> int:
        """Jobs that are neither final nor held for a person."""
        ended = sum(self.counts.get(s, 0) for s in ("stored", "unchanged", "moderated", "failed", "cancelled"))
        return sum(self.counts.values()) - ended - self.held

    def urgency(self, batch: Batch) -> tuple[Priority, float]:
        """Return the priority of a batch and its deadline (epoch seconds, 0 for none) as they are now."""
        return (batch.priority, batch.by) if self.priority is None else (self.priority, self.by)


def document(batch: Batch, progress: Progress, report: str = "") -> dict[str, Any]:
    """Return the batch document: the shape is a contract; keys are added, never renamed.

    Counts add up to `rows` always: rows not yet fed count as `queued`.
    """
    counts = {str(state): int(progress.counts.get(state, 0)) for state in State}
    counts["unchanged"] += batch.unchanged
    counts["queued"] += max(batch.rows - sum(counts.values()), 0)
    priority, by = progress.urgency(batch)
    found = {
        "batch": batch.id,
        "name": batch.name,
        "round": batch.round,
        "state": str(progress.state),
        "reason": progress.reason,
        "rows": batch.rows,
        "skipped": batch.skipped,
        "counts": counts,
        "held": progress.held,
        "kept_on": [{"spool": spool, "rows": rows} for spool, rows in sorted(progress.kept.items())],
        "doubts": progress.doubts,
        "doubt_exposure_usd": usd(progress.doubt_used),
        "credits": said(progress.credits) if progress.held else None,
        "duplicates": {"tasks": progress.duplicates, "cost_usd": usd(progress.duplicates_cost)},
        "reasons": reason_rows(progress.reasons),
        "cost_usd": usd(progress.settled),
        "reserved_usd": usd(progress.reserved),
        "expected_usd": usd(batch.expected),
        "at_most_usd": usd(batch.at_most),
        "ceiling_usd": usd(progress.ceiling or batch.ceiling),
        "estimate": {
            "expected_usd": usd(batch.expected),
            "at_most_usd": usd(batch.at_most),
            "items": list(batch.estimate),
        },
        "first_edits": {
            "edits": progress.first,
            "cost_usd": usd(progress.first_cost),
            "expected_usd": usd(progress.first_expected),
        },
        "cap": _cap(progress),
        "stopped_groups": [
            {"group": group, "why": stop.why, "count": stop.count, "of": stop.of, "since": stop.at}
            for group, stop in sorted(progress.stops.items())
        ],
        "stopped_for": dict(progress.about) if progress.reason == "failures" else None,
        "retries": {"calls": progress.calls, "retried": progress.retried},
        "simulated": batch.simulated,
        "priority": str(priority),
        "by": by or None,
        "created_at": batch.created_at,
        "finished_at": progress.finished_at or None,
        "report": report,
    }
    return {**found, "detail": why_waits(found)}


def _cap(progress: Progress) -> dict[str, Any] | None:
    """Return which ceiling a batch has reached: `ceiling` (its own), `day_cap` or `key_cap`."""
    if progress.reason != "cap" or not progress.about:
        return None
    reached = Reached.from_json(progress.about)
    return {
        "which": reached.which,
        "needed_usd": usd(reached.needed),
        "limit_usd": usd(reached.limit or progress.ceiling),
        "day": reached.day[:10],
        "time_zone": reached.zone,
    }


def reason_rows(reasons: Mapping[str, tuple[int, int]]) -> list[dict[str, Any]]:
    """Return the reasons as the document lists them: most rows first."""
    found: Sequence[tuple[str, tuple[int, int]]] = sorted(reasons.items(), key=lambda item: (-item[1][0], item[0]))
    return [
        {
            "code": code,
            "rows": rows,
            "cost_usd": usd(cost),
            "acts": REASONS[code].acts if code in REASONS else "operator",
            "retry": REASONS[code].retry if code in REASONS else True,
            "sentence": REASONS[code].sentence if code in REASONS else code,
        }
        for code, (rows, cost) in found
        if rows
    ]


def exit_code(document: Mapping[str, Any]) -> int:
    """Return the exit code that a command which followed this batch to where it stands ends with."""
    if document["state"] == BatchState.PAUSED:
        return {"cap": 4, "key": 3, "storage": 3}.get(document["reason"], 5)
    counts = document["counts"]
    made_it = counts["stored"] + counts["unchanged"]
    return 0 if made_it == document["rows"] and not document["held"] else 1
