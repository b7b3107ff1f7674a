"""Makes results when they are first wanted, in threads, and keeps the newest in memory.

A result that was dropped is made again from its inputs, which lie in a temporary folder until the URL has
expired; the bytes are the same, so nobody can tell.
"""

from __future__ import annotations

import asyncio
import heapq
import shutil
import tempfile
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from simulator import picture
from simulator.inputs import Picture
from simulator.sizes import Size
from simulator.tasks import Task

THREADS = 2
KEPT_BYTES = 256 * 1024 * 1024


class Results:
    """The pictures of all tasks; `fixed_size` is the load-test mode, where nothing is drawn or stored."""

    def __init__(self, fixed_size: Size | None = None, grain: float = 0.0, kept_bytes: int = KEPT_BYTES) -> None:
        self._fixed_size = fixed_size
        self._grain = grain
        self._kept_bytes = kept_bytes
        self._folder: Path | None = None
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="edit")
        self._made: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0
        self._making: dict[str, asyncio.Future[bytes]] = {}
        self._expiring: list[tuple[float, int, Task]] = []

    async def store_inputs(self, number: int, pictures: tuple[Picture, ...]) -> tuple[Path, ...]:
        """Write the inputs of the `number`-th POST to disk and return where they are."""
        if self._fixed_size is not None or not pictures:
            return ()
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="retouch-simulator-"))
        paths = tuple(self._folder / f"{number}-{position}" for position in range(len(pictures)))
        await asyncio.to_thread(_write, paths, pictures)
        return paths

    def keep_until(self, task: Task, expires_at: float) -> None:
        """Let `sweep` remove what belongs to `task` once its URL has expired."""
        if self._fixed_size is None:
            heapq.heappush(self._expiring, (expires_at, task.number, task))

    async def of(self, task: Task) -> bytes:
        """Return the bytes of a task's result; its sha256 is noted in the task.

        Raises:
            InputError: an input cannot be decoded.
        """
        data = self._made.get(task.id)
        if data is not None:
            self._made.move_to_end(task.id)
            return data
        if self._fixed_size is not None:
            token = sha256(f"{task.content}\n{task.result_seed}".encode()).hexdigest()
            data = picture.stamped(self._fixed_size, task.format, token, self._grain)
        else:
            data = await self._drawn(task)
        if task.result_sha256 is None:
            task.result_sha256 = sha256(data).hexdigest()
        return data

    async def _drawn(self, task: Task) -> bytes:
        making = self._making.get(task.id)
        if making is None:
            making = asyncio.get_running_loop().run_in_executor(
                self._pool, picture.edit, task.inputs, task.size, task.prompt, task.result_seed, task.format
            )
            self._making[task.id] = making
        try:
            data = await asyncio.shield(making)
        finally:
            self._making.pop(task.id, None)
        self._keep(task.id, data)
        return data

    def _keep(self, name: str, data: bytes) -> None:
        if name in self._made:
            return
        self._made[name] = data
        self._size += len(data)
        while self._size > self._kept_bytes and len(self._made) > 1:
            self._size -= len(self._made.popitem(last=False)[1])

    def sweep(self, now: float) -> None:
        """Remove the inputs and results of tasks whose URL has expired."""
        while self._expiring and self._expiring[0][0] <= now:
            task = heapq.heappop(self._expiring)[2]
            self._size -= len(self._made.pop(task.id, b""))
            for path in task.inputs:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Stop the threads and remove the folder."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


def _write(paths: tuple[Path, ...], pictures: tuple[Picture, ...]) -> None:
    for path, taken in zip(paths, pictures, strict=True):
        path.write_bytes(taken.data)
