"""`retouch schedule list`, `run`, `pause` and `history`: what runs by itself, and what became of it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from rich.table import Table
from rich.text import Text

from jobs.report.wording import counted, dollars, shown
from producers.cli import options as o
from producers.cli.house import House, looking_house
from producers.cli.running import stage
from producers.cli.voice import OK, Stop, Voice
from producers.intake.desk import Desk, Lost
from producers.intake.firing import fire
from producers.manifest.spelling import hint
from producers.schedules.cron import from_stamp, stamp
from producers.schedules.file import Schedule, read_schedules
from producers.schedules.history import OPENED, History, Record

schedule = typer.Typer(name="schedule", help="What runs by itself, and what became of it.", no_args_is_help=True)

ScheduleName = Annotated[str, typer.Argument(help="The schedule, as schedules.toml names it.", metavar="NAME")]
Last = Annotated[int, typer.Option(min=1, max=1000, help="How many runs are shown.")]
Anyway = Annotated[bool, typer.Option("--anyway", help="Run it although it would be held.")]
Off = Annotated[bool, typer.Option("--off", help="Let a paused schedule go on.")]


@schedule.command("list")
def list_(json: o.Json = False, quiet: o.Quiet = False) -> int:
    """List the schedules: when each fires next, and what became of its last run."""
    voice = Voice(json=json, quiet=quiet)
    with looking_house(voice) as house:
        desk = _desk(house)
        found = [_about(each, desk) for each in read_schedules(house.settings.schedules).values()]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("schedule", "cron", "next", "at most", "last"):
        table.add_column(title)
    for each in found:
        following = "paused" if each["paused"] else _local(each["next"], each["time_zone"])
        last = each["last"]
        told = f"{last['outcome']}, {_local(last['firing'], each['time_zone'])}" if last else "none yet"
        table.add_row(
            each["name"], f"{each['cron']} {each['time_zone']}", following, dollars(each["max_cost_usd"]), told
        )
    voice.tell(table if found else f"There are no schedules in {house.settings.schedules}.")
    voice.document({"schedules": found})
    return OK


@schedule.command()
def run(
    name: ScheduleName, anyway: Anyway = False, yes: o.Yes = False, json: o.Json = False, quiet: o.Quiet = False
) -> int:
    """Run NAME now, beside its firings; a pause does not matter."""
    voice = Voice(json=json, quiet=quiet)
    with looking_house(voice, to_work=True) as house:
        desk, found = _desk(house), _known(name, house)
        if not yes and not voice.confirm(f"Run {name} now, for at most {dollars(found.max_cost_usd)}?"):
            voice.note("Nothing was started.")
            return OK
        try:
            record = fire(found, desk.now().replace(microsecond=0), desk, by_hand=True, anyway=anyway)
        except Lost:
            record = None
        if record is None:
            remedy = f"`retouch schedule history {name}` shows what comes of it."
            raise Stop("busy", f"A run of {name} is being planned just now.", remedy)
        if record.batch:
            voice.note(f"{record.batch} is open: `retouch status {record.batch} --watch` follows it.")
            stage(house.view.agreed(record.batch), house, voice)
    if record.outcome != OPENED:
        remedy = "Mend the source, or give --anyway." if record.rows else "Mend the source."
        raise Stop("held", f"Held: {record.why}", remedy, exit_code=5, document=asdict(record))
    voice.tell(record.batch)
    voice.document(asdict(record))
    return OK


@schedule.command()
def pause(name: ScheduleName, off: Off = False, json: o.Json = False, quiet: o.Quiet = False) -> int:
    """Let the firings of NAME pass by, until --off."""
    voice = Voice(json=json, quiet=quiet)
    with looking_house(voice) as house:
        desk, found = _desk(house), _known(name, house)
        History(name, desk.bucket, desk.layout).pause(not off)
        about = _about(found, desk)
    goes_on = f"{name} goes on: {_local(about['next'], found.time_zone)} is next."
    voice.tell(goes_on if off else f"{name} is paused: `retouch schedule pause {name} --off` lets it go on.")
    voice.document(about)
    return OK


@schedule.command()
def history(name: ScheduleName, last: Last = 30, json: o.Json = False, quiet: o.Quiet = False) -> int:
    """Show what became of the last firings of NAME."""
    voice = Voice(json=json, quiet=quiet)
    with looking_house(voice) as house:
        found, desk = _known(name, house), _desk(house)
        records = History(name, desk.bucket, desk.layout).records(last)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("firing", "outcome", "rows", "invalid", "new", "expected", "batch or why"):
        table.add_column(title, justify="right" if title in ("rows", "invalid", "new", "expected") else "left")
    for each in records:
        table.add_row(*_cells(each, found))
    voice.tell(table if records else f"{name} has not run yet.")
    voice.document({"schedule": name, "firings": [asdict(each) for each in records]})
    return OK


def _cells(record: Record, found: Schedule) -> tuple[Text, ...]:
    when = _local(record.firing, found.time_zone) + (" by hand" if record.by_hand else "")
    numbers = (f"{record.rows:,}", f"{record.invalid:,}", f"{record.delta:,}", dollars(record.expected_usd))
    told = record.batch or shown(record.why, 200)
    if record.without_picture:
        told += f" ({counted(record.without_picture, 'row')} without a picture)"
    return tuple(Text(cell) for cell in (when, record.outcome, *numbers, told))


def _about(found: Schedule, desk: Desk) -> dict[str, Any]:
    kept = History(found.name, desk.bucket, desk.layout)
    last = kept.records(1)
    following = found.times.following(desk.now())
    return {
        "name": found.name,
        "cron": found.cron,
        "time_zone": found.time_zone,
        "manifest": found.source,
        "max_cost_usd": found.max_cost_usd,
        "paused": kept.paused,
        "next": stamp(following) if following else "",
        "last": asdict(last[0]) if last else None,
    }


def _known(name: str, house: House) -> Schedule:
    known = read_schedules(house.settings.schedules)
    if name not in known:
        path = house.settings.schedules
        raise Stop("unknown_schedule", f"There is no schedule {shown(name)} in {path}{hint(name, list(known))}.")
    return known[name]


def _desk(house: House) -> Desk:
    return Desk(
        settings=house.settings,
        catalogue=house.catalogue,
        ledger=house.ledger,
        bucket=house.bucket,
        layout=house.layout,
        hints=house.hints,
        origin=house.origin,
        simulated=house.simulated,
    )


def _local(firing: str, zone: str) -> str:
    if not firing:
        return "never"
    at: datetime = from_stamp(firing).astimezone(ZoneInfo(zone))
    return f"{at:%Y-%m-%d %H:%M %Z}"
