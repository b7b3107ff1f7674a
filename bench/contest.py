"""One run: a fresh API, an empty Redis, one entrant from its start to its last stored result, and what it took."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis

from bench.entrants import Stage, entrant
from bench.figures import curve, delays, percentile, rate, slot_use
from bench.inputs import write_manifest
from bench.machine import busy_s, cpu_s, ended_children_cpu_s, peak_mb, tree
from bench.scenarios import Scenario
from running.programs import Program, Simulator
from running.servers import Servers

LOOK_S = 0.2
POINTS = 120
LONGEST_S = 3600.0
OWN = "info"
"""The command with which a run itself looks at Redis: it is nobody's."""

Record = dict[str, Any]


class RunFailed(Exception):
    """A run whose figures would mean nothing."""


def run(name: str, scenario: Scenario, servers: Servers, pictures: list[str], folder: Path, *, seed: int) -> Record:
    """Let one entrant do a scenario and return what was counted.

    Raises:
        RunFailed: it ended badly, took longer than an hour, or did not store every row.
    """
    servers.redis.flushall()
    with ExitStack() as stack:
        api = Simulator("api", folder, scenario.simulator(seed))
        stack.callback(api.end)
        if scenario.one_core:
            _leave_the_first_core([api.pid, *servers.pids.values()])
        prefix = f"{name}-{folder.name}"
        manifest = folder / "manifest.csv"
        write_manifest(manifest, scenario, pictures)
        stage = Stage(servers=servers, api=api, scenario=scenario, folder=folder, manifest=manifest, name=prefix)
        taking_part = entrant(name, stage)
        lasting = taking_part.prepare()
        for program in lasting:
            stack.callback(program.end, 30.0)
        meter = Meter(servers, api, lasting)
        told = stack.enter_context(listened(servers)) if scenario.monitored else None
        watched = taking_part.work()
        stack.callback(watched.end)
        meter.watch(watched)
        taken = meter.taken()
        ledger = api.ledger()
        stored = taking_part.stored()
    if len(stored) != scenario.edits:
        raise RunFailed(f"{name} stored {len(stored)} of {scenario.edits} rows: {watched.said[-2000:]}")
    said = _said_by_the_api(ledger, scenario, stored)
    return {"entrant": name, "edits": scenario.edits, **taken, **said, **({} if told is None else told())}


def _leave_the_first_core(pids: Sequence[int]) -> None:
    others = set(range(1, os.cpu_count() or 1))
    for pid in tree(pids) if others else ():
        os.sched_setaffinity(pid, others)


class Meter:
    """Reads what a run takes: from its making to `taken`."""

    def __init__(self, servers: Servers, api: Simulator, lasting: Sequence[Program]) -> None:
        self._servers = servers
        self._api = api
        self._lasting = [program.pid for program in lasting]
        self._peak: dict[int, float] = {}
        self._redis_mb = 0.0
        self._seconds = 0.0
        servers.redis.config_resetstat()
        self._before = self._clocks()
        self._began = time.time()

    def watch(self, work: Program) -> None:
        """Wait for the end of the work, and look at the memory meanwhile."""
        until = time.monotonic() + LONGEST_S
        while work.runs:
            if time.monotonic() > until:
                raise RunFailed(f"{work.name} takes longer than {LONGEST_S:g} s: {work.said[-2000:]}")
            for pid in tree([*self._lasting, work.pid]):
                self._peak[pid] = max(self._peak.get(pid, 0.0), peak_mb(pid))
            self._redis_mb = max(self._redis_mb, self._servers.redis.info("memory")["used_memory"] / 1e6)
            time.sleep(LOOK_S)
        self._seconds = time.time() - self._began
        code = work.ended(1.0)
        if code != 0:
            raise RunFailed(f"{work.name} ended with {code}: {work.said[-2000:]}")

    def taken(self) -> Record:
        """Return the totals since the beginning."""
        after = self._clocks()
        used = {name: after[name] - self._before[name] for name in after}
        stats: Mapping[str, Mapping[str, float]] = self._servers.redis.info("commandstats")
        commands = {name.removeprefix("cmdstat_"): int(said["calls"]) for name, said in stats.items()}
        ours = sum(used[name] for name in ("lasting", "ended", "redis", "storage", "api", "bench"))
        return {
            "began_at": self._began,
            "seconds": self._seconds,
            "cpu_s": used["lasting"] + used["ended"],
            "cpu_lasting_s": used["lasting"],
            "redis_cpu_s": used["redis"],
            "storage_cpu_s": used["storage"],
            "api_cpu_s": used["api"],
            "others_cores": max(used["machine"] - ours, 0.0) / self._seconds,
            "redis_commands": sum(calls for name, calls in commands.items() if name != OWN),
            "redis_most_mb": self._redis_mb,
            "commands": dict(sorted(commands.items(), key=lambda item: -item[1])[:25]),
            "rss_mb": max(self._peak.values(), default=0.0),
            "rss_sum_mb": sum(self._peak.values()),
            "processes": len(self._peak),
        }

    def _clocks(self) -> dict[str, float]:
        return {
            "lasting": cpu_s(tree(self._lasting)),
            "ended": ended_children_cpu_s(),
            "redis": cpu_s([self._servers.pids["redis"]]),
            "storage": cpu_s(tree([self._servers.pids["storage"]])),
            "api": cpu_s([self._api.pid]),
            "bench": time.process_time(),
            "machine": busy_s(),
        }


def _said_by_the_api(ledger: Record, scenario: Scenario, stored: Mapping[str, float]) -> Record:
    """Return the figures that the API's ledger decides."""
    entries = ledger["entries"]
    kept = [{**entry, "stored_at": stored.get(entry["id"])} for entry in entries]
    seen, filed = delays(kept, "told_ready_at"), delays(kept, "stored_at")
    first = min((entry["accepted_at"] for entry in entries), default=None)
    return {
        "tasks": ledger["tasks"],
        "slot_use": slot_use(entries, scenario.slots),
        "polls": ledger["polls"],
        "refused_429": ledger["answers"].get("429", 0),
        "first_accepted_at": first,
        "last_accepted_at": max((entry["accepted_at"] for entry in entries), default=None),
        "edits_a_second": rate(entries),
        "seen_p50_s": percentile(seen, 0.5),
        "seen_p99_s": percentile(seen, 0.99),
        "stored_p50_s": percentile(filed, 0.5),
        "stored_p99_s": percentile(filed, 0.99),
        "curve": curve(entries, POINTS),
    }


@contextmanager
def listened(servers: Servers) -> Iterator[Callable[[], Record]]:
    """Listen to what Redis is told meanwhile; the value that is given returns what clients sent, scripts apart."""
    sent: Counter[str] = Counter()
    over = threading.Event()
    patient = redis.Redis.from_url(servers.env["RETOUCH_REDIS__URL"], decode_responses=True, socket_timeout=None)

    def listen() -> None:
        with patient.monitor() as monitor:  # type: ignore[no-untyped-call]  # so it is in redis-py
            for told in monitor.listen():
                if over.is_set():
                    return
                command = told["command"].partition(" ")[0].lower()
                if told["client_type"] != "lua" and command != OWN:
                    sent[command] += 1

    thread = threading.Thread(target=listen, name="monitor", daemon=True)
    thread.start()

    def found() -> Record:
        return {"sent_commands": sum(sent.values()), "sent": dict(sent.most_common(25))}

    try:
        yield found
    finally:
        over.set()
        servers.redis.ping()  # something to hear
        thread.join(10)
        patient.close()
