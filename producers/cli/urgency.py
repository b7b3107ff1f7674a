"""`retouch priority`: says how much an open batch matters, and when it is to be done."""

from __future__ import annotations

from jobs.shares import Priority
from producers.cli import options as o
from producers.cli.asked import due_at
from producers.cli.batches import running_batch, told
from producers.cli.house import looking_house
from producers.cli.voice import OK, Voice

NONE = "none"


def priority(
    batch: o.BatchName, priority: o.PriorityLevel, by: o.NewBy = None, json: o.Json = False, quiet: o.Quiet = False
) -> int:
    """Let BATCH have more or fewer of the API's places than other open batches; what is in flight stays."""
    voice = Voice(json=json, quiet=quiet)
    with looking_house(voice) as house:
        agreed = running_batch(batch, house)
        progress = house.view.progress(batch)
        known = progress.urgency(agreed)[1] if progress is not None else agreed.by
        at = known if by is None else due_at(None if by == NONE else by, house.ledger.now(), house.settings)
        house.ledger.set_priority(batch, Priority(priority), at)
        house.hints.feed(batch, agreed.groups)  # so that the places are shared anew at once
        told(house.view.batch(batch), voice)
        return OK
