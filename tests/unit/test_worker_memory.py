"""A worker's threads share the C library's arenas."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

THREADS = """
import ctypes, threading
from workers.__main__ import share_arenas
{first}
libc, met = ctypes.CDLL(None), threading.Barrier(16)
def use():
    libc.malloc(5000)
    met.wait()
threads = [threading.Thread(target=use) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.malloc_info(0, ctypes.c_void_p.in_dll(libc, "stdout"))
libc.fflush(None)
"""


def arenas(first: str) -> int:
    """Return how many arenas sixteen threads used that allocate at the same time."""
    said = subprocess.run(
        [sys.executable, "-c", THREADS.format(first=first)], capture_output=True, text=True, check=True, timeout=60
    )
    return said.stdout.count("<heap nr=")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no such parameter")
def test_threads_of_a_worker_share_two_arenas() -> None:
    shared, own = arenas("share_arenas()"), arenas("")

    assert shared <= 2 < own
