"""Real servers for tests: a Redis of a wanted version and a SeaweedFS, each for as long as a `with` block.

A version that is not installed is a skip on a laptop and an error where `CI` is set, so that CI cannot pass by
testing nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

import pytest

from producers.stack.binaries import OLDEST_REDIS, find_weed, packaged_redis, redis_version, system_redis
from producers.stack.errors import StackError
from producers.stack.identity import Secrets
from producers.stack.part import Part
from producers.stack.parts import redis_part, redis_url
from producers.stack.ports import choose_ports
from producers.stack.storage import BUCKET, REGION, storage_part, storage_url
from producers.stack.supervisor import launch

RedisVersion = Literal["6.2", "7"]


class Server:
    """One running program, which is started and stopped at will and keeps its data and its port."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id now."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and return when it does its work."""
        self._process = launch(self.part)

        def ready() -> bool:
            assert self._process is not None
            if self._process.poll() is not None:
                raise AssertionError(f"{self.part.name} ended:\n{self.part.log.read_text()[-4000:]}")
            return self.part.ready()

        wait_until(ready, what=f"{self.part.name} to be ready", within_s=self.part.ready_within_s)

    def stop(self) -> None:
        """End it in order: SIGTERM, then SIGKILL where that is not enough. Does nothing to one that has ended."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=self.part.stop_within_s)
        except subprocess.TimeoutExpired:
            self.kill9()
        for path in self.part.leftovers:
            path.unlink(missing_ok=True)

    def kill9(self) -> None:
        """End it at once, as a power cut would."""
        assert self._process is not None
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def restart(self) -> None:
        """Stop it and start it again with the same data and port."""
        self.stop()
        self.start()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningRedis:
    """A Redis that was started for this test. `url` holds its password."""

    url: str
    port: int
    version: tuple[int, ...]
    server: Server

    @property
    def pid(self) -> int:
        """The process id now; another one after a restart."""
        return self.server.pid

    def start(self) -> None:
        """Start it again after `stop` or `kill9`."""
        self.server.start()

    def restart(self) -> None:
        """Stop it in order and start it again."""
        self.server.restart()

    def kill9(self) -> None:
        """Kill it with SIGKILL."""
        self.server.kill9()

    def stop(self) -> None:
        """Stop it in order."""
        self.server.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningS3:
    """A SeaweedFS that was started for this test, with one bucket."""

    endpoint_url: str
    access_key_id: str
    secret_access_key: str
    bucket: str
    region: str
    server: Server


@contextmanager
def redis_server(
    version: RedisVersion | None = None, *, tmp: Path, config: Sequence[str] = ()
) -> Iterator[RunningRedis]:
    """Run a Redis that keeps its data under `tmp`; `version` None takes what the local stack would.

    `config` are further lines of its configuration, such as `maxmemory 20mb`.
    """
    program = _redis_program(version)
    secrets = Secrets.new()
    port = choose_ports({"redis": 1})["redis"]
    server = Server(redis_part(tmp, server=program, port=port, secrets=secrets))
    conf = server.part.folder / "redis.conf"
    conf.write_text(conf.read_text() + "".join(f"{line}\n" for line in config))
    running = RunningRedis(url=redis_url(port, secrets), port=port, version=redis_version(program), server=server)
    try:
        server.start()
        yield running
    finally:
        server.stop()


READER = ("READERREADERREADER", "reader-secret-reader-secret")
"""The access key and the secret of a user who may list and read, and nothing else."""


@contextmanager
def seaweed(tmp: Path, *, reader: bool = False) -> Iterator[RunningS3]:
    """Run a SeaweedFS that keeps its data under `tmp`, with the bucket that the local stack has.

    With `reader` it is to be spoken to as READER.
    """
    try:
        weed = find_weed()
    except StackError as error:
        _missing(str(error))
    secrets = Secrets.new()
    port = choose_ports({"storage": 5})["storage"]
    server = Server(storage_part(tmp, weed=weed, port=port, secrets=secrets))
    access_key_id, secret_access_key = READER if reader else (secrets.s3_access_key, secrets.s3_secret_key)
    if reader:
        _let_in_reader(server.part.folder / "s3.json")
    running = RunningS3(
        endpoint_url=storage_url(port),
        access_key_id=access_key_id,
        secret_access_key=secret_access_key,
        bucket=BUCKET,
        region=REGION,
        server=server,
    )
    try:
        server.start()
        yield running
    finally:
        server.stop()


def _let_in_reader(config: Path) -> None:
    said = json.loads(config.read_text())
    credentials = [{"accessKey": READER[0], "secretKey": READER[1]}]
    reader = {"name": "reader", "credentials": credentials, "actions": [f"Read:{BUCKET}", f"List:{BUCKET}"]}
    config.write_text(json.dumps({"identities": [*said["identities"], reader]}))


def wait_until(condition: Callable[[], bool], *, what: str, within_s: float = 30.0) -> None:
    """Return as soon as `condition` holds; fail the test where it does not within the time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {within_s:g} s in vain for {what}")
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    """Return whether a process exists and is more than a zombie that nobody has reaped."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return not Path("/proc/self").exists()
    return stat.rpartition(")")[2].split()[0] != "Z"


def _redis_program(version: RedisVersion | None) -> Path:
    for program in (*system_redis(), *packaged_redis()):
        found = redis_version(program)
        wanted = {None: found >= OLDEST_REDIS, "6.2": found[:2] == (6, 2), "7": found >= (7,)}
        if wanted[version]:
            return program
    return _missing(f"no redis-server {version or 'of 6.2 or later'} is installed")


def _missing(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        raise RuntimeError(f"{reason}, and CI must not skip")
    pytest.skip(reason)


def certificate_for(name: str, folder: Path) -> Path:
    """Return a certificate and its key in one file, for a name as `DNS:cam.test` or `IP:127.0.0.1`."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not on PATH")
    key, made, both = folder / "key.pem", folder / "cert.pem", folder / "both.pem"
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=of-a-test"
    files = ["-addext", f"subjectAltName={name}", "-keyout", str(key), "-out", str(made)]
    subprocess.run([openssl, *request.split(), *files], check=True, capture_output=True)
    both.write_text(key.read_text() + made.read_text())
    return both
