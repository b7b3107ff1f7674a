"""Brings each row of a batch together with its outcome, in row order, in memory that does not grow with the batch.

Outcomes come in the order in which jobs ended, and some come twice, so they are first spilled to disk by range of
rows; then one range at a time is read back. Nothing is decided by which of two lines came first, except between
two lines of the same doubt.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobs.batch import Batch
from jobs.errors import RetouchError
from jobs.events import Cancelled
from jobs.job import FINAL, MADE_IT, Job
from jobs.outcome import BESIDE, FOUND, LATE, found_charge, outcome
from jobs.row import Row
from jobs.spend import charges_of
from jobs.states import apply

ROWS_PER_RANGE = 10_000
"""Rows whose outcomes are in memory at once: about 15 MB of lines."""

LINES_PER_WRITE = 4_096
"""Lines that wait in memory before they are appended to the files of their ranges."""


class OutcomeMissing(RetouchError):
    """A row has no outcome yet: parts of the outcomes are still to be flushed."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A row with the outcome that counts; `earlier_usd` is what its earlier rounds have cost."""

    row: Row
    outcome: dict[str, Any]
    earlier_usd: float = 0.0

    @property
    def cost_usd(self) -> float:
        """What the row has cost over all its rounds."""
        own: float = self.outcome["cost_usd"]
        return round(own + self.earlier_usd, 6)


@dataclass(frozen=True, slots=True)
class _Line:
    """An outcome as it was spilled, still as text, with what decides between it and its doubles."""

    rank: tuple[int, int]
    """(attempt, whether final): the highest wins."""
    text: str

    def replaces(self, other: _Line) -> bool:
        """Whether this line, which came later, is to be believed instead of `other`."""
        return self.rank > other.rank or (self.rank == other.rank and not self.rank[1])


@dataclass(slots=True)
class _Known:
    """What the lines of one row say: the one that counts for each round, and charges that became known late."""

    rounds: dict[int, _Line] = field(default_factory=dict)
    late: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The line by its task's id; one that comes twice counts once."""

    found: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By its task's id: what was paid for is filed after all, although no job waited for it."""

    def add(self, round_: int, line: _Line) -> None:
        before = self.rounds.get(round_)
        if before is None or line.replaces(before):
            self.rounds[round_] = line

    def outcome(self, round_: int) -> dict[str, Any]:
        """Return what came of a round. A ledger that was lost did not know what a result had cost that was found."""
        outcome: dict[str, Any] = json.loads(self.rounds[round_].text)
        known = {charge["attempt"] for charge in charges_of(outcome)}
        for line in self.found.values():
            if line["round"] == round_ and line["attempt"] not in known and line["paid_usd"]:
                outcome["charges"] = [*outcome.get("charges", ()), found_charge(line)]
                outcome["cost_usd"] = round(outcome["cost_usd"] + line["paid_usd"], 6)
        return outcome

    def joined(self, row: Row) -> Joined:
        latest = max(self.rounds)
        outcome = self.outcome(latest)
        told = {outcome["task_id"], *(second["task_id"] for second in outcome["duplicates"])}
        for task_id, line in self.late.items():
            if task_id not in told:
                cost = line["cost_usd"]
                outcome["duplicates"].append({"task_id": task_id, "cost_usd": cost})
                outcome["cost_usd"] = round(outcome["cost_usd"] + cost, 6)
        outcome["found"] = bool(self.found) and outcome["state"] not in MADE_IT
        earlier = sum(self.outcome(round_)["cost_usd"] for round_ in self.rounds if round_ != latest)
        return Joined(row, outcome, round(earlier, 6))


def in_order(streams: Iterable[Iterable[Row]]) -> Iterator[Row]:
    """Return the rows of every limit group, each stream ascending, as one ascending stream."""
    return heapq.merge(*streams, key=lambda row: row.number)


def cancelled(batch: Batch, row: Row, at: float) -> dict[str, Any]:
    """Return the outcome of a row that a cancelled batch never fed; `at` is in epoch seconds."""
    job = Job(order=row.order(batch.id), round=batch.round, queued_at=batch.created_at)
    return outcome(apply(job, Cancelled(), at))


