"""The command line as a whole: its commands, and the one place where an error becomes words and an exit code."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated, Any, NoReturn, ParamSpec, cast

import typer

from producers.cli import batches, columns, intaking, local, planning, results, running
from producers.cli.cleaning import clean
from producers.cli.doctor import doctor
from producers.cli.explaining import explain
from producers.cli.keyring import keys
from producers.cli.reconciling import reconcile
from producers.cli.retry import retry
from producers.cli.scheduling import schedule
from producers.cli.spending import spend
from producers.cli.urgency import priority
from producers.cli.voice import INTERRUPTED, UNREAD, Stop, Voice, debugging, explained

P = ParamSpec("P")

EPILOG = """Settings come from the environment and `.env`: RETOUCH_REDIS__URL, RETOUCH_S3__BUCKET, RETOUCH_API__KEYS
(or BFL_API_KEY) and others. With none of them everything runs here, on a simulator of the API."""

UsageError = cast("type[Exception]", typer.BadParameter.__mro__[1])
"""A mistake on the command line, of whichever click Typer brings."""

app = typer.Typer(
    name="retouch",
    help="Edits a whole catalogue of images on the FLUX API: nothing lost, nothing paid for twice.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True}

app.command("plan")(planning.plan)
app.command("columns")(columns.columns)
app.command("run")(running.run)
app.command("submit")(running.submit)
app.command("status")(batches.status)
app.command("pause")(batches.pause)
app.command("resume")(batches.resume)
app.command("priority")(priority)
app.command("cancel")(batches.cancel)
app.command("retry")(retry)
app.command("reconcile")(reconcile)
app.command("report")(results.report)
app.command("download")(results.download)
app.command("spend")(spend)
app.command("clean")(clean)
app.command("keys")(keys)
app.command("doctor")(doctor)
app.command("explain")(explain)
app.add_typer(schedule)
app.command("beat")(intaking.beat)
app.command("intake")(intaking.intake)
app.command("up")(local.up)
app.command("worker", context_settings=_PASSED_ON)(local.worker)
app.command("simulator", context_settings=_PASSED_ON, add_help_option=False)(local.simulator)
app.command("version", hidden=True)(local.version)


def _show_version(wanted: bool) -> None:
    if wanted:
        raise typer.Exit(local.version())


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    pass


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; nothing is raised."""
    voice = Voice(json="--json" in arguments)
    try:
        return _ended(_code(app(args=list(arguments), prog_name="retouch", standalone_mode=False)))
    except typer.Exit as error:
        return error.exit_code
    except UsageError as error:
        voice.failed(_misused(error))
        return 2
    except BaseException as error:  # noqa: BLE001 - the last place: whatever it is becomes words and a code
        if isinstance(error, SystemExit):  # click and rich make one of a closed pipe, with a 1 that means rows
            return UNREAD if isinstance(error.__context__, BrokenPipeError) else _code(error.code)
        if debugging():
            traceback.print_exc()
        stop = explained(error)
        if not isinstance(error, Stop) and stop.exit_code == INTERRUPTED:
            sys.stderr.write("\n")  # the terminal has shown ^C
        with suppress(OSError):  # with nowhere left to say it, the exit code does
            voice.failed(stop)
        return stop.exit_code


def main() -> NoReturn:
    """Be the console script."""
    signal.signal(signal.SIGTERM, _as_interrupt)
    sys.exit(run(sys.argv[1:]))


def _as_interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _ended(code: int) -> int:
    if code == INTERRUPTED:  # Typer makes a code of Ctrl-C, and says nothing
        raise KeyboardInterrupt
    return code


def _code(value: object) -> int:
    return value if isinstance(value, int) else 0 if value is None else 1


def _misused(error: Any) -> Stop:
    """Say a usage error our way: what is wrong, and which help to read."""
    command = error.ctx.command_path if error.ctx is not None else "retouch"
    say: Callable[[], str] = error.format_message
    return Stop("usage", say(), f"`{command} --help` shows how it is used.")
