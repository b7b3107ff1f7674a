"""The whole examination: every part that the settings name, or that the local stack would run.

Nothing is started. Where a local stack runs in this folder its parts are looked at as anybody's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

from config.parts import bucket_of, layout_of
from config.settings import Settings, SettingsError
from jobs.errors import StorageError
from producers.doctor.api_part import PART as API
from producers.doctor.api_part import look_at_accounts, look_at_api
from producers.doctor.bucket_part import PART as BUCKET
from producers.doctor.bucket_part import look_at_bucket
from producers.doctor.findings import Finding, broken, ok, warning
from producers.doctor.machine import look_at_local_stack, look_at_packages
from producers.doctor.redis_part import look_at_redis
from producers.stack.errors import StackError
from producers.stack.local import find_running


def examine(settings: Settings, *, tell: Callable[[Finding], object] = lambda _: None) -> list[Finding]:
    """Return every finding; each is told as soon as it is there."""
    found: list[Finding] = []

    def say(new: Sequence[Finding]) -> None:
        found.extend(new)
        for finding in new:
            tell(finding)

    say(look_at_packages())
    try:
        joined = find_running(settings)
    except StackError as error:
        say([broken("local stack", f"{error}.", "End the command that is starting it, and give this one again.")])
        return found
    asleep = _asleep(settings) if joined is None else set()
    if asleep:
        say(look_at_local_stack(settings, asleep))
    settings = joined or settings
    if settings.redis.url is not None:
        say(look_at_redis(settings.redis.url.get_secret_value()))
    if settings.s3.bucket is not None:
        say(_bucket(settings))
    say(_api(settings, simulated="simulator" in asleep))
    return found


def _asleep(settings: Settings) -> set[str]:
    """Return the servers that the next command would start."""
    wanted = {"redis": not settings.has_real_redis, "storage": not settings.has_real_storage}
    asleep = {name for name, here in wanted.items() if here}
    if len(asleep) == len(wanted) and not settings.has_real_key and not settings.has_own_api:
        asleep.add("simulator")
    return asleep


def _bucket(settings: Settings) -> list[Finding]:
    try:
        with closing(bucket_of(settings, connections=2)) as bucket:
            return look_at_bucket(bucket, layout_of(settings), settings.s3.input_buckets)
    except StorageError as error:
        what, _, remedy = str(error).partition(": ")
        return [broken(BUCKET, f"{what}.", f"{remedy or 'Check RETOUCH_S3__*'}.")]


def _api(settings: Settings, *, simulated: bool) -> list[Finding]:
    try:
        keys = settings.api.all_keys()
    except SettingsError as error:
        what, _, remedy = str(error).partition(": ")
        return [broken(API, f"{what}.", f"{remedy.capitalize()}.")]
    if keys:
        return look_at_api(settings.api.base_url, keys) + look_at_accounts(settings.api, keys)
    if simulated:
        return [ok(API, "No API key is set: the built-in simulator stands in, and nothing is bought.")]
    sentence = "No API key is set here, so no worker can run on this machine; planning and submitting can."
    return [warning(API, sentence, "Set RETOUCH_API__KEYS (or BFL_API_KEY) where workers run.")]
