"""`retouch clean`: removes old staged pictures and, where a setting allows it, old filed results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from jobs.report.wording import counted
from producers.clean import Cleaning, Old
from producers.cli import options as o
from producers.cli.house import looking_house
from producers.cli.voice import OK, Voice

DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what would be removed.")]
_NAMES = {
    "inputs": ("staged picture", "RETOUCH_KEEP__INPUTS_DAYS"),
    "results": ("result", "RETOUCH_KEEP__RESULTS_DAYS"),
}


def clean(dry_run: DryRun = False, yes: o.Yes = False, json: o.Json = False, quiet: o.Quiet = False) -> int:
    """Remove staged pictures and filed results past their retention; never what was published. Asks first."""
    voice = Voice(json=json, quiet=quiet)
    with looking_house(voice) as house:
        keep = house.settings.keep
        cleaning = Cleaning(
            bucket=house.bucket,
            layout=house.layout,
            ledger=house.ledger,
            inputs_days=keep.inputs_days,
            results_days=keep.results_days,
        )
        found = cleaning.look()
        _tell(found, voice)
        objects = sum(old.objects for old in found)
        if dry_run or not objects:
            voice.document(_document(found, removed=False))
            return OK
        if not yes and not voice.confirm(f"Remove {counted(objects, 'object')} for good?"):
            voice.note("Nothing was removed.")
            voice.document(_document(found, removed=False))
            return OK
        found = cleaning.remove()
        voice.tell(f"Removed {counted(sum(old.objects for old in found), 'object')}.")
        voice.document(_document(found, removed=True))
        return OK


def _tell(found: Sequence[Old], voice: Voice) -> None:
    for old in found:
        name, variable = _NAMES[old.kind]
        if old.days is None:
            voice.tell(f"{name}s: kept for ever ({variable} is not set)")
            continue
        if old.why_not:
            voice.tell(f"{name}s: none is removed now, because {old.why_not}")
            continue
        age = f"over {counted(old.days, 'day')} old"
        spared = f"; {old.spared:,} more are named by batches that have not ended" if old.spared else ""
        voice.tell(f"{name}s: {old.objects:,} {age}, {old.bytes / 1_000_000:,.1f} MB{spared}")
        for key in old.examples:
            voice.tell(f"  {key}")
        if old.objects > len(old.examples):
            voice.tell(f"  and {old.objects - len(old.examples):,} more")


def _document(found: Sequence[Old], *, removed: bool) -> dict[str, Any]:
    kinds = {
        old.kind: {
            "days": old.days,
            "objects": old.objects,
            "bytes": old.bytes,
            "spared": old.spared,
            "why_not": old.why_not,
        }
        for old in found
    }
    return {"removed": removed, **kinds}
