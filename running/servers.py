"""A Redis and an S3 store for tests and benchmarks: those of the local stack, without its supervisor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis

from jobs.bucket.s3 import S3Bucket, open_bucket
from producers.stack.identity import Secrets
from producers.stack.ports import choose_ports
from producers.stack.servers import SPANS, server_parts, server_sections
from running.programs import Program


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """A Redis and an S3 store, started once for many tests."""

    redis: redis.Redis
    bucket: S3Bucket
    env: Mapping[str, str]
    """The settings that lead to both."""
    pids: Mapping[str, int] = field(default_factory=dict)
    """Which process each is, by `redis` and `storage`."""


@contextmanager
def servers_in(folder: Path) -> Iterator[Servers]:
    """Run the servers, with their data in `folder`."""
    secrets = Secrets.new()
    ports = choose_ports({name: SPANS[name] for name in ("redis", "storage")})
    pids: dict[str, int] = {}
    with ExitStack() as stack:
        for part in server_parts(folder, ports=ports, secrets=secrets):
            program = Program(part.name, part.argv, part.env, part.folder)
            stack.callback(program.end, part.stop_within_s)
            program.wait_until(part.ready, part.ready_within_s)
            pids[part.name] = program.pid
        found = server_sections(folder, ports=ports, secrets=secrets)
        url, s3 = str(found["redis"]["url"]), {name: str(value) for name, value in found["s3"].items()}
        client = redis.Redis.from_url(url, decode_responses=True)
        stack.callback(client.close)
        bucket = open_bucket(
            bucket=s3["bucket"],
            endpoint_url=s3["endpoint_url"],
            access_key_id=s3["access_key_id"],
            secret_access_key=s3["secret_access_key"],
            region=s3["region"],
        )
        stack.callback(bucket.close)
        env = {f"RETOUCH_S3__{name.upper()}": value for name, value in s3.items()} | {"RETOUCH_REDIS__URL": url}
        yield Servers(redis=client, bucket=bucket, env=env, pids=pids)
