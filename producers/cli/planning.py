"""`retouch plan`, and how a plan is shown by every command that makes one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from config.parts import bucket_of, catalogue_of, layout_of
from config.settings import Settings, SettingsError
from jobs.bucket.port import Head
from jobs.errors import StorageError
from jobs.models import Catalogue
from jobs.outcome import usd
from jobs.report.wording import counted, dollars, duration, shown
from jobs.row import Row
from producers.cli import options as o
from producers.cli.asked import Asked, taking_asked
from producers.cli.house import SIMULATED_ORIGIN, House, looking_house, settings_of
from producers.cli.voice import OK, USAGE, Stop, Voice
from producers.known import KnownRows, known_rows
from producers.manifest.listing import Objects, s3_place
from producers.plan import Idle, Line, OnProgress, Plan, make_plan
from producers.price import Estimate
from producers.stack.local import running_record
from producers.stack.storage import BUCKET
from producers.stack.wanted import what_is_wanted

_ITEMS_SHOWN = 12

_FIRST_WORD_S = 2.0
"""How long rows are checked before a speed and an end are told."""


@taking_asked
def plan(asked: Asked, json: o.Json = False, quiet: o.Quiet = False) -> int:
    """Check every row of MANIFEST and show what would run, with its price. Nothing is started or bought."""
    voice = Voice(json=json, quiet=quiet)
    settings = settings_of(voice)
    with _local_store(asked, settings, voice) as house, _done_before(asked, settings, voice, house) as done:
        store, settle, settles = house.settings if house else settings, done.is_done, done.is_possible
        made = planned(asked, store, catalogue_of(settings), voice, settle=settle, settles=settles)
    if made.invalid and not asked.skip_invalid:
        raise refused(made, document(made))
    if not voice.json:
        show(made, voice.out)
    voice.document(document(made))
    return OK if made.rows else USAGE


def planned(
    asked: Asked,
    settings: Settings,
    catalogue: Catalogue,
    voice: Voice,
    *,
    lines: Line | None = None,
    aside: Idle = lambda _: None,
    settle: Callable[[Row], bool] | None = None,
    settles: Callable[[], bool] = lambda: True,
) -> Plan:
    """Make the plan; bad rows are shown, and `errors.csv` is written beside the batch's results.

    Raises:
        ManifestError: the manifest as a whole cannot be used.
        Stop: no row can be used.
    """
    if settings.s3.bucket is None:  # the local store's, which need not run for a plan
        settings = settings.model_copy(update={"s3": settings.s3.model_copy(update={"bucket": BUCKET})})
    if not asked.manifest.exists() and not s3_place(asked.manifest):
        remedy = "Give the path of a table or a folder, or s3://bucket/prefix/."
        raise Stop("manifest", f"There is no file {shown(str(asked.manifest))}.", remedy)
    errors_csv = settings.out_dir / asked.batch_name() / "errors.csv"
    errors_csv.unlink(missing_ok=True)
    with _progress(voice) as on_progress:
        made = make_plan(
            asked.manifest,
            asked.plan_options(settings),
            catalogue,
            errors_csv=errors_csv,
            lines=lines,
            aside=aside,
            settle=settle,
            settles=settles,
            on_progress=on_progress,
            objects=_listing(settings),
        )
    if made.invalid:
        show_problems(made, voice)
    if not made.rows:
        why = f"None of the {counted(made.invalid, 'row')} can be used." if made.invalid else "There are no rows in it."
        raise Stop("manifest", f"{shown(made.manifest)}: {why}", _where(made), document=document(made))
    return made


def refused(made: Plan, found: dict[str, Any]) -> Stop:
    """Return why a manifest with bad rows starts nothing."""
    bad, every = counted(made.invalid, "row"), made.rows + made.invalid
    message = f"{shown(made.manifest)}: {bad} of {every:,} cannot be used, so nothing was started."
    return Stop("invalid_rows", message, f"{_where(made)} --skip-invalid leaves them out.".strip(), document=found)


def show(made: Plan, console: Console) -> None:
    """Show what would run."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("model")
    for title in ("rows", "expected", "at most"):
        table.add_column(title, justify="right")
    for line in made.estimate.models:
        table.add_row(Text(line.title), f"{line.rows:,}", dollars(usd(line.expected)), dollars(usd(line.at_most)))
    estimate = made.estimate
    table.add_section()
    table.add_row("in all", f"{estimate.rows:,}", dollars(usd(estimate.expected)), dollars(usd(estimate.at_most)))
    console.print(Text(shown(made.understood)))
    if made.unchanged:
        console.print(f"{made.unchanged:,} of {counted(made.rows, 'row')} unchanged: done before, so not edited again.")
    if estimate.rows:
        console.print(table)
        console.print(_items(estimate))
        console.print(f"Takes about {duration(estimate.seconds)} with every slot free. {_ceiling(made)}")
    if made.invalid:
        left_out = f"{counted(made.invalid, 'row')} cannot be used and will be left out. {_where(made)}"
        console.print(Text(left_out))


