"""Runs a command and says what it took: wall, CPU and the most memory that it and its children held at once."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.machine import peak_mb, tree

_LOOK_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run of a command took: seconds, and the most resident memory of all its processes together (MB)."""

    code: int
    out: str
    wall_s: float
    cpu_s: float
    rss_mb: float


def run(argv: Sequence[str], env: Mapping[str, str], folder: Path, errors: Path) -> Run:
    """Run a command to its end; its stderr goes to `errors`.

    Pages that processes share count for each of them. What wait4 says of memory is not taken: it counts what this
    process held when it forked.
    """
    began = time.monotonic()
    with errors.open("wb") as err:
        process = subprocess.Popen(argv, env=dict(env), cwd=folder, stdout=subprocess.PIPE, stderr=err)
    most = [0.0]
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_S):
            most[0] = max(most[0], sum(map(peak_mb, tree([process.pid]))))

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
        rss_mb=most[0],
    )
