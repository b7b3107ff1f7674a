"""What a person decides about rows that are held in doubt: they are bought again, or given up.

Nobody knows whether a held edit was charged. Buying it again is counted as what could have been paid twice; giving
it up as a row that did not make it. An answer that comes late has the last word in either case.
"""

from __future__ import annotations

from contextlib import suppress

from jobs.batch import Batch, BatchState
from jobs.errors import Superseded
from jobs.events import Cancelled, Event, Resubmitted
from jobs.held import held
from jobs.job import Job
from jobs.ledger.port import Ledger
from jobs.states import apply
from producers.messages import Hints


def buy_again(batch: Batch, ledger: Ledger, hints: Hints) -> int:
    """Queue every held job of a batch again and return how many; with each the ceiling rises by what it may cost.

    A second call does nothing to the jobs of the first, at the same time neither.

    Raises:
        LedgerError: the ledger cannot be reached; what it took before goes on.
    """
    ledger.set_state(batch.id, BatchState.OPEN, "", only_from=(BatchState.DONE,))
    again = [job.id for job in held(batch.id, ledger) if _decided(job, Resubmitted(), ledger)]
    _let_go(batch, ledger)
    hints.look(again)
    return len(again)


def give_up(batch: Batch, ledger: Ledger, hints: Hints) -> int:
    """End every held job of a batch and return how many.

    Raises:
        LedgerError: the ledger cannot be reached; what it took before stands.
    """
    given_up = sum(_decided(job, Cancelled(), ledger) for job in held(batch.id, ledger))
    if _let_go(batch, ledger):
        hints.feed(batch.id, batch.groups)
    hints.finish(batch.id)
    return given_up


def _let_go(batch: Batch, ledger: Ledger) -> bool:
    """Let a batch go on that waited for this decision. The tick would do so too, but who follows it looks at once."""
    return ledger.set_state(batch.id, BatchState.OPEN, "", only_from=(BatchState.PAUSED,), only_reason="doubt")


def _decided(job: Job, event: Event, ledger: Ledger) -> bool:
    with suppress(Superseded):  # its answer came
        ledger.record(job, apply(job, event, ledger.now()))
        return True
    return False
