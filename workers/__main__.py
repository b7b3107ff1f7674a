"""Starts a worker: `python -m workers [--concurrency N]`, which is what `retouch worker` runs."""

from __future__ import annotations

import ctypes
import os
import sys

_ARENA_MAX = -8
"""A parameter of glibc's `mallopt` (malloc.h)."""


SWITCH_S = 0.02
"""Whoever waits for the interpreter asks for it so often. Steps are short and wait for a network in between, so asking
every 5 ms, as Python does, only costs: with a hundred threads at work a tenth of the CPU."""


_QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")
"""Nobody listens to what workers tell each other: the ledger knows who is there."""


def share_arenas() -> None:
    """Let threads share two arenas of the C library: with one for each of them, pictures that were freed lie in all.

    That is a fifth of a worker's memory. Where there is another C library, nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_ARENA_MAX, 2)


def main(arguments: list[str]) -> None:
    """Become a Celery worker with our application; other arguments go to Celery."""
    share_arenas()
    sys.setswitchinterval(SWITCH_S)
    from workers.app import app, process  # reads the settings, and exits with a sentence if they are wrong

    name = f"retouch-{os.getpid()}@%h"
    app.worker_main(["worker", "--loglevel", "WARNING", *_QUIET, "-n", name, *arguments])
    sys.exit(process.exit_code)


if __name__ == "__main__":
    main(sys.argv[1:])
