"""Runs a simulator in a thread, for tests that want a real server beside them.

The block is entered when every port listens, and left when all of them are closed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread

from simulator.app import serve
from simulator.options import Options
from simulator.service import Addresses

START_S = 20.0


@contextmanager
def running(options: Options, *, clock: Callable[[], float] = time.time) -> Iterator[Addresses]:
    """Serve `options` (usually with `port=0`) for the length of the block.

    Raises:
        OSError: a port is taken.
        TimeoutError: it does not listen in time.
    """
    started: Future[tuple[Addresses, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def work() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        await serve(options, stop=stop, ready=lambda found: started.set_result((found, loop, stop)), clock=clock)

    def body() -> None:
        try:
            asyncio.run(work())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = Thread(target=body, name="simulator", daemon=True)
    thread.start()
    addresses, loop, stop = started.result(timeout=START_S)
    try:
        yield addresses
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
