"""`retouch status`, `pause`, `resume` and `cancel`: to look at batches and to say a word to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rich.table import Table
from rich.text import Text

from jobs.batch import Batch, BatchState, exit_code
from jobs.ledger.change import Closed
from jobs.models import MICROS_PER_USD
from jobs.money import Reached
from jobs.outcome import usd
from jobs.report.text import as_text
from jobs.report.wording import counted, dollars, moment, shown
from producers.cli import options as o
from producers.cli.doubting import give_held_up
from producers.cli.house import House, looking_house, working_house
from producers.cli.live import ended, panel, standing, urgency
from producers.cli.running import stage, to_the_end
from producers.cli.voice import CEILING, OK, Stop, Voice
from producers.follow import Following
from producers.kept import give_kept_up
from producers.kept import kept as kept_jobs
from producers.staging import left
from producers.submit import PLANNED_MARK
from producers.view import NO_WORKER

Document = dict[str, Any]


def status(batch: o.AnyBatch = None, watch: o.Watch = False, json: o.Json = False, quiet: o.Quiet = False) -> int:
    """Show a batch as it stands, or list all of them."""
    voice = Voice(json=json, quiet=quiet)
    try:
        with looking_house(voice) as house:
            if batch is None:
                found = house.view.batches()
                if watch:
                    return _one(the_only_open(found), house, voice, watch=True)
                _list(found, voice)
                voice.document({"batches": found})
                return OK
            return _one(batch, house, voice, watch=watch)
    except Stop as stop:
        if stop.code != "nothing_here" or batch is not None:
            raise
        voice.tell(stop.message)
        voice.document({"batches": []})
        return OK


def pause(batch: o.BatchName, json: o.Json = False, quiet: o.Quiet = False) -> int:
    """Let BATCH submit nothing more; edits that are at the API are fetched and stored."""
    voice = Voice(json=json, quiet=quiet)
    with looking_house(voice) as house:
        running_batch(batch, house)
        # Also one that waits: it might go on by itself otherwise.
        house.ledger.set_state(batch, BatchState.PAUSED, "operator", only_from=(BatchState.OPEN, BatchState.PAUSED))
        told(house.view.batch(batch), voice)
        return OK


def resume(
    batch: o.BatchName,
    max_cost: o.OtherMaxCost = None,
    group: o.StoppedGroup = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> int:
    """Let BATCH and its stopped groups go on; uploads what is left of its pictures, with the local stack to the end."""
    voice = Voice(json=json, quiet=quiet)
    with looking_house(voice, to_work=True) as house:
        agreed = running_batch(batch, house, or_planned=True)
        if group is not None:
            _check_stopped(batch, group, house)
        if max_cost is not None:
            agreed = replace(agreed, ceiling=round(max_cost * MICROS_PER_USD))
        _check_ceiling(agreed, house)
        house.ledger.resume_groups(batch, group or "")
        if max_cost is not None:
            house.ledger.set_ceiling(batch, agreed.ceiling)
        if house.stack is None or house.simulated == agreed.simulated:
            if house.runs_here and house.stack is not None:
                house.stack.add_worker()
            return _go_on(agreed, house, voice)
    if not agreed.simulated:
        raise Stop(
            "other_api",
            "This batch was started on the real API, and no key is set here.",
            "Set RETOUCH_API__KEYS (or BFL_API_KEY) as it was then.",
        )
    with working_house(voice, simulate=True) as house:
        return _go_on(agreed, house, voice)


def cancel(
    batch: o.BatchName,
    in_doubt: o.InDoubt = False,
    kept: o.Kept = False,
    yes: o.Yes = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> int:
    """End BATCH: nothing more is submitted; what is paid is fetched, and every other row ends as cancelled."""
    voice = Voice(json=json, quiet=quiet)
    with looking_house(voice) as house:
        if kept:
            _give_kept_up(house.view.agreed(batch), house, voice, yes=yes)
            told(house.view.batch(batch), voice)
            return OK
        if in_doubt:
            give_held_up(house.view.agreed(batch), house, voice, yes=yes)
            told(house.view.batch(batch), voice)
            return OK
        agreed = running_batch(batch, house)
        if not yes:
            found = house.view.batch(batch)
            open_rows = found["rows"] - ended(found)
            if not voice.confirm(f"Cancel {open_rows:,} of {found['rows']:,} rows of {batch}?"):
                voice.note("Nothing was changed.")
                voice.document(found)
                return OK
        only_from = (BatchState.OPEN, BatchState.PAUSED, BatchState.PLANNED)
        house.ledger.set_state(batch, BatchState.CANCELLED, "", only_from=only_from)
        house.hints.look(house.ledger.jobs_of(batch))
        house.hints.finish(batch)
        if house.runs_here and house.stack is not None and agreed.simulated == house.simulated:
            house.stack.add_worker()  # it follows what is paid to the bucket and writes the report
            with voice.screen() as screen:
                Following(house.view, batch, screen, stop=house.broken).run()
            house.check()
        told(house.view.batch(batch), voice)
        return OK


def _give_kept_up(agreed: Batch, house: House, voice: Voice, *, yes: bool) -> None:
    rows = counted(len(list(kept_jobs(agreed.id, house.ledger))), "row")
    if not yes and not voice.confirm(f"Give up the paid results of {rows} of {agreed.id} on workers' disks?"):
        voice.note("Nothing was changed.")
        return
    given_up = give_kept_up(agreed.id, house.ledger, house.hints)
    voice.note(f"Given up: {counted(given_up, 'row')}; `retouch retry {agreed.id}` buys them again.")


def _go_on(agreed: Batch, house: House, voice: Voice) -> int:
    house.view.no_worker = NO_WORKER
    _open_if_planned(agreed, house)
    house.ledger.set_state(agreed.id, BatchState.OPEN, "", only_from=(BatchState.PAUSED,))
    house.hints.feed(agreed.id, agreed.groups)
    return follow_or_tell(agreed, house, voice)


def follow_or_tell(agreed: Batch, house: House, voice: Voice, *, watch: bool = False) -> int:
    """Stay with an open batch where its workers end with this command, or if asked to; else upload and tell."""
    if house.runs_here or watch:
        return to_the_end(agreed, house, voice)
    progress = house.view.progress(agreed.id)
    if progress is not None and left(agreed, progress):
        stage(agreed, house, voice)
    told(house.view.batch(agreed.id), voice)
    return OK


def _open_if_planned(agreed: Batch, house: House) -> None:
    """Open a batch whose plan waits for a yes: an upload that was too dear to start by itself."""
    if house.view.waits(agreed.id):
        house.ledger.open_batch(agreed)
        house.bucket.delete(house.layout.batch(agreed.id, PLANNED_MARK))


def running_batch(batch: str, house: House, *, or_planned: bool = False) -> Batch:
    """Return a batch that has not ended; one that was never opened only with `or_planned`.

    Raises:
        UnknownBatch: nobody knows it.
        Stop: it has ended.
    """
    agreed = house.view.agreed(batch)
    progress = house.view.progress(batch)
    if progress is None or progress.state in (BatchState.DONE, BatchState.CANCELLED):
        if progress is None and house.view.waits(batch):
            if or_planned:
                return agreed
            raise Stop(
                "planned",
                f"The batch {batch} is only planned: nothing of it runs, and it costs nothing.",
                f"`retouch resume {batch}` starts it.",
            )
        state = progress.state if progress is not None else house.view.batch(batch)["state"]
        remedy = f"`retouch report {batch}` shows what became of it."
        raise Stop("ended", f"The batch {batch} is {state}: there is nothing to change.", remedy)
    return agreed


def _check_stopped(batch: str, group: str, house: House) -> None:
    progress = house.view.progress(batch)
    stops = progress.stops if progress is not None else {}
    if group not in stops:
        known = f"Stopped are: {', '.join(map(shown, sorted(stops)))}." if stops else "None is."
        raise Stop("no_such_group", f"No group {shown(group)!r} of {batch} is stopped.", known)


def _check_ceiling(agreed: Batch, house: House) -> None:
    """Refuse a ceiling at which the batch would pause again at once."""
    progress = house.view.progress(agreed.id)
    if progress is None or progress.state is not BatchState.PAUSED or progress.reason != "cap" or not progress.about:
        return
    reached = Reached.from_json(progress.about)
    least = progress.settled + reached.needed
    if reached.which != Closed.CEILING or least <= agreed.ceiling:
        return
    spent, needed, ceiling = (dollars(usd(sum_)) for sum_ in (progress.settled, reached.needed, agreed.ceiling))
    raise Stop(
        "ceiling",
        f"{spent} is spent and the next edit may cost {needed}: a ceiling of {ceiling} leaves no room for it.",
        f"`retouch resume {agreed.id} --max-cost USD` raises it: {dollars(usd(least))} is the least.",
        exit_code=CEILING,
    )


def the_only_open(found: list[Document]) -> str:
    """Return the batch that is meant where none is named.

    Raises:
        Stop: none is open, or several are.
    """
    alive = [each["batch"] for each in found if each["state"] in (BatchState.OPEN, BatchState.PAUSED)]
    if len(alive) == 1:
        return str(alive[0])
    message = f"--watch follows one batch, and {len(alive) or 'none'} {'are' if len(alive) > 1 else 'is'} open."
    raise Stop("usage", message, "`retouch status` lists them, `retouch status BATCH --watch` follows one.")


def _one(batch: str, house: House, voice: Voice, *, watch: bool) -> int:
    if watch:
        with voice.screen() as screen:
            found = Following(house.view, batch, screen, stop=house.broken).run()
        house.check()
        if "models" in found:
            voice.tell(as_text(found))
        voice.document(found)
        return exit_code(found)
    found = house.view.batch(batch)
    voice.tell(as_text(found) if "models" in found else panel(found))
    voice.document(found)
    return OK


def told(found: Document, voice: Voice) -> None:
    """Say how a batch stands now."""
    mark = "SIMULATED  " if found["simulated"] else ""
    hurry = urgency(found)
    voice.tell(f"{mark}{found['batch']}: {standing(found)}" + (f" ({hurry})" if hurry else ""))
    voice.document(found)


def _list(found: list[Document], voice: Voice) -> None:
    if not found:
        voice.tell("There are no batches yet.")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("batch", "state"):
        table.add_column(title, no_wrap=True)
    for title in ("ended", "rows", "spent"):
        table.add_column(title, justify="right")
    table.add_column("begun")
    for each in found:
        state = f"{each['state']} ({each['reason']})" if each["reason"] else str(each["state"])
        table.add_row(
            Text(shown(each["batch"])),
            Text(", ".join(filter(None, (state, urgency(each), "SIMULATED" if each["simulated"] else "")))),
            f"{ended(each):,}",
            f"{each['rows']:,}",
            dollars(each["cost_usd"]),
            moment(each["created_at"]),
        )
    voice.tell(table)
