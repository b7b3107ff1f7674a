"""Those who are measured: how each is started, given its manifest, and waited for."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from bench.scenarios import BLOCKING, COUNTDOWN, RETOUCH, SCRIPT, Scenario
from running.programs import Program, Simulator, eventually, own_env
from running.servers import Servers

PYTHON = (sys.executable, "-P", "-m")
FIRST_CORE = ("taskset", "--cpu-list", "0")
"""What starts a program on one core; everything else is moved to the others, where there are any."""
START_S = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Everything that an entrant of one run is given."""

    servers: Servers
    api: Simulator
    scenario: Scenario
    folder: Path
    manifest: Path
    name: str
    """What the keys of its results start with."""


class Entrant(Protocol):
    """One that can be measured. `work` is called once, after `prepare`."""

    def prepare(self) -> Sequence[Program]:
        """Start what stands ready before the work is given, wait for it, and return it."""

    def work(self) -> Program:
        """Start the program that the user would give: it ends when everything is stored."""

    def stored(self) -> Mapping[str, float]:
        """Return when each task's result was stored (Unix seconds), by the task's id."""


def entrant(name: str, stage: Stage) -> Entrant:
    """Return the entrant of that name.

    Raises:
        KeyError: there is none.
    """
    if name == RETOUCH or name.startswith(f"{RETOUCH}-"):
        return Retouch(stage, workers=int(name.removeprefix(RETOUCH).removeprefix("-") or 1))
    return {SCRIPT: Script, BLOCKING: Blocking, COUNTDOWN: Countdown}[name](stage)


def _start(stage: Stage, name: str, argv: Sequence[str], env: Mapping[str, str]) -> Program:
    pinned = FIRST_CORE if stage.scenario.one_core else ()
    return Program(name, [*pinned, *argv], env, stage.folder)


class Retouch:
    """Workers that stand ready, and `retouch run`."""

    def __init__(self, stage: Stage, *, workers: int) -> None:
        self._stage = stage
        self._workers = workers

    @property
    def env(self) -> dict[str, str]:
        """The settings of this run."""
        stage = self._stage
        limit = {} if stage.scenario.slots == 24 else {"RETOUCH_API__ACTIVE_LIMIT": str(stage.scenario.slots)}
        own = {"RETOUCH_S3__PREFIX": f"{stage.name}/retouch/"}
        return own_env(stage.servers.env, stage.api.env, own, limit, stage.scenario.settings)

    def prepare(self) -> Sequence[Program]:
        names = [f"worker-{number}" for number in range(self._workers)]
        workers = [_start(self._stage, name, (*PYTHON, "workers"), self.env) for name in names]
        for worker in workers:
            worker.wait_until(partial(self._works, worker), START_S)
        return workers

    def _works(self, worker: Program) -> bool:
        """Whether a worker's tick has shown it in Redis: then it takes messages."""
        return any(True for _ in self._stage.servers.redis.scan_iter(f"retouch:worker:*-{worker.pid}-*"))

    def work(self) -> Program:
        given = ["run", str(self._stage.manifest), "--name", self._stage.name, "--yes", "--json"]
        # The user's own terminal is no part of the one core that workers are given.
        return Program("run", [*PYTHON, "producers.cli", *given], self.env, self._stage.folder)

    def stored(self) -> Mapping[str, float]:
        bucket, found = self._stage.servers.bucket, {}
        for head in bucket.keys(f"{self._stage.name}/retouch/batches/"):
            if head.key.endswith("/outcomes.jsonl"):
                for line in bucket.get(head.key).decode().splitlines():
                    outcome = json.loads(line)
                    if outcome["at"]["stored"]:
                        found[outcome["task_id"]] = float(outcome["at"]["stored"])
        return found


class Script:
    """The evening script."""

    module = "bench.rivals.script"

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def prepare(self) -> Sequence[Program]:
        return []

    def work(self) -> Program:
        return _start(self._stage, "work", (*PYTHON, self.module), self._env)

    @property
    def _env(self) -> dict[str, str]:
        stage = self._stage
        env = stage.servers.env
        s3 = ("ENDPOINT_URL", "BUCKET", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "REGION")
        own = {f"RIVAL_S3_{name}": env[f"RETOUCH_S3__{name}"] for name in s3} | {
            "RIVAL_API_URL": stage.api.base_url,
            "RIVAL_API_KEY": stage.api.env["RETOUCH_API__KEYS"],
            "RIVAL_REDIS_URL": env["RETOUCH_REDIS__URL"],
            "RIVAL_NAME": stage.name,
            "RIVAL_MANIFEST": str(stage.manifest),
            "RIVAL_RESULTS": str(self._results),
            "RIVAL_SLOTS": str(stage.scenario.slots),
        }
        return own_env(own)

    @property
    def _results(self) -> Path:
        return self._stage.folder / "results.csv"

    def stored(self) -> Mapping[str, float]:
        with self._results.open(newline="", encoding="utf-8") as file:
            return {row["task_id"]: float(row["stored_at"]) for row in csv.DictReader(file)}


class Blocking(Script):
    """Plain Celery: a prefork worker that stands ready, and a program that sends the manifest and waits."""

    module = "bench.rivals.celery_blocking"

    def prepare(self) -> Sequence[Program]:
        argv = [*PYTHON, "celery", "-A", self.module, "worker", "--pool", "prefork", "--loglevel", "WARNING"]
        argv += ["--concurrency", str(self.processes), "--without-gossip", "--without-mingle"]
        worker = _start(self._stage, "worker", argv, self._env)
        redis = self._stage.servers.redis
        eventually(lambda: worker.runs and redis.exists("_kombu.binding.celery"), START_S, "a Celery worker listens")
        return [worker]

    @property
    def processes(self) -> int:
        """One for each slot, since each is blocked by its edit."""
        return self._stage.scenario.slots


class Countdown(Blocking):
    """Celery whose polls are retries."""

    module = "bench.rivals.celery_countdown"

    @property
    def processes(self) -> int:
        """Some: a task is over in milliseconds."""
        return 8
