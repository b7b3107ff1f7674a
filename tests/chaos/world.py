"""A whole house in one thread of time: the product's own steps, played by actors that a test moves one at a time.

Every actor (an edit, a tick, a settling of a doubt) runs the real code in a thread of its own, and stands still before
everything that anybody else could notice: each change of the ledger, each POST, poll and download, each wait. The
test says who moves next, how far, who dies where he stands, and how time passes. Nothing else decides anything, so
what was found once is found again.
"""

from __future__ import annotations

import _thread
import json
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPResponse
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import httpx
from PIL import Image

from config.catalogue import shipped_catalogue
from jobs.batch import Batch
from jobs.bucket.layout import Layout
from jobs.connections import Answer, Connections, Origin
from jobs.errors import LedgerError, Unavailable
from jobs.job import PROVED_UNCHARGED, Job, State
from jobs.ledger.memory import MemoryLedger
from jobs.ledger.port import Ledger, Recorded
from jobs.models import Catalogue
from jobs.queues import EDIT, FEED, FINISH, FLUSH, SETTLE
from jobs.request import Request
from jobs.row import Row
from producers.doubts import buy_again, give_up
from tests.fakes import FakeBucket
from tests.unit.desks import ScriptedWeb, make_desk
from workers import creditwatch as credits_module
from workers import desk as desk_module
from workers import edit as editing
from workers import feed as feeding
from workers import flush as flushing
from workers import gate as gate_module
from workers import keeper as keeper_module
from workers import poll as poll_module
from workers import settle as settling
from workers import store as store_module
from workers import submit as submit_module
from workers import tick as tick_module
from workers.api import client as client_module
from workers.api.client import Api
from workers.creditwatch import CreditWatch
from workers.desk import Desk
from workers.drain import Drain
from workers.gate import Gate
from workers.lines import Turn
from workers.tick import Tick

START = 1_800_000_000.0
CREDITS = 1_000.0
MODEL = "flux-2-klein-4b"
PRICE, RESERVE = 14_000, 21_000
LONGEST_TASK_S = 15.0
"""The catalogue's p99.9 of the model: no task here takes longer, so that a doubt's wait is long enough."""
URL_LIFE_S = 600.0
BATCH = "b"

CLOCKED: tuple[Any, ...] = (desk_module, client_module, credits_module, gate_module, tick_module)
"""Modules that measure how long something takes."""

LOGGED: Mapping[Any, Any] = {
    module: module.log
    for module in (
        *(editing, settling, gate_module, tick_module, keeper_module, poll_module, store_module, submit_module),
        credits_module,
    )
    if hasattr(module, "log")
}
"""Modules that tell what they do."""

CHANGES = frozenset(
    {"claim", "record", "begin", "resubmit", "mark_sent", "late_receipt", "feed", "take_outcomes", "drop_outcomes"}
)
"""What an actor does to the ledger that others notice."""


class Killed(BaseException):
    """The process of this actor is dead; nothing of what it would have done happens."""


class Clock:
    """Time that only the test moves."""

    def __init__(self) -> None:
        self.at = START

    def __call__(self) -> float:
        return self.at


class Actor:
    """One thread of a process: stands at a place until it is moved."""

    def __init__(self, process: Process, name: str, act: Callable[[], None]) -> None:
        self.process = process
        self.name = name
        self.place = "begun"
        self.until = 0.0
        self.over = False
        self.error: BaseException | None = None
        self._act = act
        self._go = _thread.allocate_lock()
        self._go.acquire()
        self._back = _thread.allocate_lock()
        self._back.acquire()
        _thread.start_new_thread(self._run, ())  # threading.Thread waits for its start: twice as many hand-overs

    def _run(self) -> None:
        self._go.acquire()
        _current.actor = self
        try:
            if not self.process.dead:
                self._act()
        except Killed:
            pass
        except BaseException as error:
            self.error = error
        self.over = True
        self._back.release()

    def move(self) -> None:
        """Let it act until it stands somewhere again, or has ended; what it raised is raised here."""
        self._go.release()
        self._back.acquire()
        if self.error is not None:
            raise self.error

    def stand(self, place: str, until: float = 0.0) -> None:
        """Stand still until somebody moves this actor on."""
        self.place, self.until = place, until
        self._back.release()
        self._go.acquire()
        if self.process.dead:
            raise Killed