def joined(
    rows: Iterable[Row],
    outcomes: Iterable[Mapping[str, Any]],
    folder: Path,
    *,
    missing: Callable[[Row], dict[str, Any] | None] = lambda _: None,
    rows_per_range: int = ROWS_PER_RANGE,
) -> Iterator[Joined]:
    """Yield every row with its outcome.

    Of several lines of one row the highest (round, attempt) counts. Within one attempt a final state beats a held
    doubt, and of two lines of the same doubt the later one counts.

    Args:
        rows: ascending by number (`in_order`).
        outcomes: in any order, with doubles; read to its end before the first row is yielded.
        folder: an empty folder for the spilled ranges; each file is deleted once it was read.
        missing: makes the outcome of a row that has none, or returns None.
        rows_per_range: how many rows' outcomes are in memory at once.

    Raises:
        OutcomeMissing: a row has no outcome and `missing` makes none.
        ValueError: the rows do not ascend.
    """
    _spill(outcomes, folder, rows_per_range)
    current, found = -1, dict[int, _Known]()
    last = 0
    for row in rows:
        if row.number <= last:
            raise ValueError(f"row {row.number} comes after row {last}: the streams must ascend")
        last = row.number
        if row.number // rows_per_range != current:
            current = row.number // rows_per_range
            found = _read_range(_range_file(folder, current))
        known = found.pop(row.number, None)
        if known is None or not known.rounds:
            made = missing(row)
            if made is None:
                raise OutcomeMissing(f"Row {row.number} has no outcome yet; the report is written once it has.")
            yield Joined(row, made)
            continue
        yield known.joined(row)


def by_row(
    outcomes: Iterable[Mapping[str, Any]], folder: Path, *, rows_per_range: int = ROWS_PER_RANGE
) -> Iterator[tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    """Yield for every row the outcome that counts of each of its rounds, and the charges that became known late.

    Arguments are those of `joined`.
    """
    _spill(outcomes, folder, rows_per_range)
    for path in sorted(folder.glob("outcomes-*.spilled")):
        for known in _read_range(path).values():
            yield [known.outcome(round_) for round_ in sorted(known.rounds)], [*known.late.values()]


def _spill(outcomes: Iterable[Mapping[str, Any]], folder: Path, rows_per_range: int) -> None:
    waiting: dict[int, list[str]] = {}
    count = 0
    for line in outcomes:
        text = json.dumps(line, separators=(",", ":"))
        kind = line["state"] if line["state"] in BESIDE else int(line["state"] in FINAL)
        head = f"{line['row']} {line['round']} {line['attempt']} {kind} "
        waiting.setdefault(line["row"] // rows_per_range, []).append(f"{head}{text}\n")
        count += 1
        if count >= LINES_PER_WRITE:
            _append(waiting, folder)
            count = 0
    _append(waiting, folder)


def _append(waiting: dict[int, list[str]], folder: Path) -> None:
    for number, lines in waiting.items():
        with _range_file(folder, number).open("a", encoding="ascii", newline="\n") as file:
            file.writelines(lines)
    waiting.clear()


def _read_range(path: Path) -> dict[int, _Known]:
    """Return what is known of each row of one range; the file is gone afterwards."""
    found: dict[int, _Known] = {}
    if not path.exists():
        return found
    with path.open(encoding="ascii", newline="\n") as file:
        for spilled in file:
            row, round_, attempt, kind, text = spilled.rstrip("\n").split(" ", 4)
            known = found.setdefault(int(row), _Known())
            if kind == LATE:
                late = json.loads(text)
                known.late[late["task_id"]] = late
            elif kind == FOUND:
                line = json.loads(text)
                known.found[line["task_id"]] = line
            else:
                known.add(int(round_), _Line((int(attempt), int(kind)), text))
    path.unlink()
    return found


def _range_file(folder: Path, number: int) -> Path:
    return folder / f"outcomes-{number:06d}.spilled"
