"""`retouch up`, `worker` and `simulator`: to run the parts that work.

Workers and the simulator are other programs: this process becomes one of them, it never imports them.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import Annotated, NoReturn

import typer

from config.parts import ledger_of
from config.settings import Settings, SettingsError
from producers.cli import options as o
from producers.cli.house import bring_home, settings_of
from producers.cli.live import SIMULATED
from producers.cli.voice import OK, Stop, Voice
from producers.stack.local import LocalStack, find_running, what_is_wanted
from producers.stack.record import FILE, environment_of

Workers = Annotated[int, typer.Option(min=0, max=64, help="How many worker processes. Default: 1.")]
_LOOK_S = 0.5


def up(workers: Workers = 1, simulate: o.Simulate = False, quiet: o.Quiet = False) -> int:
    """Run the whole local stack here until Ctrl-C; other commands in this folder join it."""
    voice = Voice(quiet=quiet)
    settings = settings_of(voice)
    wanted = replace(what_is_wanted(settings, simulate=simulate, with_worker=False), workers=workers)
    if not wanted.servers:
        raise Stop(
            "nothing_to_start",
            "Every part is set to be somewhere else, so there is no local stack to start.",
            "`retouch worker` starts a worker; leave RETOUCH_REDIS__URL and RETOUCH_S3__* out for a local stack.",
        )
    with LocalStack.open(settings, wanted, notify=voice.note) as stack:
        _tell(stack, voice, workers)
        try:
            while stack.failure is None:
                time.sleep(_LOOK_S)
        except KeyboardInterrupt:
            bring_home(ledger_of(stack.settings), stack, voice)
            return OK
        raise Stop("local_stack", stack.failure, exit_code=3)


def worker(context: typer.Context, quiet: o.Quiet = False) -> NoReturn:
    """Start a worker for the Redis, the bucket and the API of the settings (or of the local stack that runs here)."""
    settings = settings_of(Voice(quiet=quiet))
    environment = dict(os.environ)
    if not settings.has_real_redis:
        found = find_running(settings)
        if found is None:
            raise SettingsError(
                "no Redis is named and no local stack runs in this folder: set RETOUCH_REDIS__URL, or use `retouch up`"
            )
        settings, environment = found, environment_of(found)
    _check_worker(settings)
    become("workers", context.args, environment)


def simulator(context: typer.Context) -> NoReturn:
    """Start a simulator of the API; `retouch simulator --help` lists its options."""
    become("simulator", context.args, dict(os.environ))


def version() -> int:
    """Print the version."""
    try:
        text = installed("retouch")
    except PackageNotFoundError:
        text = "not installed"
    Voice().tell(f"retouch {text}")
    return OK


def become(module: str, arguments: list[str], environment: dict[str, str]) -> NoReturn:
    """Let this process become `python -m module`; a folder of that name beside the user is not ours (-P)."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, "-P", "-m", module, *arguments], environment)  # noqa: S606


def _check_worker(settings: Settings) -> None:
    if settings.s3.bucket is None:
        raise SettingsError("no bucket is named: set RETOUCH_S3__BUCKET")
    if not settings.has_real_key and not settings.has_own_api:
        raise SettingsError("there is no API key: set RETOUCH_API__KEYS, RETOUCH_API__KEYS_FILE or BFL_API_KEY")


def _tell(stack: LocalStack, voice: Voice, workers: int) -> None:
    found = stack.settings
    if stack.simulated:
        voice.tell(SIMULATED)
    if found.redis.url is not None:
        address = found.redis.url.get_secret_value().rpartition("@")[2]
        voice.tell(f"Redis    {address}")
    voice.tell(f"S3       {found.s3.endpoint_url or 'AWS'}, bucket {found.s3.bucket}")
    voice.tell(f"API      {found.api.base_url}")
    voice.tell(f"Workers  {workers}")
    voice.tell(f"Keys to these are in {found.data_dir / FILE}. Ctrl-C stops everything.")
