"""Starts a worker: `python -m workers [--concurrency N]`, which is what `retouch worker` runs."""

from __future__ import annotations

import os
import sys


def main(arguments: list[str]) -> None:
    """Become a Celery worker with our application; other arguments go to Celery."""
    from workers.app import app, process  # reads the settings, and exits with a sentence if they are wrong

    name = f"retouch-{os.getpid()}@%h"
    app.worker_main(["worker", "--loglevel", "WARNING", "--without-gossip", "--without-mingle", "-n", name, *arguments])
    sys.exit(process.exit_code)


if __name__ == "__main__":
    main(sys.argv[1:])
