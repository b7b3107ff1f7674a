"""Puts the hosts of a simulator on their ports and takes them down again.

Everything runs in one event loop and on the loopback address only.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from aiohttp import web

from config.catalogue import shipped_catalogue
from jobs.models import Catalogue
from simulator import answers
from simulator.delivery import delivery_host
from simulator.options import HOST, Options
from simulator.routes import Handler, main_host, region_host
from simulator.service import Addresses, Service

BACKLOG = 1024
SHUTDOWN_S = 2.0
SWEEP_S = 10.0
UNPLUG_S = 0.1
"""Whoever asked for it is answered first."""


async def serve(
    options: Options,
    *,
    stop: asyncio.Event,
    ready: Callable[[Addresses], None] = lambda _: None,
    catalogue: Catalogue | None = None,
    clock: Callable[[], float] = time.time,
) -> None:
    """Run a simulator until `stop` is set; `ready` is called once, when every port listens.

    `clock` returns Unix seconds; a test may hand in one that it moves by hand.

    Raises:
        OSError: a port is taken.
    """
    service = Service(options, catalogue or shipped_catalogue(), clock)
    runners: list[web.ServerRunner] = []
    outages: set[asyncio.Task[None]] = set()
    service.unplug = lambda seconds: outages.add(asyncio.create_task(_unplugged(runners, seconds)))
    sweeping = asyncio.create_task(_sweep(service))
    try:
        after = options.port
        main = await _listen(main_host(service), after, runners)
        regions = []
        for number in range(options.regions):
            after += after > 0
            regions.append(await _listen(region_host(service, number), after, runners))
        after += after > 0
        delivery = await _listen(delivery_host(service), after, runners)
        service.addresses = Addresses(base_url=main, regions=tuple(regions), delivery=delivery)
        if options.ports_file is not None:
            write_ports(options.ports_file, service.addresses)
        ready(service.addresses)
        await stop.wait()
    finally:
        service.closing.set()
        for task in (sweeping, *outages):
            task.cancel()
        await asyncio.gather(sweeping, *outages, return_exceptions=True)
        for runner in runners:
            await runner.cleanup()
        await service.close()


async def _listen(handler: Handler, port: int, runners: list[web.ServerRunner]) -> str:
    server = web.Server(handler, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    runners.append(runner)
    await web.TCPSite(runner, HOST, port, backlog=BACKLOG).start()
    return f"http://{HOST}:{runner.addresses[0][1]}"


async def _unplugged(runners: Sequence[web.ServerRunner], seconds: float) -> None:
    """Take no connection and break every one that there is, then listen at the same ports again."""
    await asyncio.sleep(UNPLUG_S)
    ports = [runner.addresses[0][1] for runner in runners]
    for runner in runners:
        for site in list(runner.sites):
            await site.stop()
        for connection in runner.server.connections if runner.server else ():
            answers.abort(connection.transport)
    await asyncio.sleep(seconds)
    for runner, port in zip(runners, ports, strict=True):
        await web.TCPSite(runner, HOST, port, backlog=BACKLOG, reuse_address=True).start()


async def _sweep(service: Service) -> None:
    while True:
        await asyncio.sleep(SWEEP_S)
        service.results.sweep(service.clock())


def write_ports(path: Path, addresses: Addresses) -> None:
    """Write where the simulator listens as JSON, in one step: a reader sees all of it or nothing."""
    text = json.dumps({"base_url": addresses.base_url, "trusted_hosts": list(addresses.trusted_hosts)})
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8"
    ) as file:
        file.write(text)
    os.replace(file.name, path)  # noqa: PTH105 - both are names already
