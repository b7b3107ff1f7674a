"""Runs a command and says what it took: wall, CPU and the most memory that it and its children held at once."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.figures import spread
from bench.machine import tree

_LOOK_S = 0.1
_MB = 1_000_000
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run of a command took: seconds, and bytes of the resident memory of all its processes together."""

    code: int
    out: str
    wall_s: float
    cpu_s: float
    rss: int


def run(argv: Sequence[str], env: Mapping[str, str], folder: Path, errors: Path) -> Run:
    """Run a command to its end; its stderr goes to `errors`. Pages that processes share count for each of them."""
    began = time.monotonic()
    with errors.open("wb") as err:
        process = subprocess.Popen(argv, env=dict(env), cwd=folder, stdout=subprocess.PIPE, stderr=err)
    most = [0]
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_S):
            most[0] = max(most[0], sum(map(_resident, tree([process.pid]))))

    watch = threading.Thread(target=look, daemon=True)
    watch.start()
    assert process.stdout is not None
    with process.stdout as stdout:
        out = stdout.read().decode()
    _, status, used = os.wait4(process.pid, 0)  # what children it waited for took is in it
    wall = time.monotonic() - began
    ended.set()
    watch.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    return Run(
        code=process.returncode,
        out=out,
        wall_s=wall,
        cpu_s=used.ru_utime + used.ru_stime,
        rss=max(most[0], used.ru_maxrss * 1024),
    )


def told(values: Iterable[float], digits: int = 2) -> dict[str, float]:
    """Return the median of some measured values, the least, the most, and how many there are."""
    return {name: round(value, digits) for name, value in spread([*values])._asdict().items()}


def in_mb(size: int) -> float:
    """Return bytes in megabytes."""
    return round(size / _MB, 1)


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0
