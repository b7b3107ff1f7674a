"""An independent judge of a batch that has ended: it reads the manifest, the API's own ledger and the bucket.

It never asks our Redis, imports nothing of the workers, and believes nothing that it can work out by itself: which
tasks belong to a row it tells by the prompt, which object is a row's by its key, what an object is by its bytes. What
the batch says of itself (outcomes, summary) is a claim, held against the rest.

It also fails if the faults that were promised did not come, since a test that injects nothing proves nothing.
"""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

from jobs.bucket.port import Bucket

Line = Mapping[str, Any]
MADE_IT = frozenset({"stored", "unchanged"})
READERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Promised:
    """What was to be injected: the share of each fault among its chances, and how often programs were to be killed.

    Faults of one kind may be promised together, by their names joined with `+`: each alone may be rare.
    """

    faults: Mapping[str, float] = field(default_factory=dict)
    kills: int = 0
    redis_kills: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Struck:
    """What was done to programs, as the system told it: the exit codes of killed workers, Redis's own run ids."""

    workers: Sequence[int] = ()
    redis_runs: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What was seen, for the record."""

    rows: int
    stored: int
    held: int
    lost: int
    tasks: int
    charged_twice: int
    paid_twice_usd: float
    exposure_usd: float
    bill_usd: float
    reported_usd: float
    peak: int
    over_limit: int
    expired: int
    ready_to_fetched_p999_s: float
    kills: int
    redis_kills: int
    injected: Mapping[str, int]

    def as_json(self) -> str:
        """Return the figures as one line."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that the judge knows."""

    manifest: Sequence[Mapping[str, str]]
    api: Line
    outcomes: Sequence[Line]
    summary: Line
    published: Mapping[str, str]
    """sha256 of every object under the name of the batch, by its key without that name and without its ending."""
    struck: Struck = field(default_factory=Struck)
    promised: Promised = field(default_factory=Promised)
    limit: int = 24
    url_life_s: float = 600.0

    @classmethod
    def read(cls, manifest: Path, bucket: Bucket, *, name: str, folder: str, api: Line, **more: Any) -> Self:
        """Read a batch that is called `name` and whose own files lie under `folder`."""
        with manifest.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        lines = bucket.get(f"{folder}outcomes.jsonl").decode().split("\n")
        others = (f"{name}/retouch/", f"{name}/originals/")
        keys = [head.key for head in bucket.keys(f"{name}/") if not head.key.startswith(others)]
        with ThreadPoolExecutor(READERS) as pool:
            sums = pool.map(lambda key: sha256(bucket.get(key)).hexdigest(), keys)
        return cls(
            manifest=rows,
            api=api,
            outcomes=[json.loads(line) for line in lines if line],
            summary=json.loads(bucket.get(f"{folder}summary.json")),
            published={
                key.removeprefix(f"{name}/").rpartition(".")[0]: sum_ for key, sum_ in zip(keys, sums, strict=True)
            },
            **more,
        )

    # -- what belongs to a row

    @cached_property
    def tasks(self) -> Mapping[str, Sequence[Line]]:
        """The tasks of each row, by its id: each row's prompt is its own."""
        row_of = {sha256(row["prompt"].encode()).hexdigest(): row["id"] for row in self.manifest}
        assert len(row_of) == len(self.manifest), "every row asks for another edit"
        found: dict[str, list[Line]] = {row["id"]: [] for row in self.manifest}
        for task in self.api["entries"]:
            found[row_of[task["prompt_sha256"]]].append(task)
        return found

    @cached_property
    def claimed(self) -> Mapping[str, str]:
        """What the batch says became of each row, by its id."""
        return {line["id"]: line["state"] for line in self.outcomes}

    # -- what may be wrong

    def lost(self) -> list[str]:
        """Return the rows without an outcome, with two, or that are nobody's."""
        wanted = Counter(row["id"] for row in self.manifest)
        seen = Counter(line["id"] for line in self.outcomes)
        return sorted(((wanted - seen) + (seen - wanted)).elements())

    def charged_twice(self) -> list[str]:
        """Return the rows that the API charged for more than once."""
        return [row for row, tasks in self.tasks.items() if sum(task["charged"] > 0 for task in tasks) > 1]

    def charged_unknowingly(self) -> list[str]:
        """Return the rows that were charged for more often than the batch says that it may have been."""
        doubts = {line["id"]: line["doubts"] for line in self.outcomes}
        return [
            row
            for row, tasks in self.tasks.items()
            if sum(task["charged"] > 0 for task in tasks) > 1 + doubts.get(row, 0)
        ]

    def paid_twice_usd(self) -> float:
        """Return what the API charged beyond the first charge of each row."""
        charges = [sorted((float(task["charged"]) for task in tasks), reverse=True) for tasks in self.tasks.values()]
        return sum(sum(each[1:]) for each in charges) / 100

    def changed_on_the_way(self) -> list[str]:
        """Return the rows that are said to be stored and whose object is missing, or is not what the API delivered."""
        return [
            row
            for row, state in self.claimed.items()
            if state in MADE_IT
            and self.published.get(row) not in {task["result_sha256"] for task in self.tasks[row]} - {None}
        ]

    def published_unclaimed(self) -> list[str]:
        """Return objects that no row is said to have been stored as."""
        return sorted(set(self.published) - {row for row, state in self.claimed.items() if state in MADE_IT})

    def paid_for_nothing(self) -> list[str]:
        """Return the rows that were paid for and not delivered although nobody is told that they may have been."""
        return [
            row
            for row, tasks in self.tasks.items()
            if any(t["charged"] and t["status"] == "Ready" for t in tasks)
            and self.claimed.get(row) not in MADE_IT | {"in_doubt"}
        ]

    def expired(self) -> list[str]:
        """Return the tasks whose result was told to us and was not fetched while its URL lived."""
        return [
            task["id"]
            for task in self.api["entries"]
            if task["told_ready_at"]
            and (task["downloaded_at"] is None or task["downloaded_at"] > task["ended_at"] + self.url_life_s)
        ]

    def not_injected(self) -> list[str]:
        """Return the promised faults that came too seldom to have been injected: four standard deviations too few."""
        counts: Mapping[str, int] = self.api["faults"]
        posts, polls, fetched = (int(self.api[what]) for what in ("posts", "polls", "downloads"))
        taken = int(self.api["tasks"])  # a POST that was refused has no answer after a task that could be lost
        chances = {"hang_poll": polls, "poll_5xx": polls}
        chances |= dict.fromkeys(("early_404", "lose_answer", "five_xx_after"), taken)
        missing = []
        for kind, share in self.promised.faults.items():
            names = kind.split("+")
            n = chances.get(names[0], fetched if names[0].endswith("_download") else posts)
            least = n * share - 4 * math.sqrt(n * share * (1 - share))
            came = sum(counts.get(name, 0) for name in names)
            if came < max(least, 1):
                missing.append(f"{kind}: {came} of {n}")
        killed = sum(code == -9 for code in self.struck.workers)
        if killed < self.promised.kills:
            missing.append(f"kills: {killed} of {self.promised.kills}")
        lives = len(set(self.struck.redis_runs))
        if self.promised.redis_kills and lives < self.promised.redis_kills + 1:
            missing.append(f"lives of Redis: {lives}")
        return missing

    def misstated(self) -> Iterator[str]:
        """Yield what the summary says and what is not so."""
        summary, counts = self.summary, {state: n for state, n in self.summary["counts"].items() if n}
        if counts != dict(Counter(self.claimed.values())) or sum(counts.values()) != len(self.manifest):
            yield f"counts: {counts}"
        if summary["held"] != self.held:
            yield f"held: {summary['held']}"
        if summary["doubt_exposure_usd"] + 1e-9 < self.paid_twice_usd():
            yield f"exposure: {summary['doubt_exposure_usd']} for {self.paid_twice_usd()}"
        if summary["cost_usd"] > self.bill_usd + 1e-6:
            yield f"cost: {summary['cost_usd']} for a bill of {self.bill_usd}"
        unknown = sum(t["charged"] for row in self.held_rows for t in self.tasks[row]) / 100
        if summary["cost_usd"] + summary["doubt_exposure_usd"] + unknown + 1e-6 < self.bill_usd:
            yield f"the bill of {self.bill_usd} is not explained by {summary['cost_usd']} and the doubts"

    # -- figures

    @property
    def held_rows(self) -> list[str]:
        """The rows that wait for a person."""
        return [row for row, state in self.claimed.items() if state == "in_doubt"]

    @property
    def held(self) -> int:
        """How many rows wait for a person."""
        return len(self.held_rows)

    @property
    def bill_usd(self) -> float:
        """What the API has charged in all."""
        return round(sum(float(task["charged"]) for task in self.api["entries"]) / 100, 6)

    @property
    def peak(self) -> int:
        """The most tasks that the API had in flight at one time."""
        return max((key["peaks"].get("flux", 0) for key in self.api["keys"].values()), default=0)

    def figures(self) -> Figures:
        """Return what was seen."""
        waits = sorted(
            task["downloaded_at"] - task["told_ready_at"]
            for task in self.api["entries"]
            if task["downloaded_at"] and task["told_ready_at"]
        )
        return Figures(
            rows=len(self.manifest),
            stored=sum(state in MADE_IT for state in self.claimed.values()),
            held=self.held,
            lost=len(self.lost()),
            tasks=self.api["tasks"],
            charged_twice=len(self.charged_twice()),
            paid_twice_usd=round(self.paid_twice_usd(), 6),
            exposure_usd=self.summary["doubt_exposure_usd"],
            bill_usd=self.bill_usd,
            reported_usd=self.summary["cost_usd"],
            peak=self.peak,
            over_limit=self.api["over_limit"],
            expired=len(self.expired()),
            ready_to_fetched_p999_s=round(waits[max(math.ceil(len(waits) * 0.999) - 1, 0)], 3) if waits else 0.0,
            kills=sum(code == -9 for code in self.struck.workers),
            redis_kills=max(len(set(self.struck.redis_runs)) - 1, 0),
            injected=dict(self.api["faults"]),
        )

    def judge(self) -> list[str]:
        """Return everything that is wrong; a charge that was made twice is no fault by itself where it was allowed."""
        found = {
            "lost": self.lost(),
            "charged again and not told": self.charged_unknowingly(),
            "changed on the way": self.changed_on_the_way(),
            "published, and no row's": self.published_unclaimed(),
            "paid for nothing": self.paid_for_nothing(),
            "left to expire": self.expired(),
            "misstated": list(self.misstated()),
            "not injected": self.not_injected(),
        }
        wrong = [f"{what}: {', '.join(map(str, which[:10]))} ({len(which)})" for what, which in found.items() if which]
        if self.peak > self.limit:
            wrong.append(f"{self.peak} tasks in flight at once")
        wrong += [f"{name}: {self.api[name]}" for name in ("key_leaks", "wrong_host_polls") if self.api[name]]
        return wrong
