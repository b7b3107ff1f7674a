"""How the command line speaks: results on stdout, everything else on stderr, errors in two lines and never a traceback.

With `--json` stdout carries exactly one JSON document, errors included: `{"error": {"code", "message", "remedy"}}`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TextIO

import typer
from rich.console import Console
from rich.text import Text

from config.logs import Redactor
from config.settings import SettingsError
from jobs.errors import LedgerError, NotFound, RetouchError, StorageError
from jobs.report.wording import shown
from producers.cli.live import LineScreen, LiveScreen, NoScreen
from producers.manifest.problems import ManifestError
from producers.room import is_full
from producers.schedules.file import ScheduleError
from producers.stack.errors import StackError
from producers.view import UnknownBatch

OK, SOME_DID_NOT, USAGE, UNREACHABLE, CEILING, A_PERSON, OUR_MISTAKE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 70, 130
UNREAD = 141
"""Nobody reads the output any more (`| head`): what a shell says of a program that SIGPIPE has ended."""

DEBUG = "RETOUCH_DEBUG"


class Stop(Exception):
    """A command ends here: with a code for scripts, what happened, what to do, and the exit code."""

    def __init__(
        self,
        code: str,
        message: str,
        remedy: str = "",
        *,
        exit_code: int = USAGE,
        document: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.remedy = remedy
        self.exit_code = exit_code
        self.document = dict(document or {})


@dataclass(slots=True)
class Voice:
    """Speaks for one command. `json` puts one document on stdout; `quiet` leaves out what is only company."""

    json: bool = False
    quiet: bool = False

    @property
    def out(self) -> Console:
        """Where results go that people read."""
        return _console(sys.stderr if self.json else sys.stdout)

    @property
    def err(self) -> Console:
        """Where everything else goes."""
        return _console(sys.stderr)

    @property
    def at_terminal(self) -> bool:
        """Whether a person can answer: input and the place of questions are a terminal."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def tell(self, text: object) -> None:
        """Say a part of the result: to stdout, with `--json` to nobody."""
        if not self.json:
            self.out.print(Text(text) if isinstance(text, str) else text)

    def note(self, text: str) -> None:
        """Say what is good to know but no result; nothing with `--quiet`."""
        if not self.quiet:
            self.err.print(Text(text))

    def warn(self, text: str) -> None:
        """Say what a person has to know, whatever was asked for."""
        self.err.print(Text(text, style="yellow"))

    def document(self, found: Mapping[str, Any]) -> None:
        """Write the one JSON document; nothing without `--json`."""
        if self.json:
            text = json.dumps(found, indent=2, ensure_ascii=False)
            sys.stdout.write(text.encode("utf-8", "backslashreplace").decode() + "\n")
            sys.stdout.flush()

    def screen(self) -> LiveScreen | LineScreen | NoScreen:
        """Return where a batch is shown while it is followed."""
        if self.quiet:
            return NoScreen()
        console = self.out
        if console.is_terminal and not console.is_dumb_terminal:
            return LiveScreen(console)
        return LineScreen(self.note)

    def confirm(self, question: str) -> bool:
        """Ask y/N; no answer is no.

        Raises:
            Stop: nobody is there to answer.
        """
        if not self.at_terminal:
            raise Stop("nobody_to_ask", "There is no terminal to ask at.", "Give --yes to go on without being asked.")
        self.err.print(Text(f"{question} [y/N] "), end="")
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def failed(self, stop: Stop) -> None:
        """Say why a command ended: two lines on stderr, or the document."""
        if self.json:
            error = {"code": stop.code, "message": stop.message, "remedy": stop.remedy}
            try:
                self.document({**stop.document, "error": error})
            except OSError:  # it may be the very reason
                _let_go(sys.stdout)
        self.err.print(Text.assemble(("retouch: ", "bold red"), stop.message))
        if stop.remedy:
            self.err.print(Text(stop.remedy))


def explained(error: BaseException) -> Stop:
    """Return what a person is told about an error, and the exit code of the contract."""
    match error:
        case Stop():
            return error
        case KeyboardInterrupt() | typer.Abort():
            remedy = "`retouch status` lists the batches that are open, and `retouch resume BATCH` goes on with one."
            return Stop("interrupted", "Interrupted.", remedy, exit_code=INTERRUPTED)
        case SettingsError() | ScheduleError():
            return Stop("settings", _sentence(str(error)), exit_code=USAGE)
        case ManifestError():
            places = (shown(error.file), f"line {error.line:,}" if error.line is not None else "")
            place = ", ".join(one for one in places if one)
            message = f"{place}: {error.message}" if place else error.message
            told = {"file": error.file, "line": error.line, "column": error.column} if error.file else {}
            return Stop("manifest", message, error.remedy, exit_code=USAGE, document=told)
        case UnknownBatch():
            return Stop("unknown_batch", str(error), error.remedy, exit_code=USAGE)
        case LedgerError():
            return _unreachable("redis", error, "Check that Redis runs, and RETOUCH_REDIS__URL.")
        case NotFound():
            return Stop("not_found", str(error), exit_code=USAGE)
        case StorageError():
            return _unreachable("storage", error, "Check RETOUCH_S3__* and the bucket's rights.")
        case StackError():
            return Stop("local_stack", _sentence(str(error)), error.remedy, exit_code=UNREACHABLE)
        case RetouchError():
            return Stop("retouch", str(error), exit_code=UNREACHABLE)
        case OSError() if error.filename is not None or is_full(error):
            return _no_file(error)
    what = Redactor(()).clean(f"{type(error).__name__}: {error}")[:300]
    message = f"Something went wrong inside Retouch ({what})."
    return Stop("internal", message, f"{DEBUG}=1 shows where.", exit_code=OUR_MISTAKE)


def _no_file(error: OSError) -> Stop:
    """Return what is told of a file that cannot be used; where the disk is full, nobody is to blame the path."""
    if not is_full(error):
        return Stop("file", f"{error.filename}: {error.strerror}", "Check the path and its rights.")
    place = f": {shown(str(error.filename), 200)} cannot be written" if error.filename else ""
    remedy = "Make room and give the command again; what was written whole stays as it is."
    return Stop("disk_full", f"The disk is full{place} ({error.strerror}).", remedy, exit_code=UNREACHABLE)


def _unreachable(code: str, error: Exception, remedy: str) -> Stop:
    """Leave the general remedy out where the error names its own."""
    message = _sentence(str(error))
    return Stop(code, message, "" if "RETOUCH_" in message else remedy, exit_code=UNREACHABLE)


def _console(stream: TextIO) -> Console:
    """Return a console; into a file or a pipe, tables are as wide as they need to be."""
    console = Console(file=stream, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = 240
    return console


def _let_go(stream: TextIO) -> None:
    """Send what is left in a stream's buffer nowhere, or the end of the process would fail at it once more."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def debugging() -> bool:
    """Whether tracebacks are wanted."""
    return bool(os.environ.get(DEBUG))


def _sentence(text: str) -> str:
    return text if text.endswith((".", "`")) else f"{text}."