def _items(estimate: Estimate) -> Table:
    """Return what the two sums are made of, as a table."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("of these")
    for title in ("rows", "expected", "at most"):
        table.add_column(title, justify="right")
    edits = [item for item in estimate.items if item.rows and item.kind in ("edits", "unknown_size")]
    beside = [item for item in estimate.items if item not in edits]
    for item in edits[:_ITEMS_SHOWN]:
        table.add_row(Text(item.title), f"{item.rows:,}", dollars(usd(item.expected)), dollars(usd(item.at_most)))
    if len(edits) > _ITEMS_SHOWN:
        rest = edits[_ITEMS_SHOWN:]
        sums = (dollars(usd(sum(sums))) for sums in ([i.expected for i in rest], [i.at_most for i in rest]))
        table.add_row(f"{len(rest):,} more kinds of edits", f"{sum(i.rows for i in rest):,}", *sums)
    for item in beside:
        table.add_row(Text(item.title), "", dollars(usd(item.expected)), dollars(usd(item.at_most)))
    return table


def show_problems(made: Plan, voice: Voice) -> None:
    """Show the first bad rows, on stderr."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("line", justify="right")
    for title in ("column", "code", "what is wrong", "what would be right"):
        table.add_column(title, overflow="fold")
    for problem in made.problems:
        texts = (problem.column, problem.code, problem.message, problem.remedy)
        table.add_row(f"{problem.line:,}", *(Text(shown(text, 200)) for text in texts))
    voice.err.print(table)
    hidden = made.problem_count - len(made.problems)
    if hidden > 0:
        voice.err.print(Text(f"and {hidden:,} more"))


def document(made: Plan) -> dict[str, Any]:
    """Return the plan as `--json` prints it."""
    estimate = made.estimate
    return {
        "manifest": made.manifest,
        "name": made.name,
        "understood": made.understood,
        "rows": made.rows,
        "unchanged": made.unchanged,
        "invalid": made.invalid,
        "problems": [
            {"line": p.line, "column": p.column, "code": p.code, "message": p.message, "remedy": p.remedy}
            for p in made.problems
        ],
        "problem_count": made.problem_count,
        "errors_csv": str(made.errors_csv) if made.errors_csv else None,
        "models": [
            {
                "model": line.model,
                "title": line.title,
                "rows": line.rows,
                "expected_usd": usd(line.expected),
                "at_most_usd": usd(line.at_most),
            }
            for line in estimate.models
        ],
        "expected_usd": usd(estimate.expected),
        "at_most_usd": usd(estimate.at_most),
        "allowance_usd": usd(estimate.allowance),
        "estimate": {
            "expected_usd": usd(estimate.expected),
            "at_most_usd": usd(estimate.at_most),
            "items": [item.as_json() for item in estimate.items],
        },
        "ceiling_usd": usd(made.ceiling),
        "seconds": round(estimate.seconds, 1),
        "local": made.local,
    }


