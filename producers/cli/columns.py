"""`retouch columns`: what a table's columns look like, as a draft of a source profile."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from producers.cli import options as o
from producers.cli.voice import OK, Voice
from producers.manifest.opened import open_manifest
from producers.manifest.output import batch_name
from producers.sources.draft import draft, look

File = Annotated[Path, typer.Argument(help="The table: CSV, XLSX, JSON or Parquet.", metavar="FILE")]


def columns(file: File, json: o.Json = False) -> int:
    """Draft a source profile for FILE: which columns hold pictures and which the id. Save it, then use --source."""
    voice = Voice(json=json)
    found = look(open_manifest(file))
    text = draft(batch_name(file), found)
    if not json:
        typer.echo(text, nl=False)
    voice.document(
        {
            "profile": text,
            "columns": [
                {"name": c.name, "example": c.example, "pictures": c.holds_pictures, "split": c.split} for c in found
            ],
        }
    )
    return OK
