"""Fixtures that every kind of test shares: no settings from outside, and real servers, started when first asked for.

Under pytest-xdist each worker process has servers of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import redis
import structlog
from hypothesis import settings

from tests.servers import RunningS3, redis_server, seaweed

_OUTSIDE = ("RETOUCH_", "AWS_", "BFL_")


# On a machine that is busy elsewhere any example may take long, and that is no fault of the code.
settings.register_profile("retouch", deadline=None)
settings.load_profile("retouch")

# structlog's own default draws every local of every frame of a traceback, which takes seconds for one.
structlog.configure(processors=[structlog.processors.add_log_level, structlog.processors.KeyValueRenderer()])


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(_OUTSIDE):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Undo what a test sets up: modules that log later would keep it, and nobody could see what they say."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real Redis that all tests of this process share; what is in it is anybody's."""
    with redis_server(tmp=tmp_path_factory.mktemp("redis")) as running:
        yield running.url


@pytest.fixture
def clean_redis(redis_url: str) -> str:
    """The URL of the shared Redis, emptied for this test."""
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    return redis_url


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningS3]:
    """A real S3 store that all tests of this process share: use a prefix of your own."""
    with seaweed(tmp_path_factory.mktemp("s3")) as running:
        yield running
