"""Sharing out: which open batch has how many places of each limit group's window (the law is `jobs.shares`).

It is worked out anew whenever a window is fed, and by the tick, from what the ledger counts; only what has changed is
written down. Whoever writes last has it, and the next turn corrects what two had worked out at once.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import structlog

from jobs.batch import Batch, BatchState, Progress
from jobs.ledger.change import WAITING_LIMIT
from jobs.queues import FEED
from jobs.shares import Wish, shares, weight
from workers.desk import Desk

log = structlog.get_logger(__name__)


def share_out(desk: Desk) -> Mapping[str, Mapping[str, int]]:
    """Share the windows between the open batches that have work, and return each batch's places by limit group.

    Where nobody else wants any, a batch is not named: the whole window is its own.
    """
    every = {name: found for name in desk.ledger.batches() if (found := desk.ledger.batch(name)) is not None}
    wants = {group: _wanted(every, group) for group in desk.catalogue.groups}
    working = {name for jobs in wants.values() for name in jobs}
    weights = _weights({name: every[name] for name in working}, desk) if len(working) > 1 else {}
    places: dict[str, dict[str, int]] = {name: {} for name in every}
    for group, jobs in wants.items():
        if len(jobs) > 1:
            wishes = {name: Wish(weight=weights[name], jobs=n) for name, n in jobs.items()}
            for name, size in shares(desk.catalogue.groups[group].window, wishes).items():
                places[name][group] = size
    for name, (batch, progress) in every.items():
        _write_down(batch, progress, weights.get(name, 0.0), places[name], desk)
    return places


def _weights(working: Mapping[str, tuple[Batch, Progress]], desk: Desk) -> Mapping[str, float]:
    now = desk.now()
    return {name: weigh(batch, progress, now, desk) for name, (batch, progress) in working.items()}


def weigh(batch: Batch, progress: Progress, now: float, desk: Desk) -> float:
    """Return what a batch weighs as of `now` (epoch seconds)."""
    priority, by = progress.urgency(batch)
    if not by:
        return weight(priority)
    return weight(priority, left_s=by - now, needed_s=_needed(batch, progress, desk))


def _wanted(every: Mapping[str, tuple[Batch, Progress]], group: str) -> dict[str, int]:
    """Return how many places of a group's window each batch could use now, of those that could use any."""
    found = {name: _wanted_by(batch, progress, group) for name, (batch, progress) in every.items()}
    return {name: jobs for name, jobs in found.items() if jobs}


def _wanted_by(batch: Batch, progress: Progress, group: str) -> int:
    if progress.state is not BatchState.OPEN or group not in batch.groups:
        return 0
    cursor = progress.cursors.get(group, 0)
    jobs = progress.hot.get(group, 0) + progress.aside.get(group, 0)
    if progress.waiting < WAITING_LIMIT:
        behind = progress.behind.get(group, {})
        jobs += max(min(progress.staged.get(group, 0), batch.groups[group]) - cursor, 0)
        jobs += sum(cursor - row for name, row in behind.items() if name not in progress.stops)
    # What waits for a time comes back, and finds a place then.
    return jobs or int(progress.waiting > progress.stopped + progress.held)


def _needed(batch: Batch, progress: Progress, desk: Desk) -> float:
    """Return the seconds that what is left of a batch takes with every place of the API."""
    groups, busy = desk.catalogue.groups, Counter[str]()
    for group in batch.groups.keys() & groups.keys():
        hot = progress.hot.get(group, 0) + progress.aside.get(group, 0)
        rows = batch.groups[group] - progress.cursors.get(group, 0) + hot
        models = [model for model in desk.catalogue.models.values() if model.limit_group == group]
        for each in desk.catalogue.lineage(group):
            busy[each.name] += math.ceil(rows * desk.pace.typical(models))
    return max((seconds / groups[name].places for name, seconds in busy.items()), default=0.0)


def _write_down(batch: Batch, progress: Progress, weighs: float, places: Mapping[str, int], desk: Desk) -> None:
    if (progress.weight, progress.shares) == (weighs, places):
        return
    desk.ledger.share(batch.id, weighs, {group: places.get(group, 0) for group in batch.groups})
    log.info("places shared", batch=batch.id, weight=weighs, places=dict(places))
    for group in batch.groups:
        if _grew(progress.shares.get(group, 0), places.get(group, 0)) and progress.state is BatchState.OPEN:
            desk.send(FEED, batch.id, group)


def _grew(was: int, is_now: int) -> bool:
    """Whether a share became larger; 0 is all of the window."""
    return was > 0 and (is_now == 0 or is_now > was)
