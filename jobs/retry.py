"""Whether, and when, a failed try is followed by another: decisions as values, from facts and the time passed in.

A refusal that has nothing to do with the row (no slot, throttled, key parked, the API away) spends no attempt.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from jobs.events import AttemptFailed, Event, Failed
from jobs.job import IN_DOUBT, PROVED_UNCHARGED, Job

ATTEMPTS = 3
"""So many tries that count, then the row has failed."""

RETRY_FOR_S = 3600.0
"""So long after its first failure a row is tried again, unless the settings say otherwise."""

FIRST_WAIT_S = 2.0
LONGEST_WAIT_S = 120.0

Jitter = Callable[[float, float], float]


def backoff(
    tries: int, *, first: float = FIRST_WAIT_S, cap: float = LONGEST_WAIT_S, jitter: Jitter = random.uniform
) -> float:
    """Return the seconds to wait after `tries` failed tries: doubling, capped, half of it jitter."""
    full = min(first * 2.0 ** min(max(tries - 1, 0), 30), cap)
    return jitter(full / 2, full)


def after_failure(
    job: Job,
    code: str,
    detail: str,
    *,
    at: float,
    within_s: float = RETRY_FOR_S,
    for_good: bool = False,
    cost: int | None = None,
    jitter: Jitter = random.uniform,
) -> Event:
    """Return what a failed try that counts makes of a job: another attempt, or the end.

    `at` is now; another attempt is made only if it begins within `within_s` seconds of the job's first failure.
    """
    failures = [f for f in job.failures if f.code not in (IN_DOUBT, PROVED_UNCHARGED)]
    tries = len(failures) + 1
    if for_good or tries >= ATTEMPTS:
        return Failed(code=code, detail=detail, cost=cost)
    wait = backoff(tries, jitter=jitter)
    if failures and at + wait - failures[0].at > within_s:
        late = f"{detail} (not tried again: the first failure was {(at - failures[0].at) / 60:.0f} minutes ago)"
        return Failed(code=code, detail=late, cost=cost)
    return AttemptFailed(code=code, detail=detail, wait=wait, cost=cost)


def without_budget(failed: AttemptFailed) -> Failed:
    """Return the end of a job that would be tried again, where its batch has no more tries to spare."""
    return Failed(code="retry_budget", detail=f"{failed.code}: {failed.detail}", cost=failed.cost)


def throttled_wait(asked: float | None, waits: int, *, jitter: Jitter = random.uniform) -> float:
    """Return how long to hold back after a 429: what the API asks for, else 1 s to 20 s, jittered."""
    return asked if asked is not None else backoff(waits + 1, first=1.0, cap=20.0, jitter=jitter)


def doubt_wait(p999_s: float, floor_s: float) -> float:
    """Return how long a doubt waits for a late answer: 1.5 x the longest that a task is known to take."""
    return max(1.5 * p999_s, floor_s)
