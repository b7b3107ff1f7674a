"""A person at a terminal, and what lies in the local stack that their command has run.

A command's output is read as a screen would have to be: colours and cursor movements are left out, and what was
drawn over is still in the transcript.
"""

from __future__ import annotations

import http.client
import json
import re
import signal
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pexpect
from redis import Redis

from config.parts import bucket_of
from config.settings import read_settings
from jobs.bucket.port import Bucket
from producers.stack.local import LocalStack, Wanted
from producers.stack.part import python_env
from producers.stack.record import Record

RETOUCH = (sys.executable, "-P", "-m", "producers.cli")
WITHIN_S = 120.0
"""How long anything may take on a machine that has a lot to do."""

_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x1b[=>78]|\r")
_ROWS, _COLUMNS = 50, 160


def hears_ctrl_c() -> None:
    """Let a program take SIGINT, as a shell at a terminal does, though the tests themselves were started without it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """`retouch …` under way in a pseudo-terminal, as its user sees it."""

    def __init__(self, arguments: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> None:
        self._raw = ""
        self._read_to = 0
        with warnings.catch_warnings():  # Python 3.12 warns of any fork while there are threads; this one execs
            warnings.simplefilter("ignore", DeprecationWarning)
            self._child: Any = pexpect.spawn(
                RETOUCH[0],
                [*RETOUCH[1:], *arguments],
                cwd=str(folder),
                env=person_env(**(env or {})),
                encoding="utf-8",
                codec_errors="replace",
                preexec_fn=hears_ctrl_c,
                dimensions=(_ROWS, _COLUMNS),
                timeout=None,
            )

    @property
    def pid(self) -> int:
        """The command's process."""
        return int(self._child.pid)

    @property
    def text(self) -> str:
        """Everything that was shown so far."""
        return _CONTROL.sub("", self._raw)

    def until(self, pattern: str, within: float = WITHIN_S) -> re.Match[str]:
        """Wait until something is shown, after what was waited for before; return how it matched."""
        deadline = time.monotonic() + within
        while True:
            text = self.text
            found = re.compile(pattern).search(text, min(self._read_to, len(text)))
            if found:
                self._read_to = found.end()
                return found
            assert self._more(), f"it ended without showing {pattern!r}:\n{self.text[-4000:]}"
            assert time.monotonic() < deadline, f"{pattern!r} not within {within:g} s:\n{self.text[-4000:]}"

    def type(self, line: str) -> None:
        """Type a line and press Enter."""
        self._child.sendline(line)

    def press_ctrl_c(self) -> None:
        """Press Ctrl-C: the terminal sends SIGINT to whoever is in its foreground."""
        self._child.sendintr()

    @property
    def runs(self) -> bool:
        """Whether it has not ended; what it has written since is read."""
        return self._more(0.05)

    def ended(self, within: float = WITHIN_S) -> int:
        """Wait for its end and return the exit code."""
        deadline = time.monotonic() + within
        while self._more():
            assert time.monotonic() < deadline, f"it has not ended within {within:g} s:\n{self.text[-4000:]}"
        self._child.close()
        assert self._child.signalstatus is None, signal.Signals(self._child.signalstatus).name
        return int(self._child.exitstatus)

    def kill(self) -> None:
        """End it, if it runs; its local stack ends with it."""
        self._child.close(force=True)

    def _more(self, seconds: float = 0.5) -> bool:
        """Read what there is; return False once it has ended and everything is read."""
        try:
            self._raw += self._child.read_nonblocking(65536, seconds)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        return True


@contextmanager
def at_terminal(*arguments: str | Path, folder: Path, env: Mapping[str, str] | None = None) -> Iterator[Terminal]:
    """Give a command at a terminal, in `folder`; it is ended with the block."""
    terminal = Terminal([str(argument) for argument in arguments], folder, env)
    try:
        yield terminal
    finally:
        terminal.kill()


def person_env(**more: str) -> dict[str, str]:
    """Return the environment of a person who has set nothing of Retouch's but `more`."""
    return {**python_env(), "TERM": "xterm-256color", "COLUMNS": str(_COLUMNS), **more}


def record_of(folder: Path) -> Record | None:
    """Return what the local stack of `folder` says of itself, None while none runs."""
    record = Record.read(folder / "retouch-data")
    return record if record is not None and record.state == "ready" else None


def tasks_in(folder: Path) -> list[dict[str, Any]]:
    """Return every task that the simulator of `folder` has accepted since it was started; none where none runs."""
    record = record_of(folder)
    if record is None:
        return []
    connection = http.client.HTTPConnection(record.settings["api"]["base_url"].removeprefix("http://"), timeout=10)
    with closing(connection):
        try:
            connection.request("GET", "/admin/ledger")
            found: list[dict[str, Any]] = json.loads(connection.getresponse().read())["entries"]
        except (OSError, http.client.HTTPException):
            return []
    return found


@contextmanager
def local_stores(folder: Path) -> Iterator[tuple[Bucket, Redis]]:
    """Open what a command has left in the local stack of `folder`; nothing works on it."""
    settings = read_settings(data_dir=folder / "retouch-data")
    wanted = Wanted(redis=True, storage=True, simulator=False, workers=0)
    with LocalStack.open(settings, wanted) as stack:
        url = stack.settings.redis.url
        assert url is not None
        with Redis.from_url(url.get_secret_value(), decode_responses=True) as client:
            yield bucket_of(stack.settings), client
