"""What the memory ledger writes down: the books of a batch, its jobs, their indexes and slots, and what expires.

These are the mutable hearts of `jobs.ledger.memory`; whoever holds one holds that ledger's lock.
"""

from __future__ import annotations

import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Generic, Self, TypeVar

from jobs.batch import Batch, BatchState, Progress
from jobs.bounds import End
from jobs.job import Job, State
from jobs.ledger.change import FEED_AGAIN_S, PARTS_A_ROUND, Change, Index, Seat
from jobs.ledger.ends import Ends
from jobs.ledger.port import Restored, Steps
from jobs.money import NO_CEILING, PROOF_EDITS, Admitted, Caps, Sums, TooDear, admit, over_estimate
from jobs.shares import Priority, place_in_line

V = TypeVar("V")

SUMS = (
    *("waiting", "held", "settled", "reserved", "withheld", "doubts", "doubt_used", "duplicates", "duplicates_cost"),
    *("first", "first_cost", "first_expected"),
    *("stopped", "calls", "retried"),
)


RESTORED = ("settled", "doubts", "doubt_used", "first", "first_cost", "first_expected")
"""Sums that a batch is put back with."""


@dataclass(slots=True)
class Hot:
    """A job that has not ended, and what the ledger knows about it beside."""

    job: Job
    seat: str = str(Seat.HOT)
    reserve: int = 0
    unproved: int = 0
    paid: bool = False


