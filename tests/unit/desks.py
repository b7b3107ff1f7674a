"""A house for tests of the steps: a desk whose ledger, bucket, API and clock are all in the test's hands.

Every wait of a step passes the house's own time and returns at once. What happens meanwhile is `house.stopping.then`.
"""

from __future__ import annotations

import io
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any

from PIL import Image
from pydantic import SecretStr

from config.catalogue import shipped_catalogue
from jobs.batch import Batch, Progress
from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket
from jobs.events import Accepted, Begun, Event, Ready
from jobs.job import Job, Order, Receipt
from jobs.ledger.memory import MemoryLedger
from jobs.ledger.port import Ledger
from jobs.models import Catalogue
from jobs.money import Days
from jobs.request import Request
from jobs.states import apply
from tests.fakes import FakeBucket
from workers.api import protocol
from workers.api.client import Api, Heard, Key
from workers.api.protocol import PollAnswer, SubmitAnswer
from workers.away import Away
from workers.desk import Desk, Send
from workers.epoch import EpochGuard
from workers.gate import Gate
from workers.inputs import Inputs
from workers.intents import Intents
from workers.keeper import LeaseKeeper
from workers.keys import KeyRing
from workers.pace import Pace
from workers.results import Results
from workers.spool.spool import Spool
from workers.storage import Storage
from workers.submit import Purchase, prepare
from workers.turns import Turns
from workers.web import Web

START = 1_800_000_000.0
RESERVE, COST = 60_000, 45_000
KEY = Key.of(SecretStr("a-key-for-tests"))
OTHER_KEY = Key.of(SecretStr("another-key-for-tests"))
URL = "https://delivery.eu1.bfl.ai/r.png?sig=CANARY"
STILL = protocol.StillRunning()


@cache
def picture(width: int = 48, height: int = 32, kind: str = "PNG", colour: str = "teal") -> bytes:
    """Return a small picture."""
    made = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(made, kind)
    return made.getvalue()


class Clock:
    """Time that only a test, or a wait, moves."""

    def __init__(self) -> None:
        self.at = START

    def __call__(self) -> float:
        return self.at

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.at += seconds


class Stopping(threading.Event):
    """The flag of a shutdown; a wait on it takes no time of ours. `then` is called in each."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.waits: list[float] = []
        self.then: Callable[[], None] = lambda: None

    def wait(self, timeout: float | None = None) -> bool:
        """Let the time pass, and say whether a shutdown has begun."""
        self.waits.append(timeout or 0.0)
        if not self.is_set():
            self._clock.advance(timeout or 0.0)
            self.then()
        return self.is_set()


@dataclass(frozen=True, slots=True)
class Early:
    """What the API says, or what breaks, when all but the last part of the body is there."""

    said: SubmitAnswer | Exception


Submitted = SubmitAnswer | Exception | Early | Callable[[Callable[[], None]], SubmitAnswer]
Downloaded = bytes | Exception | tuple[bytes, int | None]


class ScriptedApi(Api):
    """Gives the answers that a test wrote down, in turn; the last of the polls and downloads is repeated."""

    def __init__(self) -> None:
        self.submits: deque[Submitted] = deque()
        self.polls: deque[PollAnswer] = deque()
        self.downloads: deque[Downloaded] = deque()
        self.primed: list[tuple[str, bytes, str]] = []
        """What has come of bodies but their last parts; `bodies` are those that came whole."""
        self.bodies: list[tuple[str, bytes, str]] = []
        self.polled: list[tuple[str, Key | None]] = []
        self.credit: dict[str, protocol.KeyWorks | protocol.KeyRefused | None] = {}
        """What is said of a key (by its id) when it is asked for credits."""
        self.fetched: list[str] = []

    def submit(
        self,
        path: str,
        body: bytes,
        key: Key,
        before_last: Callable[[], None],
        *,
        gate: Callable[[Heard], None] = lambda _: None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> SubmitAnswer:
        """An exception is raised while the body travels, an early one when it is there but for its last part; an
        answer comes after that. A function is called behind the gate, with what writes the mark."""

        def last() -> None:
            before_last()
            self.bodies.append((path, body, key.id))

        said = self.submits.popleft()
        if isinstance(said, Exception):
            raise said
        self.primed.append((path, body, key.id))
        early = isinstance(said, Early)
        gate(lambda: early)
        if isinstance(said, Early):
            if isinstance(said.said, Exception):
                raise said.said
            return said.said
        if callable(said):
            return said(last)
        last()
        return said

    def poll(self, receipt: Receipt, key: Key | None) -> PollAnswer:
        self.polled.append((receipt.polling_url, key))
        return self.polls.popleft() if len(self.polls) > 1 else self.polls[0]

    def credits(self, key: Key) -> protocol.KeyWorks | protocol.KeyRefused | None:
        return self.credit.get(key.id)

    def download(self, url: str) -> tuple[bytes, int | None]:
        self.fetched.append(url)
        said = self.downloads.popleft() if len(self.downloads) > 1 else self.downloads[0]
        if isinstance(said, Exception):
            raise said
        return said if isinstance(said, tuple) else (said, len(said))


class ScriptedWeb(Web):
    """A web of one dictionary; what is not in it is a bug of the test."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes | Exception] = {}

    def fetch(self, url: str) -> bytes:
        said = self.pages[url]
        if isinstance(said, Exception):
            raise said
        return said


