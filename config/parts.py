"""Builds the two records of the house, ledger and bucket, from the settings; both rooms open them this way.

Their clients are loaded when one is opened: that takes longer than most commands do.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from config.catalogue import shipped_catalogue
from config.settings import Settings, SettingsError
from jobs.bounds import Shares
from jobs.bucket.layout import Layout
from jobs.models import MICROS_PER_USD, Catalogue
from jobs.money import Caps, Days

if TYPE_CHECKING:
    from jobs.bucket.s3 import S3Bucket
    from jobs.ledger.redis import RedisLedger


def catalogue_of(settings: Settings) -> Catalogue:
    """Return the catalogue with the limit and the accounts that the settings name."""
    api = settings.api
    return shipped_catalogue().with_limit(api.active_limit).with_accounts(api.account_names)


def ledger_of(settings: Settings) -> RedisLedger:
    """Return the ledger.

    Raises:
        SettingsError: no Redis is named.
    """
    if settings.redis.url is None:
        raise SettingsError("no Redis is named: set RETOUCH_REDIS__URL, or use `retouch up` for one of its own")
    from jobs.ledger.redis import RedisLedger, connect

    return RedisLedger(connect(settings.redis.url.get_secret_value()), catalogue_of(settings))


def days_of(settings: Settings) -> Days:
    """Return which day a moment belongs to, and what a day may cost."""
    money = settings.money
    caps = Caps(day=_micros(money.day_cap_usd), key_day=_micros(money.key_day_cap_usd))
    return Days(zone=ZoneInfo(money.timezone), caps=caps)


def _micros(amount: float | None) -> int | None:
    return None if amount is None else round(amount * MICROS_PER_USD)


def place_of(settings: Settings) -> str:
    """Return a short name for where Redis is: no password is in it, and none can be read from it."""
    url = urlsplit(settings.redis.url.get_secret_value() if settings.redis.url is not None else "")
    place = f"{url.hostname}:{url.port or 6379}{url.path}" if url.hostname else url.path
    return hashlib.sha256(place.encode()).hexdigest()[:16]


def bucket_of(settings: Settings, *, connections: int = 32, silence_s: float = 30.0, tries: int = 3) -> S3Bucket:
    """Return the bucket; the rest is as for `open_bucket`.

    Raises:
        SettingsError: no bucket is named.
    """
    s3 = settings.s3
    if s3.bucket is None:
        raise SettingsError("no bucket is named: set RETOUCH_S3__BUCKET, or use `retouch up` for one of its own")
    from jobs.bucket.s3 import open_bucket

    return open_bucket(
        bucket=s3.bucket,
        endpoint_url=s3.endpoint_url,
        access_key_id=s3.access_key_id.get_secret_value() if s3.access_key_id else None,
        secret_access_key=s3.secret_access_key.get_secret_value() if s3.secret_access_key else None,
        region=s3.region,
        checksums=s3.checksums,
        connections=connections,
        silence_s=silence_s,
        tries=tries,
    )


def layout_of(settings: Settings) -> Layout:
    """Return where everything lies in the bucket."""
    return Layout(settings.s3.prefix)


def shares_of(settings: Settings) -> Shares:
    """Return how many rows may fail or be moderated before spending stops, by the settings."""
    submit = settings.submit
    cost = None if submit.moderated_usd is None else round(submit.moderated_usd * MICROS_PER_USD)
    return Shares(failed=submit.failed_share, moderated=submit.moderated_share, moderated_cost=cost)