class _Current(threading.local):
    actor: Actor | None = None


_current = _Current()


def stand(place: str, until: float = 0.0) -> None:
    """Stand still, if this is an actor's thread."""
    if _current.actor is not None:
        _current.actor.stand(place, until)


class Pause:
    """Stands in for the module `time` and for the flag of a shutdown: a wait is a place to stand at."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def monotonic(self) -> float:
        return self._clock()

    def sleep(self, seconds: float) -> None:
        stand("sleeping", self._clock() + seconds)


class Stopping(threading.Event):
    """The flag of a shutdown; whoever waits on it stands."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set() and timeout:
            stand("waiting", self._clock() + timeout)
        return self.is_set()


class StandingGate(Gate):
    """A gate whose queue is an actor's place to stand at."""

    def _wait(self, turn: Turn, until: float) -> bool:
        stand("at the gate", START)
        return turn.is_set()


@dataclass(slots=True, eq=False)
class Process:
    """A worker process: its desk, and its actors."""

    name: str
    desk: Desk
    dead: bool = False
    frozen: bool = False
    """It stands still as a whole (a long pause, a lost network): no renewal, no step."""
    actors: list[Actor] = field(default_factory=list)
    loses_replies: int = 0
    """So many changes of the ledger are carried out, and the process is told that they failed."""
    cut_off: int = 0
    """So many calls of the ledger fail and are not carried out."""

    @property
    def alive(self) -> bool:
        """Whether it can act."""
        return not self.dead and not self.frozen


class Line:
    """A process's connection to the ledger, which is cut or loses replies when the test says so."""

    def __init__(self, world: World, ledger: Ledger) -> None:
        self._world = world
        self._ledger = ledger
        self.process: Process | None = None

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._ledger, name)
        if name == "now":
            return call

        def reach(*args: Any, **named: Any) -> Any:
            if name in CHANGES:
                stand(name)
            process = self.process
            if process is not None and process.cut_off > 0:
                process.cut_off -= 1
                raise LedgerError("cut off")
            said = call(*args, **named)
            if not named.get("only_ask"):
                self._world.saw(name, args, said, op=named.get("op", ""))
            if process is not None and name in CHANGES and process.loses_replies > 0:
                process.loses_replies -= 1
                raise LedgerError("the reply was lost")
            return said

        return reach


REFUSALS: dict[str, tuple[int, dict[str, Any]]] = {
    "429": (429, {"detail": "too many", "retry_after": 1}),
    "422": (422, {"detail": "no"}),
    "503": (503, {"detail": "not now"}),
    "500": (500, {"detail": "Internal Server Error"}),
}
POSTS = ("lose answer", "lose answer", "502 after", "reset early", *REFUSALS)
ENDS = ("Error", "Request Moderated", "Content Moderated")
DOWNLOADS = ("500", "403", "cut")


@dataclass(slots=True)
class Chance:
    """Says what goes wrong by itself: each thing with the probability `trouble`."""

    random: random.Random
    trouble: float

    def of(self, well: str, ill: Sequence[str]) -> str:
        """Return what becomes of a thing."""
        return self.random.choice(ill) if self.random.random() < self.trouble else well


@dataclass(slots=True)
class Task:
    """A task of the API, with what the API charged for it."""

    id: str
    row: int
    accepted_at: float
    ends_at: float
    status: str
    charged: int

    def over(self, now: float) -> bool:
        """Whether it takes no place any more."""
        return now >= self.ends_at


