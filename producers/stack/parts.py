"""How the parts of the local stack are started, and how one knows that they work; the store has a module of its own.

A builder writes the part's configuration and returns the part; nothing runs yet. No secret is on a command line,
where every user of the machine could read it: secrets are in files of mode 0600 and in the environment.
"""

from __future__ import annotations

import http.client
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from producers.stack.binaries import redis_version
from producers.stack.errors import StackError
from producers.stack.files import private_folder, read_json, write_private
from producers.stack.identity import Secrets
from producers.stack.part import Part, log_of, plain_env, python_env
from producers.stack.ports import HOST

SIMULATOR_COMMAND = (sys.executable, "-P", "-m", "simulator")
WORKER_COMMAND = (sys.executable, "-P", "-m", "workers")
COMMAND = (sys.executable, "-P", "-m", "producers.cli")
"""-P: a folder named `config` or `jobs` beside the user is not ours."""
_READ_S = 2.0


def redis_url(port: int, secrets: Secrets) -> str:
    """Return the URL that clients of the embedded Redis use, password included."""
    return f"redis://:{secrets.redis_password}@{HOST}:{port}/0"


def redis_part(data_dir: Path, *, server: Path, port: int, secrets: Secrets, name: str = "redis") -> Part:
    """Return a Redis that answers a write only when it is on the disk (AOF always) and never evicts.

    Raises:
        StackError: the data was written by a newer Redis than `server`.
    """
    folder = private_folder(data_dir / name)
    if redis_version(server) < (7,) and (folder / "appendonlydir").exists():
        raise StackError(
            f"{folder} was written by Redis 7 or later and {server} is older, so it would start empty: "
            "install that Redis again, or set RETOUCH_DATA_DIR to another folder"
        )
    lines = [
        f"bind {HOST}",
        f"port {port}",
        f"requirepass {secrets.redis_password}",
        "dir .",
        "daemonize no",
        "appendonly yes",
        "appendfsync always",
        "maxmemory-policy noeviction",
        'save ""',
    ]
    write_private(folder / "redis.conf", "\n".join(lines) + "\n")
    url = redis_url(port, secrets)

    def ready() -> bool:
        import redis  # loaded by those alone who start one
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        client = redis.Redis.from_url(
            url, socket_timeout=_READ_S, socket_connect_timeout=_READ_S, retry=Retry(NoBackoff(), 0)
        )
        with closing(client):
            try:
                return bool(client.ping())
            except (redis.ConnectionError, redis.TimeoutError):
                return False

    return Part(
        name=name,
        argv=(str(server), "redis.conf"),
        env=plain_env(folder),
        folder=folder,
        log=log_of(data_dir, name),
        ready=ready,
        ready_within_s=120,  # a long append-only file is read first
        stop_within_s=10,
        port=port,
    )


def ports_file_of(data_dir: Path) -> Path:
    """Return where the simulator writes its base URL and its hosts."""
    return data_dir / "simulator" / "ports.json"


def simulator_part(data_dir: Path, *, port: int, arguments: Sequence[str] = ()) -> Part:
    """Return the stand-in for the API; `arguments` are options of its own and win over ours."""
    private_folder(data_dir / "simulator")
    ports_file = ports_file_of(data_dir)
    ports_file.unlink(missing_ok=True)  # of the last time

    def ready() -> bool:
        said = read_json(ports_file)
        return said is not None and _answers(str(said["base_url"]), "/admin/ledger?summary=1")

    return Part(
        name="simulator",
        argv=(*SIMULATOR_COMMAND, "--port", str(port), "--ports-file", str(ports_file), *arguments),
        env=python_env(),
        folder=Path.cwd(),  # a path among `arguments` is meant from here
        log=log_of(data_dir, "simulator"),
        ready=ready,
        ready_within_s=60,
        stop_within_s=5,
        port=port,
    )


def worker_part(data_dir: Path, *, name: str, env: Mapping[str, str], drain_s: float) -> Part:
    """Return a worker with the whole environment `env`; it counts as ready once it is started.

    It runs in a folder of its own, so that it finds no `.env`: its settings are complete.
    """
    return Part(
        name=name,
        argv=WORKER_COMMAND,
        env=env,
        folder=private_folder(data_dir / "workers"),
        log=log_of(data_dir, name),
        ready=lambda: True,
        ready_within_s=10,
        stop_within_s=drain_s + 10,
    )


def intake_parts(data_dir: Path, *, suffix: str, env: Mapping[str, str]) -> list[Part]:
    """Return a beat and an intake; they join the stack as any command does, and need no key of the API.

    `env` holds the settings that the command itself was given. Each counts as ready once it is started.
    """
    folder = private_folder(data_dir / "intake")
    return [
        Part(
            name=f"{name}{suffix}",
            argv=(*COMMAND, name),
            env=env,
            folder=folder,
            log=log_of(data_dir, f"{name}{suffix}"),
            ready=lambda: True,
            ready_within_s=10,
            stop_within_s=15,  # a plan that is cut off here is begun anew by the next intake
        )
        for name in ("intake", "beat")
    ]


def _answers(origin: str, path: str) -> bool:
    """Return whether a GET is answered with 200; asks directly, whatever proxy is set."""
    connection = http.client.HTTPConnection(origin.removeprefix("http://"), timeout=_READ_S)
    with closing(connection):
        try:
            connection.request("GET", path)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
