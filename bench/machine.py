"""What the kernel says of processes and of the machine (Linux: `/proc`)."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

PROC = Path("/proc")
_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_LIBRARIES = ("celery", "kombu", "redis", "httpx", "aiohttp", "boto3", "pillow")


def tree(roots: Iterable[int]) -> set[int]:
    """Return these processes and all that descend from them."""
    children: dict[int, list[int]] = {}
    for folder in PROC.glob("[0-9]*"):
        if (stat := _stat(int(folder.name))) is not None:
            children.setdefault(int(stat[1]), []).append(int(folder.name))
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, ())
    return found


def cpu_s(pids: Iterable[int]) -> float:
    """Return the CPU seconds that these processes have used, and the children that they have waited for."""
    return sum(sum(map(int, stat[11:15])) for pid in pids if (stat := _stat(pid)) is not None) / _TICK


def _stat(pid: int) -> list[str] | None:
    """Return the fields of a process from its state on; None where it has ended."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def peak_mb(pid: int) -> float:
    """Return the most resident memory that a process has had (MB, 10**6 bytes); 0 where it has ended."""
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:")), 0.0)


def ended_children_cpu_s() -> float:
    """Return the CPU seconds of all children of this process that have ended and been waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def busy_s() -> float:
    """Return the CPU seconds that anybody on this machine has used."""
    user, nice, system, _, _, irq, softirq = map(int, (PROC / "stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / _TICK


def described() -> dict[str, Any]:
    """Return what can be said of the machine without naming it."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    memory = next((int(line.split()[1]) for line in _lines("meminfo") if line.startswith("MemTotal")), 0)
    return {
        "cores": os.cpu_count(),
        "cpu": model,
        "load": [round(load, 2) for load in os.getloadavg()],
        "memory_gb": round(memory / 2**20, 1),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        **{name: version(name) for name in _LIBRARIES},
    }


def _lines(name: str) -> list[str]:
    return (PROC / name).read_text().splitlines()