@dataclass(slots=True)
class House:
    """A desk and everything behind it."""

    clock: Clock
    stopping: Stopping
    ledger: MemoryLedger
    bucket: FakeBucket
    api: ScriptedApi
    web: ScriptedWeb
    desk: Desk
    sent: list[tuple[str | int | bool, ...]] = field(default_factory=list)
    """Every message: task, arguments, and `True` at the end if it was a paid one."""

    def open(self, rows: int = 1, *, feed: bool = True, group: str = "flux", order: Any = None, **agreed: Any) -> Batch:
        """Open batch `b` and feed its rows, whose pictures lie in the bucket."""
        known: dict[str, Any] = {
            "id": "b",
            "name": "chairs",
            "created_at": START,
            "rows": rows,
            "groups": {group: rows},
            "expected": rows * COST,
            "at_most": rows * RESERVE,
            "ceiling": 10 * rows * RESERVE,
            "allowance": 2 * RESERVE,
        }
        batch = Batch(**known | agreed)
        assert self.ledger.open_batch(batch)
        if feed:
            orders = [make_order(n, batch=batch.id, limit_group=group, **(order or {})) for n in range(1, rows + 1)]
            for made in orders:
                for uri in made.request.inputs:
                    if uri.startswith("s3://bucket/"):
                        self.bucket.lay(uri.removeprefix("s3://bucket/"), picture())
            assert self.ledger.feed(batch.id, group, 0, orders, low=1)
        return batch

    def progress(self, batch: str = "b") -> Progress:
        """Return what the ledger counts."""
        found = self.ledger.batch(batch)
        assert found is not None
        return found[1]

    def outcomes(self, batch: str = "b") -> str:
        """Return the outcomes that wait to be written."""
        taken = self.ledger.take_outcomes(batch)
        return "\n".join(taken[1]) if taken else ""

    def claimed(self, job: str = "b.1") -> Job:
        """Claim a job."""
        claim = self.ledger.claim(job, self.desk.owner)
        assert claim.job is not None, claim.why
        return claim.job

    def purchase(self, job: str = "b.1") -> Purchase:
        """Bring a queued job to where its body is ready to leave."""
        queued = self.claimed(job)
        event = prepare(queued, self.desk)
        assert isinstance(event, Begun), event
        return Purchase(queued, event, self.desk)

    def begun(self, job: str = "b.1") -> Job:
        """Bring a queued job to where its slot is taken, and nothing is sent."""
        queued = self.claimed(job)
        event = prepare(queued, self.desk)
        assert isinstance(event, Begun), event
        entered = self.desk.gate.enter(queued, event)
        assert isinstance(entered, Job), entered
        return entered

    def moved(self, job: Job, *happened: Event) -> Job:
        """Record one event after the other."""
        for event in happened:
            after = apply(job, event, self.clock())
            self.ledger.record(job, after)
            job = after
        return job

    def running(self, job: str = "b.1", cost: int | None = COST) -> Job:
        """Bring a queued job to where its receipt is in hand."""
        return self.moved(self.begun(job), Accepted(receipt=receipt(cost=cost)))

    def ready(self, job: str = "b.1", cost: int | None = COST) -> Job:
        """Bring a queued job to where its result can be fetched."""
        return self.moved(self.running(job, cost), Ready(url=URL, deadline=self.clock() + 600))

    def stands(self, job: str = "b.1") -> Job:
        """Return a job as the ledger holds it."""
        found = self.ledger.load(job)
        assert found is not None
        return found


