"""The local stack of one data folder: the first command starts it, the others join it.

A lock on `stack.lock` says who owns it, and goes when its holder dies; `stack.json` only says how to join. When the
owner ends while others are still joined, one of them takes the lock and starts the same parts under the same
addresses, so nobody's settings ever change under them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from config.settings import Settings, SettingsError
from producers.room import room_for
from producers.stack.errors import StackError
from producers.stack.files import private_folder
from producers.stack.identity import Identity, load_identity, save_identity
from producers.stack.lock import is_locked, try_lock
from producers.stack.part import Part
from producers.stack.parts import intake_parts, worker_part
from producers.stack.ports import are_free, choose_ports
from producers.stack.record import FILE, Record, Running, environment_of, with_sections
from producers.stack.servers import SPANS, server_parts, server_sections
from producers.stack.supervisor import Supervisor
from producers.stack.wanted import Wanted, what_is_wanted

__all__ = ["LocalStack", "StackError", "Wanted", "find_running", "running_record", "what_is_wanted"]

JOIN_WITHIN_S = 180.0
LEAST_ROOM = 20_000_000
"""Bytes. With less than this the servers start, and end in the middle of the first batch."""
MAKE_ROOM = "Make room, or set RETOUCH_DATA_DIR to a folder on another disk."
_LOOK_S = 0.1
_HEIR_LOOK_S = 0.5
_DYING_S = 5.0
"""How long the parts of an owner that died may take to follow it."""

Notify = Callable[[str], None]


class LocalStack:
    """The embedded parts beside one command. Use it as a context manager, or call `close`.

    Attributes:
        settings: the given settings with the addresses of the embedded parts filled in.
        owner: whether this process runs the servers; it may become so later, when the owner ends.
        simulated: whether the API is the embedded simulator.
    """

    settings: Settings
    owner: bool
    simulated: bool

    def __init__(
        self, settings: Settings, wanted: Wanted, *, simulator_args: Sequence[str] = (), notify: Notify
    ) -> None:
        self.settings = settings
        self._given = settings
        self.owner = False
        self.simulated = wanted.simulator
        self._data_dir = settings.data_dir.absolute()
        self._wanted = wanted
        self._simulator_args = tuple(simulator_args)
        self._notify = notify
        self._lock: int | None = None
        self._record: Record | None = None
        self._record_lock = threading.Lock()
        self._parts: list[Part] = []
        self._workers = 0
        self._intake: list[Part] = []
        self._failure: str | None = None
        self._closing = threading.Event()
        self._heir: threading.Thread | None = None
        self._supervisor = Supervisor(notify=notify, changed=self._publish, why=self._no_room)

    @classmethod
    def open(
        cls,
        settings: Settings,
        wanted: Wanted,
        *,
        simulator_args: Sequence[str] = (),
        notify: Notify = lambda _sentence: None,
    ) -> Self:
        """Start the wanted parts, or join the stack that another command runs in `settings.data_dir`, and return
        when all of it is ready. `notify` gets sentences for a person, also from other threads.

        Raises:
            SettingsError: the running stack is not of the wanted kind.
            StackError: a part is missing, did not start, or the other command's stack did not become ready.
        """
        stack = cls(settings, wanted, simulator_args=simulator_args, notify=notify)
        try:
            others = stack._enter() if wanted.servers else None
            for _ in range(wanted.workers - (others.workers if others else 0)):
                stack.add_worker()
            if wanted.intake and not (others and others.intake):
                stack.add_intake()
        except BaseException:
            stack.close()
            raise
        return stack

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def worker_env(self) -> dict[str, str]:
        """Return the whole environment of a worker that belongs to this stack."""
        return self._without_other_store(environment_of(self.settings))

    def _without_other_store(self, env: dict[str, str]) -> dict[str, str]:
        """Leave out an AWS_PROFILE that is meant for another store than the embedded one."""
        if not self._wanted.storage:
            return env
        return {name: value for name, value in env.items() if not name.startswith("AWS_")}

    def add_worker(self) -> None:
        """Start one more worker; it is this process's own, whoever runs the servers.

        Raises:
            StackError: it cannot be started.
        """
        self._workers += 1
        name = f"worker-{self._workers}" if self.owner else f"worker-{os.getpid()}-{self._workers}"
        drain_s = self.settings.worker.drain_s
        self._start([worker_part(self._data_dir, name=name, env=self.worker_env(), drain_s=drain_s)])

    def add_intake(self) -> None:
        """Start a beat and an intake of this process's own; more of them elsewhere do no harm.

        Raises:
            StackError: they cannot be started.
        """
        env = environment_of(self._given.model_copy(update={"heartbeat_file": None}))
        for name in ("RETOUCH_API__KEYS", "RETOUCH_API__KEYS_FILE"):  # whoever only plans needs none
            env.pop(name, None)
        suffix = "" if self.owner else f"-{os.getpid()}"
        self._intake = intake_parts(self._data_dir, suffix=suffix, env=self._without_other_store(env))
        self._start(self._intake)

    @property
    def has_intake(self) -> bool:
        """Whether a beat and an intake are this process's own."""
        return bool(self._intake)

    def stop_intake(self) -> None:
        """Stop this process's beat and intake, where it has any: they open nothing more."""
        self._supervisor.stop([part.name for part in self._intake])

    def alive(self) -> bool:
        """Return whether every part of this process's runs or is being started again; `failure` says why not."""
        return self.failure is None

    @property
    def failure(self) -> str | None:
        """What has been given up, as a sentence that ends with log lines; None while all is well."""
        return self._failure or self._supervisor.failure

    def pids(self) -> dict[str, int]:
        """Return the process ids of this process's own parts."""
        return self._supervisor.pids()

    def close(self) -> None:
        """Stop this process's own parts, workers first, and let go of the stack. May be called twice."""
        self._closing.set()
        try:
            self._supervisor.close()
        finally:
            if self._heir is not None:
                self._heir.join()
            if self._lock is not None:
                (self._data_dir / FILE).unlink(missing_ok=True)
                os.close(self._lock)  # last: whoever gets it finds the ports free
                self._lock = None

    def _enter(self) -> Record | None:
        """Own the stack, or join it and return what it says of itself."""
        private_folder(self._data_dir)
        deadline = time.monotonic() + JOIN_WITHIN_S
        told = False
        while True:
            self._lock = try_lock(self._data_dir)
            if self._lock is not None:
                self.owner = True
                self._start_servers()
                return None
            record = Record.read(self._data_dir)
            if record is not None and record.state == "ready":
                self._join(record)
                return record
            if time.monotonic() > deadline:
                raise StackError(
                    f"another command holds the local stack in {self._data_dir} but it did not become ready within "
                    f"{JOIN_WITHIN_S:g} s: look into {self._data_dir / 'logs'}, or end that command"
                )
            if not told:
                self._notify("waiting for the local stack that another command is starting")
                told = True
            time.sleep(_LOOK_S)

    def _join(self, record: Record) -> None:
        if frozenset(record.servers) != self._wanted.servers:
            raise SettingsError(
                f"a local stack runs in {self._data_dir} (process {record.owner}) with {_listed(record.servers)}, but "
                f"this command needs {_listed(self._wanted.servers)}: end the other one, give both the same settings "
                "and --simulate, or set RETOUCH_DATA_DIR to another folder"
            )
        self.settings = with_sections(self.settings, record.settings)
        self._heir = threading.Thread(target=self._wait_to_inherit, name="stack-heir", daemon=True)
        self._heir.start()

    def _wait_to_inherit(self) -> None:
        """Take over when the owner has ended: the servers, and what was the owner's beside them."""
        while not self._closing.wait(_HEIR_LOOK_S):
            self._lock = try_lock(self._data_dir)
            if self._lock is not None:
                break
        else:
            return
        self.owner = True
        try:
            self._start_servers(inherited=True)
            while self._workers < self._wanted.workers:
                self.add_worker()
            if self._wanted.intake and not self._intake:
                self.add_intake()
        except (StackError, OSError) as error:
            if not self._closing.is_set():
                self._failure = f"the command that ran the local stack has ended, and {error}"
                self._notify(self._failure)
        else:
            self._notify("the command that ran the local stack has ended; this one runs it from here on")

    def _start_servers(self, *, inherited: bool = False) -> None:
        """Start the wanted servers, each on its port of the last time where that is free, and publish the stack.

        Raises:
            StackError: a part is missing or did not start, or the stack is `inherited` and a port of it is taken.
        """
        if full := self._no_room():
            raise StackError(f"{full}the local stack is not started", remedy=MAKE_ROOM)
        old = load_identity(self._data_dir)
        spans = {name: SPANS[name] for name in SPANS if name in self._wanted.servers}
        if inherited or (self._data_dir / FILE).exists():  # the owner may have died just now
            deadline = time.monotonic() + _DYING_S
            while not are_free(spans, old.ports) and time.monotonic() < deadline:
                time.sleep(_LOOK_S)
        ports = choose_ports(spans, old.ports)
        if inherited and any(old.ports.get(name) != port for name, port in ports.items()):
            raise StackError("another program has taken its ports: end that, then give this command again")
        save_identity(self._data_dir, Identity(secrets=old.secrets, ports={**old.ports, **ports}))
        starting = Record(
            owner=os.getpid(),
            state="starting",
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            servers=tuple(sorted(self._wanted.servers)),
            workers=self._wanted.workers,
            intake=self._wanted.intake,
        )
        self._publish(starting)
        arguments = self._simulator_args
        self._start(
            server_parts(self._data_dir, ports=ports, secrets=old.secrets, simulator_args=arguments), beneath=True
        )
        sections = server_sections(self._data_dir, ports=ports, secrets=old.secrets, simulator_args=arguments)
        self.settings = with_sections(self.settings, sections)
        self._publish(replace(starting, state="ready", settings=sections))

    def _no_room(self) -> str:
        """Return the beginning of a sentence that says that the disk is full; nothing where it is not."""
        with suppress(OSError):
            room = room_for(self._data_dir)
            if room < LEAST_ROOM:
                return f"the disk of {self._data_dir} has {room / 1e6:.1f} MB left, so "
        return ""

    def _start(self, parts: Sequence[Part], *, beneath: bool = False) -> None:
        self._parts += parts
        try:
            self._supervisor.start(parts, beneath=beneath)
        except StackError as error:
            if full := self._no_room():
                raise StackError(f"{full}{error}", remedy=MAKE_ROOM) from error
            raise

    def _publish(self, record: Record | None = None) -> None:
        """Write `stack.json` with the parts that run now; the supervisor calls this after every start of one."""
        with self._record_lock:
            self._record = record or self._record
            if self._lock is None or self._record is None or self._closing.is_set():
                return
            pids = self._supervisor.pids()
            parts = [
                Running(name=part.name, pid=pids[part.name], port=part.port, log=str(part.log))
                for part in self._parts
                if part.name in pids
            ]
            replace(self._record, parts=parts).write(self._data_dir)


def find_running(settings: Settings) -> Settings | None:
    """Return `settings` joined to the stack that runs in `settings.data_dir`, or None where none does. Starts
    nothing; waits for one that is just starting.

    Raises:
        StackError: it did not become ready.
    """
    record = running_record(settings)
    return None if record is None else with_sections(settings, record.settings)


def running_record(settings: Settings) -> Record | None:
    """Return what the running stack says of itself (pids, ports, whether it is simulated). None where none runs, or
    where `settings` point at another Redis or bucket than the stack's.

    Raises:
        StackError: a stack is being started and did not become ready.
    """
    data_dir = settings.data_dir.absolute()
    deadline = time.monotonic() + JOIN_WITHIN_S
    while time.monotonic() < deadline:
        if not is_locked(data_dir):
            return None
        record = Record.read(data_dir)
        if record is not None and record.state == "ready":
            embedded = ("redis" in record.servers, "storage" in record.servers)
            return record if embedded == (not settings.has_real_redis, not settings.has_real_storage) else None
        time.sleep(_LOOK_S)
    raise StackError(f"the local stack in {data_dir} did not become ready: look into {data_dir / 'logs'}")


def _listed(servers: Iterable[str]) -> str:
    return ", ".join(sorted(servers)) or "none of its servers"
