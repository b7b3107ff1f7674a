"""The life of a job: one table, and `apply`, the only way a state changes.

Everything that affects the state machine is here. An illegal move raises and changes nothing. The diagram in
`docs/state-machine.md` is drawn from the table (`python -m jobs.states`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

from jobs import events as e
from jobs.errors import IllegalTransition
from jobs.events import Event
from jobs.job import FINAL, Job, State

S = State

TABLE: Mapping[State, Mapping[type[Event], State]] = {
    # The request is known; nobody has asked the API yet in this attempt.
    S.QUEUED: {
        e.Begun: S.SUBMITTING,
        e.Accepted: S.RUNNING,  # a receipt came late, after the doubt was resolved the other way
        e.Unchanged: S.UNCHANGED,
        e.AttemptFailed: S.QUEUED,  # an input did not come; nothing was asked of the API
        e.Failed: S.FAILED,
        e.Cancelled: S.CANCELLED,
        e.GivenBack: S.QUEUED,
    },
    # Slot, money and fingerprint are claimed, the intent is written.
    S.SUBMITTING: {
        e.Accepted: S.RUNNING,
        e.NotSubmitted: S.QUEUED,
        e.AttemptFailed: S.QUEUED,
        e.Doubted: S.IN_DOUBT,
        e.Moderated: S.MODERATED,
        e.Failed: S.FAILED,
    },
    # May have been charged.
    S.IN_DOUBT: {
        e.Accepted: S.RUNNING,
        e.Resubmitted: S.QUEUED,
        e.Held: S.IN_DOUBT,
        e.Failed: S.FAILED,
        e.Cancelled: S.CANCELLED,
    },
    # The receipt is in hand.
    S.RUNNING: {
        e.Ready: S.READY,
        e.Moderated: S.MODERATED,
        e.AttemptFailed: S.QUEUED,
        e.Failed: S.FAILED,
        e.GivenBack: S.RUNNING,
    },
    # The result can be fetched until its deadline.
    S.READY: {
        e.Stored: S.STORED,
        e.Kept: S.KEPT,
        e.UrlExpired: S.RUNNING,
        e.Failed: S.FAILED,
        e.GivenBack: S.READY,
    },
    # The checked bytes are on one worker's disk, and only who works there goes on.
    S.KEPT: {
        e.Stored: S.STORED,
        e.UrlExpired: S.RUNNING,  # the disk has spoilt them
        e.Failed: S.FAILED,
        e.GivenBack: S.KEPT,
    },
    # Final within the round. A receipt that still comes moves nothing; `Ledger.late_receipt` records it.
    S.STORED: {},
    S.UNCHANGED: {},
    S.MODERATED: {},
    S.FAILED: {},
    S.CANCELLED: {},
}


def apply(job: Job, event: Event, at: float) -> Job:
    """Return the job after `event` happened to it at `at` (epoch seconds by Redis's clock).

    Raises:
        IllegalTransition: the table has no such move; `job` is unchanged.
    """
    target = TABLE[job.state].get(type(event))
    if target is None:
        raise IllegalTransition(f"{job.id} is {job.state}: {type(event).__name__} cannot happen to it")
    return e.applied(event, job, at, state=target)


def diagram() -> str:
    """Return the table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> queued"]
    for state, moves in TABLE.items():
        by_target: dict[State, list[str]] = {}
        for event, target in moves.items():
            by_target.setdefault(target, []).append(event.__name__)
        lines += [f"    {state} --> {target}: {', '.join(names)}" for target, names in by_target.items()]
    lines += [f"    {state} --> [*]" for state in TABLE if state in FINAL]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(diagram() + "\n")
