"""The evening script: asyncio and aiohttp, a semaphore for the slots, a poll every half second.

Pictures are loaded before the slot is taken and results fetched after it is free, some rows ahead, so that only the
upload and the gap between two polls cost the slot anything.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import aiohttp

from bench.rivals.place import API_URL, HEADERS, POLL_S, SLOTS, Done, Row, asked, load, rows, s3_client, sample, store
from bench.rivals.place import write_results as write

MODEL_LIMITS = {"flux-kontext-max": 6}
THREADS = 16


async def main() -> None:
    """Edit every row of the manifest."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(THREADS))
    s3 = s3_client(THREADS)
    ahead, slots = asyncio.Semaphore(2 * SLOTS), asyncio.Semaphore(SLOTS)
    of_model = defaultdict(lambda: slots, {name: asyncio.Semaphore(n) for name, n in MODEL_LIMITS.items()})

    async def edit(row: Row, http: aiohttp.ClientSession) -> Done:
        async with ahead:
            body = asked(row, await asyncio.to_thread(load, s3, row))
            own = of_model[row["model"]]
            if own is slots:
                async with slots:
                    task_id, url = await bought(row, body, http)
            else:
                async with own, slots:
                    task_id, url = await bought(row, body, http)
            async with http.get(url) as answer:
                answer.raise_for_status()
                picture = await answer.read()
            return await asyncio.to_thread(store, s3, row, task_id, picture)

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        write(await asyncio.gather(*(edit(row, http) for row in rows())))


async def bought(row: Row, body: dict[str, str], http: aiohttp.ClientSession) -> tuple[str, str]:
    """Submit an edit and wait for it; return its id and the result's URL."""
    while True:
        async with http.post(f"{API_URL}/v1/{row['model']}", json=body, headers=HEADERS) as answer:
            if answer.status != 429:
                answer.raise_for_status()
                receipt = await answer.json()
                break
        await asyncio.sleep(1.0)
    while True:
        await asyncio.sleep(POLL_S)
        async with http.get(receipt["polling_url"], headers=HEADERS) as answer:
            answer.raise_for_status()
            url = sample(await answer.json())
        if url is not None:
            return receipt["id"], url


if __name__ == "__main__":
    asyncio.run(main())
