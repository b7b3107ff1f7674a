"""Runs that are cut off: what Redis holds of a batch that is far from its end, and how soon a small one gets a slot."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from statistics import median

from bench.contest import Record, RunFailed
from bench.entrants import Retouch, Stage
from bench.inputs import prompt, write_manifest
from bench.machine import peak_mb
from bench.scenarios import RETOUCH, Scenario
from running.programs import Command, Program, Said, Simulator, eventually
from running.servers import Servers

SUBMIT_S = 600.0
LONGEST_S = 2 * 3600.0
"""From one mark to the next."""
URGENT_ROWS = 10
LOOKS, LOOK_S = 21, 0.5
"""Over ten seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A big batch that runs."""

    stage: Stage
    worker: Program
    batch: str
    planned_s: float


def memory(scenario: Scenario, servers: Servers, pictures: list[str], folder: Path, *, seed: int) -> Record:
    """Return what Redis and a worker held after each of the scenario's marks.

    Outcomes wait in Redis for some seconds until they are written together, so a look at a mark is a median of several.

    Raises:
        RunFailed: the command that submits failed.
        AssertionError: a mark was not reached within two hours.
    """
    with _begun(scenario, servers, pictures, folder, seed) as begun:
        key, state = f"retouch:batch:{begun.batch}", "n:unchanged" if scenario.alike else "n:stored"
        began, held, most = time.monotonic(), [], 0.0
        for mark in scenario.marks:
            eventually(partial(_ended, servers, key, state, mark), LONGEST_S, f"{mark} rows ended")
            rate = mark / (time.monotonic() - began)
            looks = [_redis_mb(servers) for _ in range(LOOKS)]
            held.append((mark, round(median(looks), 2)))
            most = max(most, *looks)
            print(f"{scenario.name} after {mark} rows: {held[-1][1]} MB, {rate:.0f} rows/s", flush=True)
        return {
            "entrant": RETOUCH,
            "edits": scenario.marks[-1],
            "planned_s": begun.planned_s,
            "redis_mb": held,
            "redis_most_mb": round(most, 2),
            "redis_slope_kb": 1000 * (held[-1][1] - held[0][1]) / (held[-1][0] - held[0][0]),
            "ended_a_second": rate,
            "tasks": begun.stage.api.totals()["tasks"],
            "rss_mb": peak_mb(begun.worker.pid),
        }


def _ended(servers: Servers, key: str, state: str, mark: int) -> bool:
    time.sleep(LOOK_S)
    return int(servers.redis.hget(key, state) or 0) >= mark


def _redis_mb(servers: Servers) -> float:
    time.sleep(LOOK_S)
    return float(servers.redis.info("memory")["used_memory"]) / 1e6


def urgent(scenario: Scenario, servers: Servers, pictures: list[str], folder: Path, *, seed: int) -> Record:
    """Return how long after the start of their `submit` ten rows of a second batch had their first slot, beside a big
    batch that runs: the command's own start and planning count.

    Raises:
        RunFailed: they had none within two hours.
    """
    with _begun(scenario, servers, pictures, folder, seed) as begun:
        stage = begun.stage
        eventually(lambda: stage.api.totals()["tasks"] >= 2 * scenario.slots, LONGEST_S, "the slots' second edits")
        small = folder / "urgent.csv"
        write_manifest(small, replace(scenario, edits=URGENT_ROWS), pictures, first=scenario.edits)
        began_at = time.time()
        urgently = ("--priority", "urgent")
        _command(stage, "submit", str(small), "--name", f"{stage.name}-urgent", "--yes", "--json", *urgently)
        wanted = {sha256(prompt(scenario.edits + n).encode()).hexdigest() for n in range(URGENT_ROWS)}

        def first() -> float:
            entries = stage.api.ledger()["entries"]
            return min((e["accepted_at"] for e in entries if e["prompt_sha256"] in wanted), default=0.0)

        found = eventually(first, LONGEST_S, "a slot for the small batch")
        return {
            "entrant": RETOUCH,
            "edits": URGENT_ROWS,
            "first_slot_s": found - began_at,
        }


@contextmanager
def _begun(scenario: Scenario, servers: Servers, pictures: list[str], folder: Path, seed: int) -> Iterator[Begun]:
    """Open the scenario's batch with one worker, and cut everything off in the end."""
    servers.redis.flushall()
    api = Simulator("api", folder, scenario.simulator(seed))
    try:
        manifest = folder / "manifest.csv"
        write_manifest(manifest, scenario, pictures)
        stage = Stage(servers=servers, api=api, scenario=scenario, folder=folder, manifest=manifest, name=folder.name)
        (worker,) = Retouch(stage, workers=1).prepare()
        try:
            began = time.monotonic()
            said = _command(stage, "submit", str(manifest), "--name", stage.name, "--yes", "--json").document
            planned_s = time.monotonic() - began
            yield Begun(stage=stage, worker=worker, batch=str(said["batch"]), planned_s=planned_s)
        finally:
            worker.kill()
    finally:
        api.end()


def _command(stage: Stage, *arguments: str) -> Said:
    said = Command(arguments, Retouch(stage, workers=1).env, stage.folder).ended(SUBMIT_S)
    if said.code != 0:
        raise RunFailed(f"retouch {arguments[0]} ended with {said.code}: {said.err[-2000:]}")
    return said
