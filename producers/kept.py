"""What a person decides about results that lie on a disk which will not come back: their rows are given up.

They were paid for. If the disk does come back, what lies on it is filed all the same, and the next run finds it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from jobs.errors import Superseded
from jobs.events import Failed
from jobs.job import Job, State
from jobs.ledger.port import Ledger
from jobs.states import apply
from producers.messages import Hints

GIVEN_UP = "it was kept on a worker's disk that was given up"


def kept(batch: str, ledger: Ledger) -> Iterator[Job]:
    """Yield the jobs of a batch whose results lie on a disk, but for those that are just being stored.

    Raises:
        LedgerError: the ledger cannot be reached.
    """
    for name in ledger.jobs_of(batch):
        job = ledger.load(name)
        if job is not None and job.state is State.KEPT and not job.owner:
            yield job


def give_kept_up(batch: str, ledger: Ledger, hints: Hints) -> int:
    """End every kept job of a batch as paid and not delivered, and return how many.

    Raises:
        LedgerError: the ledger cannot be reached; what it took before stands.
    """
    given_up = 0
    for job in kept(batch, ledger):
        lost = Failed(code="paid_not_delivered", detail=GIVEN_UP, paid=True)
        with suppress(Superseded):  # its disk came back
            ledger.record(job, apply(job, lost, ledger.now()))
            given_up += 1
    hints.finish(batch)
    return given_up
