"""Feeding: jobs are created from the plan, never more than a window of them at a time.

A window belongs to a limit group, and counts only jobs that hold or want a slot; the open batches share it
(`workers.sharing`). It is what makes a batch of a million rows cost no more of Redis than one of a hundred.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from threading import Lock

import structlog

from jobs.batch import Batch, BatchState, Progress
from jobs.bounds import Why
from jobs.crashpoints import crashpoint
from jobs.errors import StorageError, Unavailable
from jobs.job import Order, State
from jobs.ledger.change import WAITING_LIMIT
from jobs.ledger.port import Steps
from jobs.queues import EDIT, FEED
from jobs.row import Row
from jobs.shares import low_water
from workers.desk import Desk
from workers.sharing import share_out

log = structlog.get_logger(__name__)

CHUNKS_REMEMBERED = 8
CHUNKS_AT_ONCE = 64
"""So many chunks are read in one turn, where rows of stopped groups are stepped over."""


def wants(batch: Batch, progress: Progress, group: str) -> bool:
    """Whether this batch has rows of `group` that can be fed now."""
    if progress.state is not BatchState.OPEN or progress.waiting >= WAITING_LIMIT:
        return False
    if progress.cursors.get(group, 0) < min(progress.staged.get(group, 0), batch.groups.get(group, 0)):
        return True
    return any(name not in progress.stops for name in progress.behind.get(group, ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Rows of the plan that come next: from one cursor to another, in one chunk.

    Of a group that is `behind` only its own rows are fed; else those of the groups in `over` are stepped over.
    """

    start: int
    end: int
    behind: str = ""
    over: Collection[str] = ()

    def feeds(self, order: Order) -> bool:
        """Whether a job is created of a row."""
        return order.bound == self.behind if self.behind else order.bound not in self.over