def receipt(task: str = "t1", cost: int | None = COST) -> Receipt:
    """Return a receipt."""
    return Receipt(task_id=task, polling_url=f"https://api.eu1.bfl.ai/v1/get_result?id={task}", cost=cost)


def make_order(row: int, *, batch: str = "b", limit_group: str = "flux", **asked: Any) -> Order:
    """Return an order; `asked` are fields of the request, and `output`."""
    output = asked.pop("output", f"chairs/{row}.{{ext}}")
    request: dict[str, Any] = {
        "model": "flux-2-pro",
        "prompt": f"Make Stühle {row} red",
        "inputs": (f"s3://bucket/in/{row}.png",),
        "params": {"output_format": "png"},
    } | asked
    return Order(
        batch=batch,
        row=row,
        id=f"chair-{row}",
        group="chairs",
        limit_group=limit_group,
        request=Request(**request),
        output=output,
        reserve=RESERVE,
        expected=COST,
    )


_scratch = TemporaryDirectory(prefix="retouch-desks-")


def _new_folder() -> Path:
    return Path(mkdtemp(dir=_scratch.name))


def make_house(
    *,
    slots: int = 4,
    threads: int = 12,
    keys: Sequence[Key] = (KEY,),
    days: Days | None = None,
    intents: bool = False,
    folder: Path | None = None,
    spool_bytes: int = 2 * 1024**3,
) -> House:
    """Return a house with nothing in it; `folder` is the disk of its spool."""
    clock = Clock()
    stopping = Stopping(clock)
    catalogue = shipped_catalogue().with_limit(slots)
    ledger = MemoryLedger(catalogue, clock=clock)
    bucket, api, web = FakeBucket(), ScriptedApi(), ScriptedWeb()
    sent: list[tuple[str | int | bool, ...]] = []

    def send(task: str, *args: str | int, paid: bool = False) -> None:
        sent.append((task, *args, True) if paid else (task, *args))

    desk = make_desk(
        "w1",
        catalogue,
        ledger,
        bucket,
        api,
        web,
        stopping,
        send,
        threads=threads,
        keys=keys,
        days=days,
        intents=intents,
        folder=folder,
        spool_bytes=spool_bytes,
    )
    return House(clock, stopping, ledger, bucket, api, web, desk, sent)


def make_desk(
    owner: str,
    catalogue: Catalogue,
    ledger: Ledger,
    bucket: Bucket,
    api: Api,
    web: Web,
    stopping: threading.Event,
    send: Send,
    *,
    threads: int = 12,
    keys: Sequence[Key] = (KEY,),
    days: Days | None = None,
    intents: bool = False,
    folder: Path | None = None,
    spool_bytes: int = 2 * 1024**3,
) -> Desk:
    """Return a process's desk over these ports; `folder` is the disk of its spool."""
    layout, ring, days = Layout(), KeyRing(keys, ledger.now), days or Days()
    return Desk(
        owner=owner,
        catalogue=catalogue,
        ledger=ledger,
        bucket=bucket,
        layout=layout,
        results=Results(bucket, layout),
        api=api,
        keys=ring,
        read_keys=lambda: keys,
        inputs=Inputs(bucket, layout, web, ["other"]),
        gate=Gate(ledger, stopping, days, key_spent=ring.spent),
        intents=Intents(bucket, layout, on=intents),
        epoch=EpochGuard(ledger, bucket, layout, "here"),
        keeper=LeaseKeeper(ledger, owner),
        pace=Pace(),
        send=send,
        doubt_wait_s=30.0,
        threads=threads,
        days=days,
        away=Away(ledger.now),
        spool=Spool(folder or _new_folder(), spool_bytes, home="s3://bucket/retouch/", now=ledger.now, owner=owner),
        turns=Turns(threads),
        storage=Storage(ledger.now),
        stopping=stopping,
    )
