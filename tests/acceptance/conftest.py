"""One Redis and one S3 store for each test process; a house of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.clock import Clock, turned
from tests.acceptance.harness import House, Servers, new_name, servers_in


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with servers_in(tmp_path_factory.mktemp("servers")) as found:
        yield found


@pytest.fixture
def house(servers: Servers, tmp_path: Path) -> Iterator[House]:
    servers.redis.flushall()
    found = House(servers=servers, folder=tmp_path, name=new_name())
    try:
        yield found
    finally:
        found.end()


@pytest.fixture
def turned_house(servers: Servers, tmp_path: Path) -> Iterator[tuple[House, Clock]]:
    """A house with a Redis of its own, and the clock of that, which is Retouch's."""
    with turned(servers, tmp_path) as (moved, clock):
        found = House(servers=moved, folder=tmp_path, name=new_name())
        try:
            yield found, clock
        finally:
            found.end()
