"""`retouch spend`: what was spent, over all batches."""

from __future__ import annotations

import csv
import sys
from datetime import date
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from jobs.outcome import usd
from jobs.report.wording import dollars, shown
from jobs.spend import By, Spending
from producers.cli import options as o
from producers.cli.house import looking_house
from producers.cli.voice import OK, Stop, Voice
from producers.spend import add_batch

Since = Annotated[str, typer.Option("--since", metavar="DATE", help="Only edits of this day (2026-11-22) and later.")]
ByOption = Annotated[By, typer.Option("--by", help="What the sums are for.")]
Csv = Annotated[bool, typer.Option("--csv", help="A table for a spreadsheet on stdout.")]


def spend(
    since: Since = "", by: ByOption = "day", csv_: Csv = False, json: o.Json = False, quiet: o.Quiet = False
) -> int:
    """Show what was spent: by day, model, API key, cause, or preset. What may have been paid is a column of its own."""
    voice = Voice(json=json, quiet=quiet)
    if csv_ and json:
        raise Stop("usage", "--csv and --json are two forms of one answer.", "Give one of them.")
    if since and not _is_day(since):
        raise Stop("usage", f"{shown(since)} is no day.", "Write it as 2026-11-22.")
    real, simulated = Spending(by, since), Spending(by, since)
    with looking_house(voice) as house:
        for batch in dict.fromkeys([*house.ledger.batches(), *house.view.stored()]):
            sums = simulated if house.view.agreed(batch).simulated else real
            add_batch(sums, batch, ledger=house.ledger, bucket=house.bucket, layout=house.layout)
    if csv_:
        _csv(real, simulated)
        return OK
    for title, sums in (("", real), ("SIMULATED: no money was spent", simulated)):
        if sums.entries:
            voice.tell(_table(sums, title))
    if not real.entries and not simulated.entries:
        voice.tell("Nothing was spent.")
    voice.document({"by": by, "since": since or None, **_document(real), "simulated": _document(simulated)})
    return OK


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _document(sums: Spending) -> dict[str, Any]:
    total = sums.total
    known = {"edits": total.edits, "cost_usd": usd(total.micros), "maybe_usd": usd(total.maybe)}
    return {**known, "entries": sums.rows()}


def _table(sums: Spending, title: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", title=title or None, title_justify="left")
    table.add_column(sums.by)
    for name in ("edits", "spent", "may have been paid too"):
        table.add_column(name, justify="right")
    for row in sums.rows():
        maybe = dollars(row["maybe_usd"]) if row["maybe_usd"] else ""
        table.add_row(Text(shown(str(row[sums.by]))), f"{row['edits']:,}", dollars(row["cost_usd"]), maybe)
    total = sums.total
    table.add_section()
    table.add_row("in all", f"{total.edits:,}", dollars(usd(total.micros)), dollars(usd(total.maybe)))
    return table


def _csv(real: Spending, simulated: Spending) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([real.by, "edits", "cost_usd", "maybe_usd", "simulated"])
    for sums, mark in ((real, ""), (simulated, "simulated")):
        for row in sums.rows():
            writer.writerow([row[sums.by], row["edits"], f"{row['cost_usd']:.6f}", f"{row['maybe_usd']:.6f}", mark])
