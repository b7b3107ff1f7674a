"""`retouch report` and `retouch download`: what came of a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.report.text import as_text
from jobs.report.wording import counted
from producers.cli import options as o
from producers.cli.house import House, looking_house
from producers.cli.voice import OK, SOME_DID_NOT, Stop, Voice
from producers.collect import collect, save_report

Open = Annotated[bool, typer.Option("--open", help="Show the page in a browser.")]
Save = Annotated[
    Path | None, typer.Option("--save", metavar="FOLDER", help="Save the page and the tables into a folder.")
]


def report(
    batch: o.BatchName, open_: Open = False, save: Save = None, json: o.Json = False, quiet: o.Quiet = False
) -> int:
    """Show what became of BATCH; --save and --open fetch the page."""
    voice = Voice(json=json, quiet=quiet)
    with looking_house(voice) as house:
        agreed = house.view.agreed(batch)
        found = _summary(batch, house)
        folder = save or (house.out_folder(agreed.name) if open_ else None)
        if folder is not None:
            page = save_report(batch, folder, bucket=house.bucket, layout=house.layout)
            if page is not None:
                found["saved"] = str(page)
    voice.tell(as_text(found))
    if "saved" in found:
        voice.tell(f"Saved: {found['saved']}")
    voice.document(found)
    if open_ and "saved" in found:
        typer.launch(Path(found["saved"]).absolute().as_uri())
    return OK


def download(batch: o.BatchName, folder: o.Folder, json: o.Json = False, quiet: o.Quiet = False) -> int:
    """Bring the edited pictures of BATCH and its report into FOLDER; what is there already stays."""
    voice = Voice(json=json, quiet=quiet)
    with looking_house(voice) as house:
        agreed = house.view.agreed(batch)
        brought = collect(batch, agreed.name, folder, bucket=house.bucket, layout=house.layout)
    pictures = counted(brought.written, "picture")
    voice.tell(f"{folder}: {pictures} written, {brought.same:,} there already, {len(brought.failed):,} failed")
    for key, why in brought.failed:
        voice.warn(f"{key}: {why}")
    voice.document(
        {
            "batch": batch,
            "folder": str(folder),
            "written": brought.written,
            "same": brought.same,
            "bytes": brought.bytes,
            "failed": [{"output": key, "message": why} for key, why in brought.failed],
        }
    )
    return SOME_DID_NOT if brought.failed else OK


def _summary(batch: str, house: House) -> dict[str, Any]:
    found = house.view.summary(batch)
    if found is None:
        remedy = f"`retouch status {batch}` shows how far it is."
        raise Stop("no_report", f"The batch {batch} has no report yet: it is written when the batch ends.", remedy)
    return found
