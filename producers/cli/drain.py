"""Lets edits that are at the API come home before the local stack ends.

A result waits at the API for 10 minutes only, and the simulator forgets its tasks when it ends. So every open batch
is paused, what is in flight is stored, and the batches are opened again: the next command goes on with them.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from jobs.batch import BatchState
from jobs.ledger.port import Ledger
from jobs.report.wording import counted

DRAIN_S = 90.0
"""Most edits take seconds; one that takes longer than this is picked up again later."""
_LOOK_S = 0.25
_AT_WORK = ("submitting", "running", "ready")


def drain(
    ledger: Ledger,
    say: Callable[[str], None],
    *,
    seconds: float = DRAIN_S,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Wait until no edit is in flight, `seconds` at most; return how many still are.

    Raises:
        LedgerError: Redis is away.
    """
    if not at_work(ledger):
        return 0
    paused = [
        batch
        for batch in ledger.batches()
        if _is_open(ledger, batch)
        and ledger.set_state(batch, BatchState.PAUSED, "operator", only_from=(BatchState.OPEN,))
    ]
    try:
        edits = at_work(ledger)
        say(f"Stopping; first what is at the API is fetched: {counted(edits, 'edit')}. Ctrl-C stops at once.")
        deadline = clock() + seconds
        while edits and clock() < deadline:
            sleep(_LOOK_S)
            edits = at_work(ledger)
    finally:
        for batch in paused:
            ledger.set_state(batch, BatchState.OPEN, "", only_from=(BatchState.PAUSED,))
    return edits


def at_work(ledger: Ledger) -> int:
    """Return how many edits of all batches are at the API or on their way from it."""
    found = [ledger.batch(batch) for batch in ledger.batches()]
    return sum(entry[1].counts.get(state, 0) for entry in found if entry is not None for state in _AT_WORK)


def _is_open(ledger: Ledger, batch: str) -> bool:
    found = ledger.batch(batch)
    return found is not None and found[1].state == BatchState.OPEN
