"""Every option and argument of the command line, defined once, so that it means the same in every command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.shares import Priority as Level

_WHAT = "What to edit"
_HOW = "How to run"
_SAY = "Output"

Manifest = Annotated[
    Path,
    typer.Argument(
        help="The manifest: CSV, XLSX, JSON (lines or an array) or Parquet; a folder; s3://bucket/prefix/.",
        show_default=False,
        metavar="MANIFEST",
    ),
]
BatchName = Annotated[str, typer.Argument(help="The batch, as `retouch status` lists it.", metavar="BATCH")]
AnyBatch = Annotated[
    str | None, typer.Argument(help="The batch; without it all are listed.", metavar="[BATCH]", show_default=False)
]
Folder = Annotated[Path, typer.Argument(help="The folder to write into; it is made.", metavar="FOLDER")]

Prompt = Annotated[
    str | None,
    typer.Option(
        help='For rows without one. A template: "Put the {product_name} on white". Default: the column `prompt`.',
        rich_help_panel=_WHAT,
    ),
]
Model = Annotated[
    str | None, typer.Option(help="For rows without one. Default: flux-2-pro.", rich_help_panel=_WHAT, metavar="NAME")
]
Name = Annotated[
    str | None,
    typer.Option(
        help="The batch's name, which starts its output keys. Default: the manifest's, without dates.",
        rich_help_panel=_WHAT,
    ),
]
Output = Annotated[
    str | None,
    typer.Option(help="Template of the output keys. Default: {name}/{id|slug}.{ext}", rich_help_panel=_WHAT),
]
Fields = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        metavar="NAME=VALUE",
        help="A field of the model for rows without one; may be repeated.",
        rich_help_panel=_WHAT,
    ),
]
Seed = Annotated[
    int | None, typer.Option(help="Short for --field seed=N. Default: the API's choice.", rich_help_panel=_WHAT)
]
OutputFormat = Annotated[
    str | None,
    typer.Option(
        help="Short for --field output_format=F (jpeg, png, webp). Default: the model's.",
        rich_help_panel=_WHAT,
        metavar="FORMAT",
    ),
]
References = Annotated[
    list[str] | None,
    typer.Option(
        "--ref",
        metavar="URI",
        help="A reference picture for rows without one: a path from here, s3:// or https://; may be repeated.",
        rich_help_panel=_WHAT,
    ),
]
Group = Annotated[
    str | None,
    typer.Option(metavar="COLUMN", help="The column that says which rows belong together.", rich_help_panel=_WHAT),
]
DataColumns = Annotated[
    list[str] | None,
    typer.Option(
        "--data-column",
        metavar="NAME",
        help="Take this column as data although it looks like a misspelt one; may be repeated.",
        rich_help_panel=_WHAT,
    ),
]
Pattern = Annotated[
    str | None,
    typer.Option(
        metavar="PATTERN",
        help='What names of a folder consist of: "{sku}_{position}.{ext}". Default: they mean nothing.',
        rich_help_panel=_WHAT,
    ),
]
Source = Annotated[
    str | None,
    typer.Option(
        metavar="PROFILE",
        help="What the columns of an export mean: akeneo, shopify, woocommerce, or a TOML file of your own.",
        rich_help_panel=_WHAT,
    ),
]
DateIds = Annotated[
    bool,
    typer.Option(
        "--date-ids",
        help="Take ids that look like dates as they are. Default: an error, as spreadsheets make dates of ids.",
        rich_help_panel=_WHAT,
    ),
]
PassUrls = Annotated[
    bool,
    typer.Option(
        "--pass-urls", help="Let the API fetch https:// pictures itself. Default: workers do.", rich_help_panel=_WHAT
    ),
]

Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Replace objects that Retouch did not write. Default: never.", rich_help_panel=_HOW
    ),
]
Fresh = Annotated[
    bool,
    typer.Option("--fresh", help="Buy edits again that are filed already. Default: never.", rich_help_panel=_HOW),
]
SkipInvalid = Annotated[
    bool,
    typer.Option("--skip-invalid", help="Leave bad rows out. Default: they stop the batch.", rich_help_panel=_HOW),
]
StoppedGroup = Annotated[
    str | None,
    typer.Option("--group", metavar="NAME", help="Only this group goes on, of those that are stopped. Default: all."),
]
MaxCost = Annotated[
    float | None,
    typer.Option(
        min=0, metavar="USD", help="The batch pauses before it costs more. Default: `at most`.", rich_help_panel=_HOW
    ),
]
OtherMaxCost = Annotated[
    float | None,
    typer.Option("--max-cost", min=0, metavar="USD", help="The batch pauses before it costs more. Default: as it was."),
]
Priority = Annotated[
    Level,
    typer.Option(
        help="How many of the API's places it has beside other open batches: an urgent one eight times as many.",
        rich_help_panel=_HOW,
    ),
]
By = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="When it is to be done: 06:00, or 2026-11-24T06:00 (RETOUCH_MONEY__TIMEZONE); then it gets more places.",
        rich_help_panel=_HOW,
    ),
]
PriorityLevel = Annotated[Level, typer.Argument(help="What it is from now on.", show_default=False)]
NewBy = Annotated[
    str | None,
    typer.Option(
        "--by", metavar="TIME", help="Its deadline from now on: 06:00, 2026-11-24T06:00, or none. Default: as it was."
    ),
]
Simulate = Annotated[
    bool,
    typer.Option(
        "--simulate",
        help="Use the built-in simulator: nothing is bought. "
        "Default: only where no API key and no service of your own is set.",
        rich_help_panel=_HOW,
    ),
]
WithWorker = Annotated[
    bool,
    typer.Option(
        "--with-worker",
        help="Start a worker here although RETOUCH_REDIS__URL is set. Default: only without it.",
        rich_help_panel=_HOW,
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.", rich_help_panel=_HOW)]

Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.", rich_help_panel=_SAY)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.", rich_help_panel=_SAY)]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Follow the batch to its end.", rich_help_panel=_SAY)]

InDoubt = Annotated[
    bool, typer.Option("--in-doubt", help="The rows that are held in doubt, and only these: they may have been paid.")
]
Kept = Annotated[
    bool, typer.Option("--kept", help="The rows whose results lie on a worker's disk that will not come back.")
]
