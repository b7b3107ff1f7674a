"""Runs a simulator as a process of its own, until it is told to stop.

SIGTERM and SIGINT end it cleanly, with exit code 0.
"""

from __future__ import annotations

import asyncio
import errno
import signal
import sys

from simulator.app import serve
from simulator.options import HOST, Options
from simulator.service import Addresses

OK = 0
USAGE = 2


def run(options: Options) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code: 0, or 2 where it cannot listen or write."""
    try:
        asyncio.run(_run(options))
    except OSError as error:
        sys.stderr.write(f"the simulator cannot start: {error}.{_remedy(error, options)}\n")
        return USAGE
    except KeyboardInterrupt:  # in the moment before the handlers are set
        return OK
    return OK


def _remedy(error: OSError, options: Options) -> str:
    if error.errno not in (errno.EADDRINUSE, errno.EACCES) or error.filename is not None:
        return ""
    return f" It needs port {options.port} and the next ones on {HOST}. Choose another --port, or 0 for any."


async def _run(options: Options) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(options, stop=stop, ready=_announce)


def _announce(addresses: Addresses) -> None:
    sys.stderr.write(f"listening on {addresses.base_url}\n")
    sys.stderr.flush()
