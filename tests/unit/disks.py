"""Processes of their own that work on a test's disk, and die there."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BEFORE = """
import sys, time
from pathlib import Path
from workers.spool.room import Room
from workers.spool.users import Users
folder = Path(sys.argv[1])
"""
AFTER = """
print("there", flush=True)
time.sleep(600)
"""


@contextmanager
def user_elsewhere(folder: Path, text: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that has done `text` on the disk, and then stands there until it is killed."""
    argv = [sys.executable, "-c", BEFORE + textwrap.dedent(text) + AFTER, str(folder)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"there\n"
            yield process
        finally:
            process.kill()