@dataclass(slots=True)
class Books:
    """What is counted of one batch."""

    batch: Batch
    cursors: dict[str, int]
    staged: dict[str, int]
    low: dict[str, int]
    parts: int
    ceiling: int
    ends: Ends
    behind: dict[str, dict[str, int]] = field(default_factory=dict)
    state: BatchState = BatchState.OPEN
    reason: str = ""
    sums: Counter[str] = field(default_factory=Counter)
    """Whatever `SUMS` names."""
    about: Mapping[str, Any] = field(default_factory=dict)
    credits: Mapping[str, Any] = field(default_factory=dict)
    price_paid: Counter[str] = field(default_factory=Counter)
    price_due: Counter[str] = field(default_factory=Counter)
    hot: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    costs: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    urgency: tuple[Priority, float] | None = None
    weight: float = 0.0
    shares: Mapping[str, int] = field(default_factory=dict)
    aside: Counter[str] = field(default_factory=Counter)
    fed_at: dict[str, float] = field(default_factory=dict)
    finished_at: float = 0.0
    jobs: set[str] = field(default_factory=set)
    outcomes: list[str] = field(default_factory=list)
    outcomes_at: float = 0.0
    pending: tuple[int, Sequence[str]] | None = None
    opening: str = field(default_factory=lambda: uuid.uuid4().hex)

    @classmethod
    def opened(cls, batch: Batch) -> Self:
        """Return the books of a batch of which nothing is fed yet."""
        return cls(
            Batch.from_json(batch.as_json()),
            cursors=dict.fromkeys(batch.groups, 0),
            staged={group: 0 if batch.local else rows for group, rows in batch.groups.items()},
            low=dict.fromkeys(batch.groups, 1),
            parts=(batch.round - 1) * PARTS_A_ROUND,
            ceiling=batch.ceiling,
            ends=Ends(batch.bounds, batch.lone),
        )

    def restore(self, restored: Restored) -> None:
        """Take what a batch had come to; it waits for a person."""
        self.state, self.reason = BatchState.PAUSED, "operator"
        self.cursors.update(restored.cursors)
        self.staged.update(restored.staged)
        self.counts.update(restored.counts)
        for name in RESTORED:
            self.sums[name] = getattr(restored, name)
        self.price_paid.update(restored.price_paid)
        self.price_due.update(restored.price_due)
        for code, (rows, cost) in restored.reasons.items():
            self.rows[code], self.costs[code] = rows, cost

    def progress(self) -> Progress:
        """Return what is counted, as a value."""
        return Progress(
            state=self.state,
            reason=self.reason,
            cursors=dict(self.cursors),
            staged=dict(self.staged),
            hot=dict(self.hot),
            counts=dict(self.counts),
            kept={spool: rows for spool, rows in self.kept.items() if rows},
            reasons={code: (rows, self.costs[code]) for code, rows in self.rows.items() if rows},
            low=dict(self.low),
            ceiling=self.ceiling,
            finished_at=self.finished_at,
            opening=self.opening,
            about=dict(self.about),
            credits=dict(self.credits),
            stops=dict(self.ends.stops),
            behind={group: dict(rows) for group, rows in self.behind.items() if rows},
            moderated_cost=self.ends.moderated_cost,
            priority=self.urgency[0] if self.urgency else None,
            by=self.urgency[1] if self.urgency else 0.0,
            weight=self.weight,
            shares={group: places for group, places in self.shares.items() if places},
            aside={group: jobs for group, jobs in self.aside.items() if jobs},
            **{name: self.sums[name] for name in SUMS},
        )

    def step(self, group: str, cursor: int, to: int, steps: Steps) -> bool:
        """Move a cursor on, if it stands there; groups that are stepped over stay behind."""
        behind = self.behind.setdefault(group, {})
        stands = behind.get(steps.behind) if steps.behind else self.cursors.get(group)
        limit = self.cursors.get(group, 0) if steps.behind else self.staged.get(group, 0)
        if stands != cursor or to > limit:
            return False
        for name, row in steps.over.items():
            behind.setdefault(name, row)
        if not steps.behind:
            self.cursors[group] = to
        elif to < limit:
            behind[steps.behind] = to
        else:
            del behind[steps.behind]
        return True

    def count(self, change: Change, moved: Mapping[str, int], now: float) -> None:
        """Add what a transition changes in the sums; `moved` is its money."""
        self.sums.update(moved)
        self.ceiling += change.ceiling
        for name in ("doubts", "held"):
            self.sums[name] += getattr(change, name)
        self.price_paid[change.model] += change.settled
        self.price_due[change.model] += change.due
        self._look_at_first(change)
        for code, rows, cost in change.reasons:
            self.rows[code] += rows
            self.costs[code] += cost
        for spool, rows in change.kept:
            self.kept[spool] += rows
        self.counts[change.was_state] -= 1
        self.counts[change.state] += 1
        self.sums.update(calls=change.call, retried=change.retry)
        about = self.ends.count(End(change.ended), change.bound, change.end_cost, now) if change.ended else None
        begun = sum(rows for state, rows in self.counts.items() if state != State.QUEUED)
        if about and self.state is BatchState.OPEN and begun < sum(self.batch.groups.values()):
            self.state, self.reason, self.about = BatchState.PAUSED, "failures", about

    def _look_at_first(self, change: Change) -> None:
        if self.sums["first"] >= PROOF_EDITS or not (change.charged or change.settled):
            return
        self.sums.update(first=change.charged, first_cost=change.settled, first_expected=change.expected)
        waits = self.state in (BatchState.OPEN, BatchState.PAUSED)
        if waits and over_estimate(self.sums["first"], self.sums["first_cost"], self.sums["first_expected"]):
            self.state, self.reason, self.about = BatchState.PAUSED, "proof", {}

    def add_outcome(self, line: str, now: float) -> None:
        """Append an outcome; the first of a part tells how old the part is."""
        if not self.outcomes:
            self.outcomes_at = now
        self.outcomes.append(line)

    def set_apart(self) -> tuple[int, Sequence[str]] | None:
        """Return the part that is set apart, or set one apart if there are outcomes."""
        if self.pending is None and self.outcomes:
            self.parts += 1
            self.pending, self.outcomes = (self.parts, self.outcomes), []
        return self.pending

    def outcomes_waiting(self, now: float) -> tuple[int, float]:
        """Return how many outcomes wait, and for how long; a part that nobody dropped has waited too long."""
        if self.pending:
            return max(len(self.outcomes), 1), 1e9
        return len(self.outcomes), max(now - self.outcomes_at, 0.0) if self.outcomes else 0.0

    def take_seat(self, hot: Hot, seat: str) -> None:
        """Move a job from the seat that it has to another one."""
        for sign, place in ((-1, hot.seat), (1, seat)):
            self.sums["stopped"] += sign * (place == Seat.STOPPED)
            if place == Seat.HOT:
                self.hot[hot.job.order.limit_group] += sign
            elif place == Seat.ASIDE:
                self.aside[hot.job.order.limit_group] += sign
            elif place:
                self.sums["waiting"] += sign
        hot.seat = seat

    def leaves_its_place(self, hot: Hot) -> bool:
        """Whether a job has to leave its place in the window to other batches, as far as its share is used up."""
        group = hot.job.order.limit_group
        share = self.shares.get(group, 0)
        return 0 < share <= self.hot[group] - (hot.seat == Seat.HOT)

    @property
    def place_in_line(self) -> int | None:
        """Where the batch stands among those that wait for a slot; None while it is alone."""
        states = (State.SUBMITTING, State.RUNNING, State.IN_DOUBT)
        slots = sum(self.counts[str(state)] for state in states) - self.sums["held"]
        return place_in_line(slots, self.weight) if self.weight else None

    def wants_feed(self, group: str, now: float) -> bool:
        """Whether the window fell under its low water and nobody was told in the last moments."""
        wanted = (
            self.state is BatchState.OPEN
            and self.hot[group] < self.low.get(group, 0)
            and self.cursors.get(group, 0) < self.staged.get(group, 0)
            and now - self.fed_at.get(group, 0.0) > FEED_AGAIN_S
        )
        if wanted:
            self.fed_at[group] = now
        return wanted


MONEY = tuple(each.name for each in fields(Sums))


def sums_of(counted: Mapping[str, int], suffix: str = "") -> Sums:
    """Return the money in a counter; with a suffix, that of one key."""
    return Sums(**{name: counted.get(name + suffix, 0) for name in MONEY})


