"""Starts the parts of the local stack, starts them again when they end by themselves, and stops them in reverse order.

All programs are started by one thread that lives as long as they do: the kernel's "kill me when my parent ends"
means the thread that started a process, and a thread that came and went would take its children with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue

from producers.stack import leash
from producers.stack.errors import StackError
from producers.stack.part import Part

QUICK_S = 10.0
"""A part that ends sooner than this after its start died quickly."""
GIVE_UP_AFTER = 5
"""Quick deaths in a row."""
TAIL_LINES = 12
LOG_BYTES = 10_000_000
"""A log over this size is set aside as `.log.1` at the next start of its part."""
_TICK_S = 0.1
_LOOK_S = 0.03


@dataclass(slots=True, kw_only=True)
class _Child:
    part: Part
    spawned: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None
    process: subprocess.Popen[bytes] | None = None
    log_start: int = 0
    started_at: float = 0.0
    attended: bool = False
    quick_deaths: int = 0
    restart_at: float | None = None
    given_up: bool = False
    stopped: bool = False

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None


def after_end(quick_deaths: int, lived_s: float) -> tuple[int, float | None]:
    """Return the new count of quick deaths in a row, and the seconds to wait before a restart (None: give up)."""
    quick_deaths = quick_deaths + 1 if lived_s < QUICK_S else 0
    if quick_deaths >= GIVE_UP_AFTER:
        return quick_deaths, None
    return quick_deaths, min(5.0, 0.1 * 4 ** max(0, quick_deaths - 1))


class Supervisor:
    """Owns running parts. `notify` is called with a sentence for a person, `changed` after every start of a part,
    `why` for what may have ended a part (the beginning of a sentence); all may be called from another thread."""

    def __init__(
        self,
        *,
        notify: Callable[[str], None] = lambda _sentence: None,
        changed: Callable[[], None] = lambda: None,
        why: Callable[[], str] = lambda: "",
    ) -> None:
        self._notify = notify
        self._changed = changed
        self._why = why
        self._groups: list[list[_Child]] = []
        self._requests: SimpleQueue[_Child | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._closing = False
        self._failure: str | None = None
        self._unwritten = False
        self._thread = threading.Thread(target=self._attend, name="stack", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> str | None:
        """Why a part has been given up, as a sentence with the last lines of its log; None while all is well."""
        return self._failure

    def pids(self) -> dict[str, int]:
        """Return the process id of every part that runs now."""
        return {
            child.part.name: child.process.pid
            for child in self._children()
            if child.process is not None and child.running()
        }

    def start(self, parts: Sequence[Part], *, beneath: bool = False) -> None:
        """Start `parts` together and return when every one of them is ready. They will be stopped before all that
        were started earlier, or after everything else where they are `beneath` it.

        Raises:
            StackError: a part cannot be started, ended, or was not ready in time; shows the last lines of its log.
        """
        group = [_Child(part=part) for part in parts]
        with self._lock:
            if self._closing:
                raise StackError("the local stack is being stopped")
            self._groups = [group, *self._groups] if beneath else [*self._groups, group]
        for child in group:
            self._requests.put(child)
        waiting = list(group)
        while waiting:
            waiting = [child for child in waiting if not self._has_become_ready(child)]
            if waiting:
                time.sleep(_LOOK_S)

    def stop(self, names: Collection[str]) -> None:
        """Stop the parts of these names for good, while the others run on."""
        with self._lock:
            chosen = [child for child in self._children() if child.part.name in names]
            for child in chosen:
                child.stopped = True
        _stop(chosen)

    def close(self) -> None:
        """Stop everything: SIGTERM, a bounded wait, SIGKILL; the latest group first. May be called twice.

        An interrupt during the wait kills what is left at once, and goes on to the caller.
        """
        with self._lock:
            self._closing = True
        try:
            for group in reversed(self._groups):
                _stop(group)
        finally:
            _kill(self._children())
            self._requests.put(None)
            self._thread.join()

    def _has_become_ready(self, child: _Child) -> bool:
        part = child.part
        if not child.spawned.is_set():
            return False
        if child.error is not None:
            raise StackError(f"{part.name} cannot be started: {child.error}") from child.error
        if not child.running():
            code = child.process.returncode if child.process else None
            raise StackError(f"{part.name} {_ended(code)} before it was ready{_tail(child)}")
        if part.ready():
            child.attended = True
            return True
        if time.monotonic() - child.started_at > part.ready_within_s:
            raise StackError(f"{part.name} was not ready within {part.ready_within_s:g} s{_tail(child)}")
        return False

    def _attend(self) -> None:
        while True:
            try:
                request = self._requests.get(timeout=_TICK_S)
            except Empty:
                for child in self._children():
                    self._look_after(child)
                continue
            if request is None:
                return
            self._spawn(request)

    def _look_after(self, child: _Child) -> None:
        if not child.attended or child.given_up or child.stopped or self._closing or child.running():
            return
        now = time.monotonic()
        if child.restart_at is None:
            child.quick_deaths, wait_s = after_end(child.quick_deaths, now - child.started_at)
            if wait_s is None:
                child.given_up = True
                times = f"{child.quick_deaths} times within {QUICK_S:g} s of its start"
                self._failure = f"{self._why()}{child.part.name} ended {times} and is not started again{_tail(child)}"
                self._notify(self._failure)
                return
            child.restart_at = now + wait_s
        if now >= child.restart_at:
            code = child.process.returncode if child.process else None
            self._spawn(child)
            self._notify(f"{self._why()}{child.part.name} {_ended(code)} by itself and was started again")

    def _spawn(self, child: _Child) -> None:
        """Start a child; only ever called by the attending thread."""
        with self._lock:
            if self._closing or child.stopped:
                child.spawned.set()
                return
            child.restart_at = None
            child.started_at = time.monotonic()
            try:
                child.log_start = _make_room(child.part.log)
                child.process = launch(child.part)
            except OSError as error:
                child.error = error
        child.spawned.set()
        try:
            self._changed()
        except OSError as error:  # what others are told is no reason to stop looking after the parts
            if not self._unwritten:
                self._notify(f"other commands cannot join: the local stack's record is not written ({error.strerror})")
            self._unwritten = True
        else:
            self._unwritten = False

    def _children(self) -> list[_Child]:
        return [child for group in self._groups for child in group]


def launch(part: Part) -> subprocess.Popen[bytes]:
    """Start the program of `part`, tied to this process and to the calling thread; its output goes to its log.

    Raises:
        OSError: it cannot be started.
    """
    with part.log.open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - our own list, no shell
            [sys.executable, "-I", "-S", leash.__file__, str(os.getpid()), "--", *part.argv],
            env=dict(part.env),
            cwd=part.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C at the terminal is the command's, which stops us when it has drained
        )


def _stop(group: Iterable[_Child]) -> None:
    group = [child for child in group if child.process is not None]
    for child in group:
        if child.process is not None and child.running():
            child.process.terminate()
    asked_at = time.monotonic()
    for child in group:
        left_s = asked_at + child.part.stop_within_s - time.monotonic()
        if child.process is not None:
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(timeout=max(0.0, left_s))
    _kill(group)


def _kill(children: Iterable[_Child]) -> None:
    """Kill what still runs, with everything it has started: each child leads a process group of its own."""
    for child in children:
        if child.process is None:
            continue
        if child.running():
            with suppress(ProcessLookupError):
                os.killpg(child.process.pid, signal.SIGKILL)
            child.process.wait()
        for path in child.part.leftovers:
            with suppress(OSError):
                path.unlink()


def _make_room(log: Path) -> int:
    """Set a long log aside and return where this run's lines begin."""
    size = log.stat().st_size if log.exists() else 0
    if size <= LOG_BYTES:
        return size
    log.replace(log.with_name(f"{log.name}.1"))
    return 0


def _tail(child: _Child) -> str:
    """Return the last lines that this run of the part wrote, ready to follow a sentence."""
    log = child.part.log
    try:
        with log.open("rb") as file:
            file.seek(max(child.log_start, log.stat().st_size - 20_000))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    shown = [line.rstrip() for line in lines if line.strip()][-TAIL_LINES:]
    if not shown:
        return f"; it wrote nothing to {log}"
    return f"; the last lines of {log}:\n" + "\n".join(f"  {line}" for line in shown)


def _ended(code: int | None) -> str:
    if code is None:
        return "ended"
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
