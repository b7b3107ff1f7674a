"""`python -m bench`: runs the scenarios and writes `bench/results/*.json`; `make docs` then draws `docs/benchmarks.md`.

Runs of different entrants take turns (A B A B …), so that what else the machine does meets all of them alike.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.big import memory, urgent
from bench.contest import Record, run
from bench.inputs import upload_pictures
from bench.machine import described
from bench.plan import plan
from bench.results import FOLDER, QUICK, Measured, write
from bench.scenarios import SCENARIOS, Scenario
from running.servers import Servers, servers_in

SEED = 20_261_122


def main() -> int:
    """Run what is asked for and return the exit code."""
    asked = _parser().parse_args()
    wanted = [s for s in SCENARIOS if not asked.only or s.name in asked.only]
    forms = [form for s in wanted if (form := s.quick() if asked.quick else s) is not None]
    repeat = asked.repeat or (1 if asked.quick else 3)
    folder = asked.out or (QUICK if asked.quick else FOLDER)
    for scenario in forms:
        with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as place:
            measured = _measured(scenario, Path(place), repeat=repeat, only=asked.entrant, quick=asked.quick)
        print(f"-> {write(folder, measured)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench", description="Retouch beside what a user would write instead.")
    parser.add_argument("--quick", action="store_true", help="some minutes, one run each; says less")
    parser.add_argument("--only", action="append", choices=[s.name for s in SCENARIOS], help="may be repeated")
    parser.add_argument("--entrant", action="append", help="these entrants alone; may be repeated")
    parser.add_argument("--repeat", type=int, help="runs of each entrant (3; quick: 1)")
    parser.add_argument("--out", type=Path, help="where the results go (bench/results, or bench/results/quick)")
    return parser


def _measured(scenario: Scenario, place: Path, *, repeat: int, only: list[str] | None, quick: bool) -> Measured:
    records: list[Record] = []
    entrants = [name for name in scenario.entrants if not only or name in only]
    with servers_in(place / "servers") as servers:
        pictures = upload_pictures(servers.bucket, scenario)
        for turn in range(repeat):
            for name in entrants:
                folder = place / f"{name}-{turn}"
                folder.mkdir()
                records.append(_run(name, scenario, servers, pictures, folder, SEED + turn))
                print(f"{scenario.name} {turn + 1} {_line(records[-1])}", flush=True)
        versions = _versions(servers)
    return Measured(
        scenario=scenario,
        quick=quick,
        day=time.strftime("%Y-%m-%d", time.gmtime()),
        machine=described() | versions,
        runs=records,
    )


def _versions(servers: Servers) -> dict[str, Any]:
    return {"redis_server": servers.redis.info("server")["redis_version"]}


def _run(name: str, scenario: Scenario, servers: Servers, pictures: list[str], folder: Path, seed: int) -> Record:
    match scenario.kind:
        case "memory":
            return memory(scenario, servers, pictures, folder, seed=seed)
        case "urgent":
            return urgent(scenario, servers, pictures, folder, seed=seed)
        case "plan":
            return plan(name, scenario, servers, folder)
        case _:
            return run(name, scenario, servers, pictures, folder, seed=seed)


def _line(record: Record) -> str:
    """Return what a run said, without its long parts."""
    short = {name: value for name, value in record.items() if not isinstance(value, dict) and name != "curve"}
    return json.dumps({name: round(v, 4) if isinstance(v, float) else v for name, v in short.items()})


if __name__ == "__main__":
    sys.exit(main())