class ModelApi(httpx.BaseTransport):
    """The API behind the real client: it accepts, charges and forgets nothing; the test says what goes wrong."""

    def __init__(self, clock: Clock, places: int, chance: Chance) -> None:
        self._clock = clock
        self._places = places
        self.chance = chance
        self.tasks: dict[str, Task] = {}
        self.posts = 0
        self.next: list[str] = []
        """What becomes of the next POSTs; when it is empty chance says."""
        self.ends: list[str] = []
        """How the next accepted tasks end; when it is empty chance says."""
        self.lasts = 2.0
        self.delivered: dict[str, bytes] = {}
        self.note: Callable[[str], None] = lambda _: None

    def active(self) -> list[Task]:
        """Return the tasks in flight."""
        return [task for task in self.tasks.values() if not task.over(self._clock())]

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return self._post(request)
        if request.url.path == "/v1/get_result":
            stand("poll")
            return self._poll(request.url.params["id"])
        if request.url.path == "/v1/credits":
            stand("credits")
            left = CREDITS - sum(task.charged for task in self.tasks.values()) / 10_000
            stand("credits told")
            return httpx.Response(200, json={"credits": left})
        stand("download")
        return self._deliver(request.url.path.rpartition("/")[2])

    def _post(self, request: httpx.Request) -> httpx.Response:
        stand("post")
        will = self.next.pop(0) if self.next else self.chance.of("accept", POSTS)
        if will == "reset early":
            raise httpx.WriteError("reset")
        assert isinstance(request.stream, httpx.SyncByteStream)
        body = json.loads(b"".join(request.stream))  # the mark is written in here
        self.posts += 1
        if will in REFUSALS:
            stand("answer")
            status, said = REFUSALS[will]
            return httpx.Response(status, json=said)
        if len(self.active()) >= self._places:
            stand("answer")
            return httpx.Response(429, json={"detail": "too many"})
        task = self._accept(int(body["prompt"].rpartition(" ")[2]))
        stand("answer")
        if will == "lose answer":
            raise httpx.ReadError("reset")
        if will == "502 after":
            return httpx.Response(502, text="<html>")
        url = f"https://api.eu1.bfl.ai/v1/get_result?id={task.id}"
        return httpx.Response(200, json={"id": task.id, "polling_url": url, "cost": task.charged / 10_000})

    def _accept(self, row: int) -> Task:
        now = self._clock()
        status = self.ends.pop(0) if self.ends else self.chance.of("Ready", ENDS)
        charged = 0 if status in ("Error", "Request Moderated") else PRICE
        name = f"t{len(self.tasks) + 1}"
        task = Task(name, row, now, now + min(self.lasts, LONGEST_TASK_S), status, charged)
        self.tasks[name] = task
        self.note(f"the API accepts {name} for edit {row} and charges {charged}")
        return task

    def _poll(self, name: str) -> httpx.Response:
        task, now = self.tasks[name], self._clock()
        if not task.over(now):
            return httpx.Response(200, json={"id": name, "status": "Pending"})
        said: dict[str, Any] = {"id": name, "status": task.status, "cost": task.charged / 10_000}
        if task.status == "Ready":
            said["result"] = {"sample": f"https://delivery.eu1.bfl.ai/{name}", "seed": 7}
        return httpx.Response(200, json=said)

    def _deliver(self, name: str) -> httpx.Response:
        will = self.chance.of("whole", DOWNLOADS)
        if will == "500":
            return httpx.Response(500)
        if will == "403" or self._clock() > self.tasks[name].ends_at + URL_LIFE_S:
            return httpx.Response(403)
        data = picture(int(name[1:]))
        if will == "cut":
            return httpx.Response(200, content=data[: len(data) // 2])
        self.delivered[name] = data
        return httpx.Response(200, content=data)


@cache
def _real_client() -> Api:
    api = Api(base_url="https://api.bfl.ai")
    api.close()
    return api


def client(api: ModelApi, clock: Clock) -> Api:
    """Return the real client; only its connections are not. (To make one anew takes longer than a whole game.)"""
    found = copy(_real_client())
    found._now = clock
    found._submitter = api
    found._kept = ModelConnections(api)
    return found


class ModelConnections(Connections):
    """Asks the API of a game, and waits for nobody."""

    def __init__(self, api: ModelApi) -> None:
        self._api = api

    @contextmanager
    def asking(
        self,
        method: str,
        origin: Origin,
        path: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        within_s: float,
    ) -> Iterator[Answer]:
        answered = self._api.handle_request(httpx.Request(method, f"{origin[0]}://{origin[1]}{path}"))
        yield Answer(cast(HTTPResponse, _Answered(answered)))


class _Answered(BytesIO):
    """An answer as the standard library gives it."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(response.content)
        self.length = None
        self.status = response.status_code
        self.headers = response.headers


class Log:
    """Stands in for a module's log: says nothing, and makes a failure of what a worker would only log as a bug."""

    def info(self, *_: Any, **__: Any) -> None:
        """Say nothing."""

    warning = error = info

    def exception(self, what: str, **about: Any) -> None:
        """Raise it."""
        raise AssertionError(f"{what}: {about}")


@cache
def picture(number: int) -> bytes:
    """Return a small PNG, another one for each task."""
    file = BytesIO()
    Image.new("RGB", (8, 8), (number % 256, number // 256 % 256, 99)).save(file, "PNG")
    return file.getvalue()


class World:
    """A batch of a few rows, some worker processes, their messages, and the API."""

    def __init__(
        self,
        make_ledger: Callable[[Catalogue, Clock], Ledger],
        *,
        rows: int,
        allowance: int,
        ceiling: int,
        slots: int = 3,
        alike: int = 0,
        chance: Chance | None = None,
    ) -> None:
        """The last `alike` rows ask for the same edit as the first."""
        self.clock = Clock()
        self.catalogue = shipped_catalogue().with_limit(slots)
        self.ledger = make_ledger(self.catalogue, self.clock)
        self.desk_of_people: Ledger = Line(self, self.ledger)
        self.bucket = FakeBucket()
        self._disks = TemporaryDirectory(prefix="retouch-world-", dir=_memory_disk())
        self.api = ModelApi(self.clock, slots, chance or Chance(random.Random(0), 0.0))
        self.api.note = self.note
        self.messages: list[tuple[str, tuple[str | int, ...]]] = []
        self.processes: list[Process] = []
        self.pause = Pause(self.clock)
        self.diary: list[str] = []
        """What has happened, for whoever has to understand a failure."""
        self.asked_again: Counter[int] = Counter()
        """How often a doubt of each row was asked again."""
        self.held: Counter[int] = Counter()
        """How often a doubt of each row was held for a person."""
        self.by_people = self.given_up = 0
        """How often a person let a doubt be asked again, or gave it up."""
        self.proved = 0
        """How many doubts the credits proved not to have been charged."""
        self.recorded: dict[str, str] = {}
        """Every task id that the ledger was given and took, and the job that it was for."""
        self.begun: list[Job] = []
        self.over_ceiling: list[str] = []
        self.ended: dict[str, str] = {}
        """Jobs that have ended, and how."""
        self.ops: set[str] = set()
        """The names of changes that were carried out."""
        feeding._chunks._known.clear()
        for module in CLOCKED:
            module.time = self.pause
        for module in LOGGED:
            module.log = Log()
        asked = [1 if rows - number < alike else number for number in range(1, rows + 1)]
        made = [_row(number, edit) for number, edit in enumerate(asked, 1)]
        self.edits = dict(enumerate(asked, 1))
        self.batch = Batch(
            id=BATCH,
            name="chairs",
            created_at=START,
            rows=rows,
            groups={"flux": rows},
            expected=rows * PRICE,
            at_most=rows * RESERVE,
            ceiling=ceiling,
            allowance=allowance,
        )
        text = "".join(f"{row.as_line()}\n" for row in made)
        self.bucket.put(Layout().plan(BATCH, 1, "flux", 0), text.encode())
        assert self.ledger.open_batch(self.batch)
        self.send(FEED, BATCH, "flux")

    def note(self, what: str) -> None:
        """Write down what has happened."""
        self.diary.append(
            f"{self.clock.at - START:7.1f} s  {_current.actor.process.name if _current.actor else '  '}  {what}"
        )

    # -- who acts

    def send(self, task: str, *args: str | int, paid: bool = False) -> None:
        """Put a message where any process may find it."""
        if (task, args) not in self.messages:
            self.messages.append((task, args))

    def start_process(self) -> Process:
        """Start a worker process."""
        line = Line(self, self.ledger)
        name = f"w{len(self.processes) + 1}"
        stopping = Stopping(self.clock)
        desk = make_desk(
            name,
            self.catalogue,
            line,
            self.bucket,
            client(self.api, self.clock),
            ScriptedWeb(),
            stopping,
            self.send,
            threads=16,
            folder=Path(self._disks.name) / name,
        )
        desk.gate = StandingGate(line, stopping)
        line.process = process = Process(name, desk)
        _tolerant(desk.epoch.look)
        _tolerant(CreditWatch(desk).look)
        self.processes.append(process)
        return process

    def alive(self) -> list[Process]:
        """Return the processes that can act."""
        return [process for process in self.processes if process.alive]

    def listening(self) -> list[Process]:
        """Return the processes that still take messages: one that is told to stop does not."""
        return [process for process in self.alive() if not process.desk.stopping.is_set()]

    def kill(self, process: Process) -> None:
        """Let a process die where it stands, all its actors with it."""
        self.note(f"{process.name} dies")
        process.dead = True
        for actor in process.actors:
            if not actor.over:
                actor.move()
        process.actors.clear()
        process.desk.spool.close()  # the system does, for a process that has died

    def take_message(self, process: Process, index: int) -> None:
        """Hand a message to a process."""
        task, args = self.messages.pop(index)
        self.act(process, task, *args)

    def act(self, process: Process, task: str, *args: str | int) -> Actor:
        """Let a process begin to do what a message asks for, and return who does it."""
        desk = process.desk
        doing: dict[str, Callable[..., object]] = {
            EDIT: editing.edit,
            FEED: feeding.feed,
            SETTLE: settling.settle,
            FLUSH: flushing.flush,
            FINISH: lambda *_: None,
            "tick": lambda desk: Tick(desk).once(),
            "notes": lambda desk: Drain(desk).tell_notes(),
        }
        process.actors.append(Actor(process, task, lambda: _tolerant(lambda: doing[task](*args, desk))))
        return process.actors[-1]

    def movable(self) -> list[Actor]:
        """Return the actors that are not waiting for a time."""
        now = self.clock()
        return [
            actor
            for process in self.alive()
            for actor in process.actors
            if actor.until <= now or process.desk.stopping.is_set()
        ]

    def move(self, actor: Actor, times: int = 1) -> None:
        """Move an actor on, until it waits for a time or has ended."""
        for _ in range(times):
            actor.move()
            if actor.over:
                actor.process.actors.remove(actor)
                return
            if actor.until > self.clock():
                return

    def work(self, times: int, *, everything: bool = False) -> None:
        """Let every actor that can move do so, so many times; with `everything` messages are taken, too."""
        for _ in range(times):
            while everything and self.messages and (taking := self.listening()):
                self.take_message(taking[len(self.messages) % len(taking)], 0)
            movable = self.movable()
            if not movable:
                return
            for actor in movable:
                if not actor.over and actor.process.alive:
                    self.move(actor)

    def pass_time(self, seconds: float) -> None:
        """Let time pass; whoever is alive renews his leases meanwhile."""
        while seconds > 0:
            step = min(seconds, 8.0)
            self.clock.at += step
            seconds -= step
            for process in self.alive():
                _tolerant(process.desk.keeper.renew)

    def close(self) -> None:
        """End every thread."""
        for process in self.processes:
            if not process.dead:
                self.kill(process)
        self._disks.cleanup()
        for module in CLOCKED:
            module.time = time
        for module, log in LOGGED.items():
            module.log = log

    # -- what people say

    def buy_again(self) -> None:
        """Let a person have everything bought again that is held in doubt."""
        buy_again(self.batch, self.desk_of_people, _Hints(self))

    def give_up(self) -> None:
        """Let a person give up everything that is held in doubt."""
        give_up(self.batch, self.desk_of_people, _Hints(self))

    # -- what is seen

    def saw(self, name: str, args: tuple[Any, ...], said: Any, *, op: str = "") -> None:
        """Note a call of the ledger that was carried out; one that is asked for again by its name was before."""
        if op and op in self.ops:
            return
        self.ops.add(op)
        if name == "mark_sent":
            self.note(f"mark_sent {args[0].id} {args[0].attempt}")
        if name in ("record", "begin", "resubmit") and isinstance(said, Recorded) and said.closed is None:
            self._saw_move(name, *args[:2])

    def _saw_move(self, name: str, before: Job, after: Job) -> None:
        held = " held" if after.held else ""
        task = f" with {after.receipt.task_id}" if after.receipt else ""
        self.note(f"{name} {after.id}: {before.state} {before.attempt} -> {after.state}{held} {after.attempt}{task}")
        proved = after.attempt > before.attempt and after.failures[-1].code == PROVED_UNCHARGED
        self.proved += proved
        if before.state is State.IN_DOUBT and after.attempt > before.attempt and not proved:
            self.asked_again[after.order.row] += 1
            self.by_people += name != "resubmit"
        if before.state is State.IN_DOUBT and after.state is State.CANCELLED:
            self.given_up += 1
        if after.held and not before.held:
            self.held[after.order.row] += 1
        if name == "begin":
            self.begun.append(after)
            found = self.ledger.batch(BATCH)
            assert found is not None
            if found[1].settled + found[1].reserved + found[1].doubt_used > found[1].ceiling:
                self.over_ceiling.append(after.id)
        if after.receipt is not None:
            self.recorded[after.receipt.task_id] = after.id
        if after.final:
            assert after.id not in self.ended, f"{after.id} ended twice: {self.ended[after.id]} and {after.state}"
            self.ended[after.id] = str(after.state)


class _Hints:
    """What a person's command tells the workers."""

    def __init__(self, world: World) -> None:
        self._world = world

    def feed(self, batch: str, groups: Iterable[str]) -> None:
        for group in groups:
            self._world.send(FEED, batch, group)

    def look(self, jobs: Iterable[str]) -> None:
        for job in jobs:
            self._world.send(EDIT, job)

    def finish(self, batch: str) -> None:
        self._world.send(FINISH, batch)


def _memory_disk() -> str | None:
    """Return where files cost nothing, if this system has such a place: a game that is over needs none of them."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@contextmanager
def on_one_processor() -> Iterator[None]:
    """Keep this thread, and those that it starts, to one processor, where the system can do so.

    Actors hand over to each other all the time, and that takes half as long where nobody has to be woken elsewhere.
    Each process of pytest-xdist takes another one.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[number % len(before)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _tolerant(act: Callable[[], object]) -> None:
    """Do what a worker's thread does: what the ledger refuses is logged, and the tick finds the rest."""
    try:
        act()
    except (LedgerError, Unavailable):
        return


def _row(number: int, edit: int) -> Row:
    return Row(
        number=number,
        id=f"chair-{number}",
        group="chairs",
        limit_group="flux",
        request=Request(
            model=MODEL,
            prompt=f"edit {edit}",
            inputs=("https://shop.example/chair.png",),
            params={"output_format": "png"},
            pass_urls=True,
        ),
        output=f"chairs/{number}.{{ext}}",
        expected=PRICE,
        at_most=RESERVE,
        cells=(),
        sizes={},
    )


def outcomes(world: World) -> Iterator[dict[str, Any]]:
    """Yield every outcome line, in the bucket or on its way there; one on its way may be in both places."""
    for head in world.bucket.keys(Layout().batch(BATCH, "outcomes/")):
        yield from map(json.loads, world.bucket.get(head.key).decode().splitlines())
    if isinstance(world.ledger, MemoryLedger) and (books := world.ledger._books.get(BATCH)):
        waiting = [*(books.pending[1] if books.pending else ()), *books.outcomes]
        yield from map(json.loads, waiting)
