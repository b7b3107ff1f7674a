"""The house in which the acceptance tests play: real servers, real processes, the command line as a user gives it.

What came of a batch is judged by `tests.acceptance.checker`, which does not believe Redis; the house itself looks
into Redis only to know when to strike.
"""

from __future__ import annotations

import csv
import json
import sys
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import redis
from PIL import Image

from running.programs import ROOT, Command, Document, Program, Said, Simulator, eventually, own_env
from running.servers import Servers, servers_in
from tests.acceptance.checker import Books

Row = Mapping[str, str]

MODEL = "flux-2-klein-4b"
"""Its doubts wait 22.5 s, the shortest of the catalogue."""

__all__ = ["MODEL", "ROOT", "Document", "House", "Said", "Servers", "new_name", "opened", "picture", "servers_in"]


@dataclass(slots=True, kw_only=True)
class House:
    """One test's world: an empty Redis, a prefix of its own in the bucket, and whatever it starts."""

    servers: Servers
    folder: Path
    name: str
    """Starts its output keys; no other test has it."""
    api: Simulator | None = None
    _started: list[Program] = field(default_factory=list)

    @property
    def redis(self) -> redis.Redis:
        """Redis, for tests that look into it; the checker never does."""
        return self.servers.redis

    @property
    def prefix(self) -> str:
        """Where Retouch's own files lie in this test."""
        return f"{self.name}/retouch/"

    def env(self, **more: str) -> dict[str, str]:
        """Return a whole environment: nothing of the user's own settings is in it."""
        api = self.api.env if self.api else {}
        own = {"RETOUCH_S3__PREFIX": self.prefix, "RETOUCH_SUBMIT__DOUBT_WAIT_S": "1"}
        return own_env(self.servers.env, api, own, more)

    def simulate(self, *options: str, name: str = "api") -> Simulator:
        """Start an API; whatever is started afterwards speaks to it. Its results are small unless told otherwise."""
        small = () if "--result-size" in options else ("--result-size", "64x64")
        self.api = Simulator(name, self.folder, [*small, *options])
        self._started.append(self.api)
        return self.api

    def worker(self, **more: str) -> Program:
        """Start a worker and return it when it works."""
        name = f"worker-{sum(p.name.startswith('worker') for p in self._started)}"
        program = Program(name, [sys.executable, "-P", "-m", "workers"], self.env(**more), self.folder)
        self._started.append(program)
        return program

    def workers(self, count: int, **more: str) -> list[Program]:
        """Start workers and return them when all of them work."""
        started = [self.worker(**more) for _ in range(count)]
        for program in started:
            self.working(program)
        return started

    def working(self, worker: Program) -> None:
        """Wait until a worker takes messages: its tick then shows it in Redis."""
        worker.wait_until(lambda: self.seen(worker))

    def seen(self, worker: Program) -> Document:
        """Return what a worker has last said of itself in Redis; empty if nothing."""
        key = next(iter(self.redis.scan_iter(f"retouch:worker:*-{worker.pid}-*")), None)
        said = None if key is None else self.redis.get(key)
        return {} if said is None else dict(json.loads(str(said)))

    def posting(self, worker: Program) -> int:
        """Return how many submissions of a worker have left and are not answered."""
        return sum((job.get("state"), job.get("sent")) == ("submitting", "1") for job in self._held_by(worker))

    def states_of(self, worker: Program) -> Counter[str]:
        """Return how many jobs a worker holds in each state."""
        return Counter(job["state"] for job in self._held_by(worker))

    def _held_by(self, worker: Program) -> Iterator[Mapping[str, str]]:
        for key in self.redis.scan_iter("retouch:job:*", count=1000):
            job = {str(field): str(value) for field, value in self.redis.hgetall(key).items()}
            if f"-{worker.pid}-" in job.get("owner", ""):
                yield job

    def begin(self, *arguments: str | Path, through: Sequence[str] = (), **more: str) -> Command:
        """Give a command and do not wait for it."""
        return Command([str(argument) for argument in arguments], self.env(**more), self.folder, through=through)

    def retouch(self, *arguments: str | Path, **more: str) -> Said:
        """Give a command and return how it ended."""
        return self.begin(*arguments, **more).ended()

    def measured(self, *arguments: str | Path, **more: str) -> Said:
        """Give a command and return how it ended, and what it took of memory."""
        words = [str(argument) for argument in arguments]
        return Command(words, self.env(**more), self.folder, measured=True).ended()

    def records(self) -> tuple[Mapping[str, str], Mapping[str, bytes | None]]:
        """Return everything in the bucket (key and ETag) and in Redis (key and value): what nothing may add to."""
        with redis.Redis.from_url(self.servers.env["RETOUCH_REDIS__URL"]) as client:  # a dump is no text
            held = {key.decode(): client.dump(key) for key in client.scan_iter(count=1000)}
        return {head.key: head.etag for head in self.servers.bucket.keys("")}, held

    def exactly(self, arguments: Sequence[str], env: Mapping[str, str]) -> Said:
        """Give a command in this environment and no other, and return how it ended."""
        return Command(arguments, env, self.folder).ended()

    def submit(self, manifest: Path, *options: str, allowance: str = "") -> str:
        """Open a batch and return its id; `allowance` is what its doubts may cost, in dollars."""
        more = {"RETOUCH_SUBMIT__DOUBT_ALLOWANCE_USD": allowance} if allowance else {}
        return opened(self.begin(*self.submission(manifest, *options), **more))

    def submission(self, manifest: Path, *options: str) -> list[str]:
        """Return the arguments of a `submit`."""
        return ["submit", str(manifest), "--name", self.name, "--yes", "--json", *options]

    def status(self, batch: str) -> Document:
        """Return what `retouch status` says of a batch."""
        return self.retouch("status", batch, "--json").document

    def stored_at_least(self, batch: str, rows: int, within: float = 60.0) -> None:
        """Wait until so many rows of a running batch are stored."""
        key = f"retouch:batch:{batch}"
        eventually(
            lambda: int(str(self.redis.hget(key, "n:stored") or 0)) >= rows, within, f"{rows} rows of {batch} stored"
        )

    def batches(self) -> list[str]:
        """Return the batches that have files in the bucket."""
        folder = f"{self.prefix}batches/"
        return sorted({head.key.removeprefix(folder).split("/")[0] for head in self.servers.bucket.keys(folder)})

    def manifest(self, rows: Sequence[Row], name: str = "manifest.csv") -> Path:
        """Write a manifest."""
        path = self.folder / name
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return path

    def rows(self, count: int, prompt: str = "put it on white, view {n}", **more: str) -> list[dict[str, str]]:
        """Return rows that ask for as many different edits of one picture in the bucket."""
        image = self.picture_in_bucket()
        return [
            {"id": f"row-{n:03d}", "image": image, "prompt": prompt.format(n=n), "model": MODEL, **more}
            for n in range(count)
        ]

    def picture_in_bucket(self) -> str:
        """Upload a small picture and return its URI."""
        key = f"{self.name}/originals/chair.png"
        self.servers.bucket.put(key, picture(7), content_type="image/png")
        return f"s3://{self.servers.bucket.name}/{key}"

    def finished(self, batch: str, within: float) -> None:
        """Wait until the batch's summary lies in the bucket."""
        key = f"{self.prefix}batches/{batch}/summary.json"
        eventually(lambda: self.servers.bucket.head(key), within, lambda: self._what_is_wrong(batch))

    def books(self, batch: str, api: Simulator | None = None) -> Books:
        """Return what the bucket and the API say of a batch that has ended."""
        simulator = api or self.api
        assert simulator is not None
        return Books.read(self.servers.bucket, f"{self.prefix}batches/{batch}/", self.prefix, simulator.ledger())

    def ended(self, batch: str, within: float) -> Books:
        """Wait for the end of a batch and return what then is known of it."""
        self.finished(batch, within)
        return self.books(batch)

    def own(self, program: Program) -> None:
        """End a program with this house, whatever a test started it for."""
        self._started.append(program)

    def end(self) -> None:
        """End whatever was started, the workers at once."""
        for program in reversed(self._started):
            program.end() if isinstance(program, Simulator) else program.kill()

    def _what_is_wrong(self, batch: str) -> str:
        logs = "".join(
            f"\n--- {program.name} ({'runs' if program.runs else 'ended'})\n{program.said[-3000:]}"
            for program in self._started
        )
        return f"{batch} is over: {self.retouch('status', batch, '--json').out}{logs}"


def opened(command: Command) -> str:
    """Return the id of the batch that a `submit` opened."""
    said = command.ended()
    assert said.code == 0, said
    return str(said.document["batch"])


def new_name() -> str:
    """Return a name that no other test has."""
    return f"test-{uuid.uuid4().hex[:8]}"


def picture(shade: int, size: tuple[int, int] = (96, 96)) -> bytes:
    """Return a small PNG; another shade is another picture."""
    image = Image.linear_gradient("L").resize(size).point(lambda level: (level + shade * 17) % 256)
    file = BytesIO()
    image.convert("RGB").save(file, "PNG")
    return file.getvalue()