@contextmanager
def _local_store(asked: Asked, settings: Settings, voice: Voice) -> Iterator[House | None]:
    """Open the local store where the manifest is a prefix in it; None where it is not.

    It is started where it does not run, as `status` does: what is in it cannot be listed otherwise.

    Raises:
        Stop: the prefix lies in no store that is known here.
    """
    place = "" if asked.manifest.exists() else s3_place(asked.manifest)
    if not place or settings.has_real_storage:
        yield None
        return
    own = "set RETOUCH_S3__BUCKET, and RETOUCH_S3__ENDPOINT_URL where it is not AWS"
    if not place.startswith(f"s3://{BUCKET}/"):
        raise Stop("manifest", f"No store is set in which {shown(place)} could lie.", f"{own[0].upper()}{own[1:]}.")
    if not settings.data_dir.is_dir():
        message = f"{shown(place)} lies in the local store, and none was ever started in this folder."
        raise Stop("manifest", message, f"Give the folder with the pictures instead; for a store of your own {own}.")
    with looking_house(voice) as house:
        yield house


@contextmanager
def _done_before(asked: Asked, settings: Settings, voice: Voice, house: House | None) -> Iterator[_DoneBefore]:
    """Yield what says whether a row is unchanged; no row is, where the records cannot be looked into.

    A store of the local stack is joined where it runs; to look, none is started.
    """
    opened: AbstractContextManager[KnownRows]
    with ExitStack() as stack:
        if house is not None:
            opened = house.known(asked.batch_name(), fresh=asked.fresh)
        elif settings.has_real_storage:
            try:
                simulated = what_is_wanted(settings, simulate=asked.simulate, with_worker=False).simulator
            except SettingsError:  # about the API's key: a plan needs none
                simulated = False
            bucket = bucket_of(settings)
            stack.callback(bucket.close)
            opened = known_rows(
                asked.batch_name(),
                bucket=bucket,
                layout=layout_of(settings),
                origin=SIMULATED_ORIGIN if simulated else settings.api.origin,
                memory=settings.data_dir,
                fresh=asked.fresh,
            )
        elif running_record(settings) is not None:
            opened = stack.enter_context(looking_house(voice)).known(asked.batch_name(), fresh=asked.fresh)
        else:
            if settings.data_dir.is_dir():
                voice.note("The local store does not run, so rows that are done already are in the price.")
            yield _DoneBefore(None, voice)
            return
        yield _DoneBefore(stack.enter_context(opened), voice)


class _DoneBefore:
    """Which rows are unchanged, as far as the store can be asked."""

    def __init__(self, known: KnownRows | None, voice: Voice) -> None:
        self._known = known
        self._voice = voice

    def is_done(self, row: Row) -> bool:
        return self._asked(lambda known: known.settled(row) is not None)

    def is_possible(self) -> bool:
        return self._asked(lambda known: not known.nothing)

    def _asked(self, ask: Callable[[KnownRows], bool]) -> bool:
        try:
            return self._known is not None and ask(self._known)
        except StorageError as error:
            self._known = None
            self._voice.note(f"Rows that are done already are in the price, because they cannot be told: {error}")
            return False


def _ceiling(made: Plan) -> str:
    ceiling = dollars(usd(made.ceiling))
    if made.ceiling < made.estimate.expected:
        return f"It will pause at the ceiling of {ceiling}, before all rows are done."
    return f"It never costs more than {ceiling}."


def _where(made: Plan) -> str:
    return f"All problems are in {made.errors_csv}." if made.errors_csv else ""


def _listing(settings: Settings) -> Objects | None:
    """Return what lists the objects of a bucket; None for the local store while it does not run."""
    if settings.s3.endpoint_url is None and settings.s3.bucket == BUCKET:
        return None

    def objects(bucket: str, prefix: str) -> Iterator[Head]:
        return bucket_of(settings).keys(prefix, bucket=bucket)

    return objects


@contextmanager
def _progress(voice: Voice) -> Iterator[OnProgress | None]:
    """Show how many rows have been checked, where somebody looks on."""
    console = voice.err
    if voice.quiet or not console.is_terminal:
        yield None
        return
    with console.status("checking rows") as status:
        began = time.monotonic()

        def tell(rows: int, share: float | None) -> None:
            status.update(_checked(rows, share, time.monotonic() - began))

        yield tell


def _checked(rows: int, share: float | None, seconds: float) -> str:
    """Return how far checking is, after so many seconds; with its speed and its end, once they can be told."""
    text = f"checked {counted(rows, 'row')}"
    if seconds < _FIRST_WORD_S:
        return text
    left = f", about {duration(seconds / share - seconds)} left" if share else ""
    return f"{text}, {rows / seconds:,.0f} a second{left}"
