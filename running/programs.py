"""The programs that tests and benchmarks run: each is a process of its own and ends with whoever started it.

Nothing here waits for a time: every wait is for a condition, with a deadline.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from producers.stack.part import python_env

T = TypeVar("T")
Document = dict[str, Any]

KEY = "acceptance-key-0123456789"
ROOT = Path(__file__).parents[1]
LEASH = ROOT / "producers" / "stack" / "leash.py"
LOOK_S = 0.05
START_S = 60.0


def own_env(*settings: Mapping[str, str]) -> dict[str, str]:
    """Return a whole environment: these settings, the later ones first, and none of the user's own."""
    env = python_env()
    for given in settings:
        env |= given
    return env


def eventually(look: Callable[[], T], within: float, what: str | Callable[[], str]) -> T:
    """Return what `look` returns as soon as that is true of anything; fail after `within` seconds, saying `what`."""
    until = time.monotonic() + within
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > until:
            raise AssertionError(f"not within {within:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(LOOK_S)


def steadily(look: Callable[[], object], seconds: float, what: str) -> None:
    """Fail as soon as `look` returns anything false within the next `seconds`."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert look(), f"not for {seconds:g} s: {what}"
        time.sleep(LOOK_S)


class Program:
    """A process of its own that ends with the tests, whatever becomes of them; its output goes to `log`."""

    def __init__(self, name: str, argv: Sequence[str], env: Mapping[str, str], folder: Path) -> None:
        self.name = name
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"{name}.log"
        leashed = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), "--", *argv]
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                leashed, env=dict(env), cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    @property
    def pid(self) -> int:
        """Its number: the leash becomes the program."""
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def said(self) -> str:
        """Everything that it has written so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def memory(self) -> int:
        """The most that it has taken so far, in bytes; 0 once it has ended, and where the system does not say."""
        with suppress(OSError, StopIteration):
            lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
            return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) << 10
        return 0

    def wait_until(self, ready: Callable[[], object], within: float = START_S) -> None:
        """Wait for its being ready; fail with its last words if it ends."""

        def look() -> bool:
            assert self.runs, f"{self.name} ended with {self._process.returncode}: {self.said[-2000:]}"
            return bool(ready())

        eventually(look, within, lambda: f"{self.name} is ready: {self.said[-2000:]}")

    def kill(self) -> None:
        """SIGKILL: it can do nothing about it."""
        self._process.kill()
        self._process.wait(10)

    def terminate(self) -> None:
        """SIGTERM: it may end in its own way."""
        self._process.send_signal(signal.SIGTERM)

    def ended(self, within: float) -> int:
        """Return its exit code, once it has ended."""
        return self._process.wait(within)

    def end(self, within: float = 5.0) -> None:
        """End it, gently first."""
        if self.runs:
            self.terminate()
            try:
                self.ended(within)
            except subprocess.TimeoutExpired:
                self.kill()


class Simulator(Program):
    """The stand-in for the API, with a ledger of its own on the disk."""

    def __init__(self, name: str, folder: Path, options: Sequence[str]) -> None:
        self._ports = folder / f"{name}.json"
        self.ledger_file = folder / f"{name}.jsonl"
        own = ["--port", "0", "--ports-file", str(self._ports), "--ledger", str(self.ledger_file)]
        argv = [sys.executable, "-P", "-m", "simulator", *own, *options]
        super().__init__(name, argv, python_env(), folder)
        self.wait_until(self._ports.exists)
        said = json.loads(self._ports.read_bytes())
        self.base_url: str = said["base_url"]
        self.trusted: list[str] = said["trusted_hosts"]

    @property
    def env(self) -> dict[str, str]:
        """The settings that lead to it, as to any API of somebody else's."""
        return {
            "RETOUCH_API__BASE_URL": self.base_url,
            "RETOUCH_API__TRUSTED_HOSTS": json.dumps(self.trusted),
            "RETOUCH_API__KEYS": KEY,
        }

    def totals(self) -> Document:
        """Return what it has counted."""
        return self._ask("GET", "/admin/ledger?summary=1")

    def ledger(self) -> Document:
        """Return what it has counted, and every task under `entries`."""
        return self._ask("GET", "/admin/ledger")

    def in_flight(self) -> int:
        """Return how many tasks have not ended."""
        return sum(key["in_flight"].get("flux", 0) for key in self.totals()["keys"].values())

    def know_keys(self, *keys: str) -> None:
        """Take these keys from now on, and no others."""
        self._ask("POST", "/admin/keys", {"keys": list(keys)})

    def hold_elsewhere(self, places: int) -> None:
        """Let another program hold so many of each key's places."""
        self._ask("POST", "/admin/elsewhere", {"places": places})

    def go_away(self, form: str, seconds: float = 0.0) -> None:
        """Be away from now on, in the words of the API ("unavailable") or of a proxy in front of it ("gateway"); or
        for so many seconds, as a machine where nothing listens ("refused")."""
        self._ask("POST", "/admin/pause", {"form": form, "seconds": seconds})

    def come_back(self) -> None:
        """Answer again."""
        self._ask("POST", "/admin/pause", {"paused": False})

    def set_faults(self, **figures: float | str) -> None:
        """Change what is injected from now on."""
        self._ask("POST", "/admin/faults", figures)

    def _ask(self, method: str, path: str, body: object = None) -> Document:
        connection = http.client.HTTPConnection(self.base_url.removeprefix("http://"), timeout=30)
        with closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            said: Document = json.loads(answer.read())
            assert answer.status == 200, said
            return said


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str
    memory: int = 0
    """The most that it took, in bytes, where it was measured."""

    @property
    def document(self) -> Document:
        """The one JSON document on stdout."""
        found: Document = json.loads(self.out)
        return found


MEASURING = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[2:])
_, status, used = os.wait4(process.pid, 0)
with open(sys.argv[1], "w") as file:
    file.write(str(used.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""Runs a program and writes down its memory. The kernel counts a child's memory from the fork on, so whoever measures
must be small itself: as a child of pytest, every program would have taken what pytest does."""


class Command:
    """`retouch …`, under way. With `measured`, what it takes of memory is known at its end; `through` is a program
    that starts it in some other way."""

    def __init__(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str],
        folder: Path,
        *,
        measured: bool = False,
        through: Sequence[str] = (),
    ) -> None:
        argv = [*through, sys.executable, "-P", "-m", "producers.cli", *arguments]
        self._memory = None
        if measured:
            handle, name = tempfile.mkstemp(prefix="memory-")
            os.close(handle)
            self._memory = Path(name)
            argv = [sys.executable, "-I", "-S", "-c", MEASURING, name, *argv]
        self._process = subprocess.Popen(
            argv,
            env=dict(env),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Let it stand still for as long as the block lasts."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def ended(self, within: float = START_S) -> Said:
        """Return how it ended."""
        try:
            out, err = self._process.communicate(timeout=within)
        except BaseException:
            self._process.kill()
            self._process.communicate()
            raise
        return Said(self._process.returncode, out, err, self._taken())

    def _taken(self) -> int:
        if self._memory is None:
            return 0
        text = self._memory.read_text()
        self._memory.unlink()
        return int(text) << 10