def money_moved(change: Change, was: Hot) -> tuple[int, int, dict[str, int]]:
    """Return what is reserved for a job from here on, what it may cost beyond that, and what moves in every sum."""
    reserve = (was.reserve or change.reserve) if change.reserve else 0
    unproved = (was.unproved if was.reserve else change.unproved) if change.reserve and change.seat != Seat.HELD else 0
    withheld = {1: reserve, -1: -was.reserve}.get(change.held, 0)
    moved = {
        "settled": change.settled,
        "unsure": change.unsure,
        "reserved": reserve - was.reserve,
        "withheld": withheld,
        "doubt_used": change.doubt_used,
        "unproved": unproved - was.unproved,
    }
    return reserve, unproved, moved


class DayBooks:
    """What was spent and reserved on each day, in all and with each key."""

    def __init__(self) -> None:
        self._days: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def sums(self, day: str, key: str = "") -> Sums:
        """Return a day's sums, or those of one key."""
        return sums_of(self._days[day], f":{key}" if key else "")

    def add(self, day: str, key: str, moved: Mapping[str, int]) -> None:
        """Add what moved; what belongs to no day is in no book."""
        for suffix in ("", f":{key}") if key else ("",):
            self._days[day].update({name + suffix: by for name, by in moved.items() if day})

    def at_least(self, day: str, key: str, known: Sums) -> None:
        """Raise what was settled and used for doubts to what is known of it."""
        suffix, sums = f":{key}" if key else "", self._days[day]
        for name in ("settled", "doubt_used"):
            sums[name + suffix] = max(sums[name + suffix], getattr(known, name))

    def admit(self, change: Change, books: Books, caps: Caps) -> Admitted | TooDear:
        """Return whether an edit fits under the ceilings of batch, day and key, in the order of CEILINGS."""
        ceilings = [
            (books.ceiling, sums_of(books.sums)),
            (NO_CEILING if caps.day is None else caps.day, self.sums(change.day)),
            (NO_CEILING if caps.key_day is None else caps.key_day, self.sums(change.day, change.key)),
        ]
        paid, due = books.price_paid[change.model], books.price_due[change.model]
        return admit(change.reserve, paid=paid, due=due, ceilings=ceilings)


class Indexes:
    """Finds jobs by time; a job is in one index, or in none."""

    def __init__(self) -> None:
        self._indexes: dict[Index, dict[str, float]] = {index: {} for index in Index if index}

    def put(self, job: str, index: Index, at: float = 0.0) -> None:
        """Move a job to this index, to be found from `at` on; with NONE it is in none any more."""
        for known in self._indexes.values():
            known.pop(job, None)
        if index:
            self._indexes[index][job] = at

    def holds(self, job: str, index: Index) -> bool:
        """Whether the job is in this index."""
        return job in self._indexes[index]

    def reached(self, index: Index, now: float, limit: int, *, again: float | None = None) -> Sequence[str]:
        """Return jobs whose time has come, the oldest first; with `again` they are found again from then on."""
        known = self._indexes[index]
        found = [job for at, job in sorted((at, job) for job, at in known.items()) if at <= now][:limit]
        if again is not None:
            known.update(dict.fromkeys(found, again))
        return found


class Slots:
    """The API's places: for each limit group the members that hold one."""

    def __init__(self) -> None:
        self._held: defaultdict[str, set[str]] = defaultdict(set)

    def used(self, group: str) -> int:
        """Return how many places of a group are taken."""
        return len(self._held[group])

    def move(self, groups: Iterable[str], was: str, member: str) -> None:
        """Free one member's places and take another's; either may be empty."""
        for group in groups:
            self._held[group].discard(was)
            if member:
                self._held[group].add(member)

    def remove_strays(self, holds: Callable[[str], bool]) -> int:
        """Free the places of members that do not hold them; return how many."""
        strays = [(group, member) for group, members in self._held.items() for member in members if not holds(member)]
        for group, member in strays:
            self._held[group].discard(member)
        return len(strays)


class Expiring(Generic[V]):
    """Values that are there until their time is over."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[V, float]] = {}

    def put(self, key: str, value: V, seconds: float = float("inf")) -> None:
        """Keep a value for so long."""
        self._kept[key] = (value, self._clock() + seconds)

    def get(self, key: str) -> V | None:
        """Return a value that has not expired."""
        value, until = self._kept.get(key, (None, 0.0))
        return value if until > self._clock() else None

    def left(self, key: str) -> float:
        """Return for how many seconds more a value is there."""
        return max(self._kept[key][1] - self._clock(), 0.0) if key in self._kept else 0.0

    def drop(self, key: str) -> None:
        """Forget a value."""
        self._kept.pop(key, None)

    def values(self) -> Iterator[V]:
        """Return every value that has not expired, by key."""
        return (value for _, (value, until) in sorted(self._kept.items()) if until > self._clock())
