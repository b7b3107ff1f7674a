"""`retouch up`, `worker` and `simulator`: to run the parts that work.

Workers and the simulator are other programs: this process becomes one of them, it never imports them.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from typing import Annotated, Any, NoReturn

import typer

from config.parts import layout_of, ledger_of
from config.settings import Settings, SettingsError
from jobs.report.wording import counted
from producers.cli import options as o
from producers.cli.house import bring_home, settings_of
from producers.cli.live import SIMULATED
from producers.cli.voice import OK, UNREACHABLE, Stop, Voice
from producers.inbox.place import inbox_of
from producers.schedules.file import ScheduleError, read_schedules
from producers.stack.local import LocalStack, Wanted, find_running, what_is_wanted
from producers.stack.record import FILE, environment_of

Workers = Annotated[int, typer.Option(min=0, max=64, help="How many worker processes. Default: 1.")]
Intake = Annotated[
    bool,
    typer.Option(
        "--intake/--no-intake",
        help="Also run schedules and take what is dropped in the inbox. Default: yes; leave it to others with "
        "--no-intake where the bucket is theirs too.",
    ),
]
_LOOK_S = 0.5


def up(
    workers: Workers = 1,
    intake: Intake = True,
    simulate: o.Simulate = False,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> int:
    """Run the whole local stack here until Ctrl-C; other commands in this folder join it."""
    voice = Voice(json=json, quiet=quiet)
    settings = settings_of(voice)
    wanted = what_is_wanted(settings, simulate=simulate, with_worker=False)
    wanted = replace(wanted, workers=workers, intake=intake)
    if not wanted.servers:
        raise Stop(
            "nothing_to_start",
            "Every part is set to be somewhere else, so there is no local stack to start.",
            "`retouch worker` starts a worker; leave RETOUCH_REDIS__URL and RETOUCH_S3__* out for a local stack.",
        )
    with LocalStack.open(settings, wanted, notify=voice.note) as stack:
        found = _about(stack, wanted)
        voice.tell(_in_words(found))
        if found["schedules"] and found["schedules"]["error"]:
            voice.warn(f"No schedule runs: {found['schedules']['error']}")
        voice.document(found)
        try:
            while stack.failure is None:
                time.sleep(_LOOK_S)
        except KeyboardInterrupt:
            with suppress(KeyboardInterrupt):  # a second one: at once
                _stop_intake(stack, voice)
                bring_home(ledger_of(stack.settings), stack, voice)
            return OK
        Voice().failed(Stop("local_stack", stack.failure))  # the one document has been written
        return UNREACHABLE


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


def _stop_intake(stack: LocalStack, voice: Voice) -> None:
    """Let nothing more be opened before what is at the API is fetched."""
    if stack.has_intake:
        voice.note("Stopping beat and intake; what they had begun, the next ones go on with.")
    stack.stop_intake()


def _about(stack: LocalStack, wanted: Wanted) -> dict[str, Any]:
    """Return what runs here and where it is reached; keys and passwords are left out."""
    found = stack.settings
    url = found.redis.url.get_secret_value() if found.redis.url is not None else ""
    intake = wanted.intake
    return {
        "simulated": stack.simulated,
        "redis": url.rpartition("@")[2],
        "s3": {"endpoint_url": found.s3.endpoint_url, "bucket": found.s3.bucket},
        "api": found.api.base_url,
        "workers": wanted.workers,
        "schedules": _schedules(found) if intake else None,
        "inbox": f"s3://{found.s3.bucket}/{inbox_of(layout_of(found))}" if intake else None,
        "parts": stack.pids(),
        "record": str(found.data_dir / FILE),
    }


def _schedules(settings: Settings) -> dict[str, Any]:
    path = settings.schedules
    try:
        names = list(read_schedules(path)) if path.exists() else []
    except ScheduleError as error:
        return {"file": str(path), "names": [], "error": str(error)}
    return {"file": str(path), "names": names, "error": ""}


def _in_words(found: Mapping[str, Any]) -> str:
    s3, schedules = found["s3"], found["schedules"]
    lines = [SIMULATED] if found["simulated"] else []
    lines += [f"Redis    {found['redis']}"] if found["redis"] else []
    lines += [f"S3       {s3['endpoint_url'] or 'AWS'}, bucket {s3['bucket']}", f"API      {found['api']}"]
    lines += [f"Workers  {found['workers']}"]
    if schedules is not None:
        lines += [f"Beat     {counted(len(schedules['names']), 'schedule')} in {schedules['file']}"]
        lines += [f"Intake   takes what is dropped under {found['inbox']}"]
    return "\n".join([*lines, f"Keys to these are in {found['record']}. Ctrl-C stops everything."])
