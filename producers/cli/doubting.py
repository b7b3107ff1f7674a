"""`retry --in-doubt` and `cancel --in-doubt`: a person decides about rows that may have been paid for."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.batch import Batch
from jobs.held import held
from jobs.job import Job
from jobs.outcome import usd
from jobs.report.wording import counted, dollars
from producers.cli.house import House
from producers.cli.voice import Stop, Voice
from producers.doubts import buy_again, give_up
from producers.rounds import NoRound, ended

NOTHING_HELD = "No row of {} is held in doubt."


def asked_to_buy_again(agreed: Batch, jobs: Sequence[Job], house: House, voice: Voice, *, yes: bool) -> bool:
    """Queue these held jobs again, once their price is accepted; False if the answer is no."""
    most = dollars(usd(sum(job.order.reserve for job in jobs)))
    edits = counted(len(jobs), "edit")
    if yes:
        voice.note(f"{edits} in doubt again, for at most {most}.")
    elif not voice.confirm(f"Buy {edits} again for at most {most}? They may have been paid for already."):
        voice.note("Nothing was started.")
        voice.document({**house.view.batch(agreed.id), "started": False})
        return False
    again = buy_again(agreed, house.ledger, house.hints)
    if again < len(jobs):
        voice.note(f"{counted(len(jobs) - again, 'row')} got an answer meanwhile.")
    return True


def give_held_up(agreed: Batch, house: House, voice: Voice, *, yes: bool) -> bool:
    """End the held jobs of a batch; False if the answer is no.

    Raises:
        Stop: there are none.
    """
    jobs = list(held(agreed.id, house.ledger))
    if not jobs:
        remedy = f"`retouch report {agreed.id}` shows what became of its rows."
        raise Stop("nothing_held", NOTHING_HELD.format(agreed.id), remedy)
    rows = counted(len(jobs), "row")
    if not yes and not voice.confirm(f"Give up {rows} of {agreed.id} in doubt? They may have been paid for."):
        voice.note("Nothing was changed.")
        return False
    given_up = give_up(agreed, house.ledger, house.hints)
    voice.note(f"Given up: {counted(given_up, 'row')}; an answer that still comes is recorded.")
    if house.runs_here and house.stack is not None and agreed.simulated == house.simulated:
        house.stack.add_worker()  # it writes the report again
        try:
            ended(agreed.id, house.ledger)
        except NoRound as error:
            voice.note(str(error))
    return True
