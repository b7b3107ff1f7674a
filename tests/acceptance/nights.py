"""Beats and intakes as programs, and what schedules and uploads have left in the bucket."""

from __future__ import annotations

import json
import sys

from running.programs import Document, Program
from tests.acceptance.harness import House


def start(house: House, command: str, number: int = 0, **more: str) -> Program:
    """Start a beat or an intake; more than one need numbers."""
    env = house.env(
        RETOUCH_INBOX__LOOK_S="1",
        RETOUCH_SCHEDULES=str(house.folder / "schedules.toml"),
        RETOUCH_HEARTBEAT_FILE=str(house.folder / f"{command}-{number}.beat"),
        **more,
    )
    program = Program(f"{command}-{number}", [sys.executable, "-P", "-m", "producers.cli", command], env, house.folder)
    house.own(program)
    return program


def keys(house: House, prefix: str, ending: str = "") -> list[str]:
    """Return the keys of Retouch's own under a prefix."""
    return [head.key for head in house.servers.bucket.keys(house.prefix + prefix) if head.key.endswith(ending)]


def records(house: House, schedule: str) -> list[Document]:
    """Return what is recorded of the firings of a schedule, oldest first."""
    return [json.loads(house.servers.bucket.get(key)) for key in keys(house, f"schedules/{schedule}/2")]


def batches(house: House) -> list[str]:
    """Return the ids of the batches whose plan is whole."""
    return [key.split("/")[-2] for key in keys(house, "batches/", "/batch.json")]


def said(*programs: Program) -> str:
    """Return the last words of programs, for a test that waits in vain."""
    return "".join(f"\n--- {program.name}\n{program.said[-3000:]}" for program in programs)