def next_stretch(batch: Batch, progress: Progress, group: str) -> Stretch:
    """Return the rows that are fed next: first those of a group that is behind and may go on."""
    cursor, behind = progress.cursors.get(group, 0), progress.behind.get(group, {})
    free = sorted((row, name) for name, row in behind.items() if name not in progress.stops)
    start, name = free[0] if free else (cursor, "")
    end = cursor if name else min(progress.staged[group], batch.groups[group])
    end = min(end, (start // batch.chunk_rows + 1) * batch.chunk_rows)
    return Stretch(start=start, end=end, behind=name, over=() if name else {*progress.stops, *behind})


def feed(batch_id: str, group: str, desk: Desk) -> None:
    """Create jobs of a batch's limit group until its window is full, and send a message for each."""
    size = share_out(desk).get(batch_id, {}).get(group) or desk.catalogue.groups[group].window
    for _ in range(CHUNKS_AT_ONCE):
        found = desk.ledger.batch(batch_id)
        if found is None or not wants(*found, group):
            return
        batch, progress = found
        room = size - progress.hot.get(group, 0) - progress.aside.get(group, 0)
        if room <= 0:
            return
        stretch = next_stretch(batch, progress, group)
        try:
            rows = _chunks.rows(batch, group, stretch.start // batch.chunk_rows, desk)
        except StorageError as error:
            _without_plan(batch_id, error, progress.opening, desk)
            return
        orders, steps = _taken(rows[stretch.start % batch.chunk_rows :], stretch, batch_id, room)
        crashpoint("rows-read")
        low, opening = low_water(size), progress.opening
        fed = desk.ledger.feed(
            batch_id, group, stretch.start, orders, low=low, round_=batch.round, steps=steps, opening=opening
        )
        if not fed:
            return
        crashpoint("jobs-created")
        for order in orders:
            desk.send(EDIT, order.job)
    desk.send(FEED, batch_id, group)  # a stretch without a row to feed is long; others have their turn between


def _taken(rows: Sequence[Row], stretch: Stretch, batch: str, room: int) -> tuple[list[Order], Steps]:
    """Return what is created of a stretch where there is room for so many jobs, and what is stepped over."""
    orders: list[Order] = []
    over: dict[str, int] = {}
    to = stretch.start
    for row in rows[: stretch.end - stretch.start]:
        order = row.order(batch)
        if stretch.feeds(order):
            if len(orders) == room:
                break
            orders.append(order)
        elif not stretch.behind:
            over.setdefault(order.bound, to)
        to += 1
    return orders, Steps(to=to, over=over, behind=stretch.behind)


def pause_if_stopped(batch: Batch, progress: Progress, desk: Desk) -> None:
    """Pause a batch of which nothing is left but what belongs to stopped groups: it waits for a person."""
    if progress.state is not BatchState.OPEN or not progress.stops or progress.live != progress.stopped:
        return
    left = progress.stopped or any(progress.behind.values())
    unfed = _unfed(batch, progress)
    if not left or (unfed and progress.waiting < WAITING_LIMIT) or any(wants(batch, progress, g) for g in batch.groups):
        return
    about, states, opening = {"why": str(Why.LEFT)}, [BatchState.OPEN], progress.opening
    if desk.ledger.set_state(batch.id, BatchState.PAUSED, "failures", only_from=states, about=about, opening=opening):
        log.warning("batch paused", batch=batch.id, reason="failures", groups=len(progress.stops))


def stuck_in_doubt(batch: Batch, progress: Progress) -> bool:
    """Whether so many rows of an open batch are held in doubt that no more are fed, and nothing else is under way."""
    if progress.state is not BatchState.OPEN or progress.held < WAITING_LIMIT or progress.live:
        return False
    return _unfed(batch, progress) or any(progress.behind.values())


def pause_in_doubt(batch: Batch, progress: Progress, desk: Desk) -> None:
    """Pause a batch that is stuck in doubt: it waits for a decision."""
    states, opening = [BatchState.OPEN], progress.opening
    if desk.ledger.set_state(batch.id, BatchState.PAUSED, "doubt", only_from=states, opening=opening):
        log.warning("batch paused", batch=batch.id, reason="doubt", held=progress.held)


def go_on_after_doubts(batch: Batch, progress: Progress, desk: Desk) -> None:
    """Let a batch go on that was stuck in doubt, once few rows are held, or some of them are to be asked again."""
    if progress.state is not BatchState.PAUSED or progress.reason != "doubt":
        return
    if progress.held >= WAITING_LIMIT and not progress.counts.get(State.QUEUED):
        return
    if desk.ledger.set_state(batch.id, BatchState.OPEN, "", only_from=[BatchState.PAUSED], only_reason="doubt"):
        log.info("the batch goes on: rows in doubt were settled", batch=batch.id, held=progress.held)


def _unfed(batch: Batch, progress: Progress) -> bool:
    return any(progress.cursors.get(group, 0) < rows for group, rows in batch.groups.items())


def _without_plan(batch_id: str, error: StorageError, opening: str, desk: Desk) -> None:
    """Say so. Where storage is only away, the tick asks again; else the batch waits for a person."""
    log.warning("plan not read", batch=batch_id, why=str(error))
    if not isinstance(error, Unavailable):
        desk.ledger.set_state(batch_id, BatchState.PAUSED, "storage", only_from=[BatchState.OPEN], opening=opening)


class _Chunks:
    """Remembers the chunks of the plan that were read last."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Sequence[Row]] = OrderedDict()
        self._lock = Lock()

    def rows(self, batch: Batch, group: str, chunk: int, desk: Desk) -> Sequence[Row]:
        make = desk.layout.staged_plan if batch.local else desk.layout.plan
        key = make(batch.id, batch.round, group, chunk)
        with self._lock:
            if key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
        text = desk.bucket.get(key).decode("utf-8")
        rows = [Row.from_line(line) for line in text.split("\n") if line]
        with self._lock:
            self._known[key] = rows
            while len(self._known) > CHUNKS_REMEMBERED:
                self._known.popitem(last=False)
        return rows


_chunks = _Chunks()
