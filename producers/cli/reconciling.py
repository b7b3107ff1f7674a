"""`retouch reconcile`: batches are put right after Redis was emptied or went back in time."""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import typer

from config.parts import days_of, place_of
from jobs.batch import Batch
from jobs.errors import NotFound
from jobs.ledger.port import Epoch
from jobs.life import Life, open_rounds
from jobs.outcome import usd
from jobs.report.wording import counted, dollars
from producers.cli import options as o
from producers.cli.house import House, looking_house
from producers.cli.voice import OK, Stop, Voice
from producers.daybook import restore_today
from producers.reconcile import Finding, examine, put_right

Batches = Annotated[
    list[str] | None,
    typer.Argument(metavar="[BATCH]...", help="The batches; without any, those that the ledger has lost."),
]


def reconcile(batch: Batches = None, yes: o.Yes = False, json: o.Json = False, quiet: o.Quiet = False) -> int:
    """Build batches anew in Redis from the bucket, after Redis was emptied or went back in time; shows it first."""
    voice = Voice(json=json, quiet=quiet)
    with looking_house(voice) as house:
        life = _life(house)
        lost = _lost(life, house)
        names = list(batch or lost)
        findings = [_examined(house.view.agreed(name), house) for name in names]
        for finding in findings:
            voice.tell(_in_words(finding))
        if not findings:
            voice.tell("No batch is lost.")
        started = bool(findings or house.ledger.epoch().guard) and (
            yes or (voice.at_terminal and voice.confirm("Put this right, and go on?"))
        )
        if started:
            restore_today(
                [finding.batch.id for finding in findings],
                ledger=house.ledger,
                bucket=house.bucket,
                layout=house.layout,
                days=days_of(house.settings),
            )
            for finding in findings:
                _put_right(finding, house)
            if left := sorted(set(lost) - set(names)):
                voice.warn(f"Still lost, so nothing is submitted yet: {', '.join(left)}.")
            else:
                _begin_epoch(life, house)
        elif findings:
            voice.note("Nothing was changed: --yes does it.")
        voice.document({"batches": [_document(finding) for finding in findings], "changed": started})
        return OK


def _life(house: House) -> Life | None:
    try:
        return Life.from_json(house.bucket.get(house.layout.life(place_of(house.settings))))
    except NotFound:
        return None


def _lost(life: Life | None, house: House) -> list[str]:
    """Return the batches that were open when the ledger was last seen, and have not ended since."""
    guarded = bool(house.ledger.epoch().guard)
    held = () if guarded else house.ledger.batches()
    return [name for name in (life.batches if life else ()) if name not in held and not house.view.over(name)]


def _examined(agreed: Batch, house: House) -> Finding:
    if house.view.over(agreed.id):
        raise Stop(
            "ended",
            f"The batch {agreed.id} has its report: nothing of it is lost.",
            f"`retouch retry {agreed.id}` runs again what did not make it.",
        )
    found = house.ledger.batch(agreed.id)
    if found is not None and not house.ledger.epoch().guard:
        raise Stop(
            "running",
            f"Redis holds {agreed.id}, and has not gone back in time.",
            f"`retouch status {agreed.id}` shows how it stands.",
        )
    return examine(
        agreed,
        bucket=house.bucket,
        layout=house.layout,
        ledger=house.ledger,
        catalogue=house.catalogue,
        intents=house.settings.submit.intents_in_bucket,
    )


def _put_right(finding: Finding, house: House) -> None:
    put_right(
        finding,
        bucket=house.bucket,
        layout=house.layout,
        ledger=house.ledger,
        catalogue=house.catalogue,
        doubt_wait_s=house.settings.submit.doubt_wait_s,
        days=days_of(house.settings),
    )
    house.hints.look(order.job for order in finding.restored.orders)
    house.hints.feed(finding.batch.id, finding.batch.groups)


def _begin_epoch(life: Life | None, house: House) -> None:
    """Let submissions begin again."""
    seen, now = life.intents if life else 0, house.ledger.epoch()
    begun = Epoch(id=uuid.uuid4().hex, intents=max(seen, now.intents) + 1)
    told = Life(id=begun.id, intents=begun.intents, batches=open_rounds(house.ledger), at=house.ledger.now())
    key = house.layout.life(place_of(house.settings))
    house.bucket.put(key, told.as_json(), content_type="application/json")
    house.ledger.begin_epoch(begun, after=now.id)


def _in_words(finding: Finding) -> str:
    ended = sum(finding.restored.counts.values())
    lines = [
        f"{finding.batch.id}: {counted(finding.batch.rows, 'row')}, {ended:,} of them ended",
        f"  {counted(len(finding.bought), 'edit')} bought and not stored: followed to the end",
        f"  {counted(len(finding.doubtful), 'row')} in doubt: may have been bought"
        f" (at most {dollars(usd(sum(order.reserve for order, _ in finding.doubtful)))})",
        f"  {counted(finding.again, 'row')} fed and not submitted: queued again",
    ]
    if not finding.proved:
        lines.append(
            "  Submissions leave no intent in the bucket (RETOUCH_SUBMIT__INTENTS_IN_BUCKET is off),"
            " so every row that may have been under way counts as in doubt."
        )
    return "\n".join(lines)


def _document(finding: Finding) -> dict[str, Any]:
    return {
        "batch": finding.batch.id,
        "rows": finding.batch.rows,
        "ended": sum(finding.restored.counts.values()),
        "bought": len(finding.bought),
        "in_doubt": len(finding.doubtful),
        "again": finding.again,
        "intents": finding.proved,
    }
