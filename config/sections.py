"""The sections of the settings: what can be set, its default, and what it is for.

`make docs` draws docs/settings.md from this module: the text below a field is what its row says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ByteSize, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from config.secret_files import with_files, with_password
from jobs.accounts import MAIN

API_URL = "https://api.bfl.ai"
API_HOSTS = ".bfl.ai"
"""What the names of the API's own hosts end with: results from any of them are filed as the API's."""


class SettingsError(ValueError):
    """The settings contradict each other or miss something; the message says what to do."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def _listed(value: object) -> object:
    """Accept a JSON list or a comma-separated line wherever a list is meant."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if text.startswith("["):
        return json.loads(text)
    return [part.strip() for part in text.split(",") if part.strip()]


_NO_KEYS = re.compile(r"[^\x21-\x7e]")
_KEY_NAME = re.compile("[0-9a-f]{8}")
_ACCOUNT = re.compile("[a-z0-9][a-z0-9-]{0,29}")


def _account(part: str) -> tuple[str, str]:
    key, _, account = part.partition("=")
    return key.strip().lower(), account.strip()


class RedisSettings(_Part):
    url: SecretStr | None = None
    """Redis or Valkey, with its password (so a secret); none: an embedded redis-server."""
    url_file: Path | None = None
    """The URL in a file, where no variable has it."""
    password_file: Path | None = None
    """A password in a file, put into a URL that carries none."""

    @model_validator(mode="before")
    @classmethod
    def _files(cls, data: Any) -> Any:
        return with_password(with_files(data, "REDIS", ("url",)))

    @field_validator("url")
    @classmethod
    def _scheme(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("RETOUCH_REDIS__URL must begin with redis://, rediss:// or unix://")
        return value


class ApiSettings(_Part):
    base_url: str = API_URL
    """Scheme and host of the API; the default is its global host."""
    keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    """The API keys, parted by commas; none, and no service of your own: the simulator stands in."""
    keys_file: Path | None = None
    """More keys, one a line."""
    accounts: Annotated[Mapping[str, str], NoDecode] = {}
    """Whose keys they are, as `1a2b3c4d=main,5e6f7a8b=second` (keys as `retouch keys` names them), since each account
    has places of its own: where several are named, a key without one is left out. None: all keys are of one account."""
    trusted_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Hosts, as `host` or `host:port`, that are polled and fetched from like the API's own, over http and at private
    addresses too. They are given the API key: name only what is yours."""
    active_limit: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """How many edits an account may have in flight; none: what the catalogue says (24)."""
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 30.0
    """Seconds for one read of one answer: a submission is answered within one."""

    _lists = field_validator("keys", "trusted_hosts", mode="before")(_listed)

    @field_validator("accounts", mode="before")
    @classmethod
    def _accounts(cls, value: object) -> object:
        if not isinstance(value, str) or value.strip().startswith("{"):
            return json.loads(value) if isinstance(value, str) else value
        return dict(_account(part) for part in value.split(",") if part.strip())

    @field_validator("accounts")
    @classmethod
    def _named(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        for key, account in value.items():
            if not _KEY_NAME.fullmatch(key):
                raise ValueError("RETOUCH_API__ACCOUNTS names keys as `retouch keys` does: 8 digits of 0-9 and a-f")
            if not _ACCOUNT.fullmatch(account):
                raise ValueError("RETOUCH_API__ACCOUNTS: an account's name is made of a-z, 0-9 and -")
        return value

    @property
    def account_names(self) -> tuple[str, ...]:
        """The accounts that keys belong to; each has places of its own.

        Settings alone decide, whatever keys a file holds just now: processes that started before and after a rotation
        count in the same places.
        """
        return tuple(sorted(set(self.accounts.values()))) or (MAIN,)

    def account_of(self, key: str) -> str:
        """Return whose places a key (by its name) takes, empty where nobody can know.

        A key that is not named counts to the only account there is. Of several it may be anybody's, and to count it to
        the wrong one would submit more than the API's limit.
        """
        names = self.account_names
        return self.accounts.get(key, names[0] if len(names) == 1 else "")

    @field_validator("base_url")
    @classmethod
    def _origin(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.path.strip("/"):
            raise ValueError("RETOUCH_API__BASE_URL must be scheme and host only, such as https://api.bfl.ai")
        return value.rstrip("/")

    @cached_property
    def origin(self) -> str:
        """The name under which results of this API are filed: `bfl`, else its host and port."""
        parts = urlsplit(self.base_url)
        host = parts.hostname or ""
        return "bfl" if host.endswith(API_HOSTS) else parts.netloc

    def all_keys(self) -> tuple[SecretStr, ...]:
        """Return the keys of `keys` and of `keys_file` (blank lines and `#` lines left out), each once.

        Raises:
            SettingsError: the file cannot be read, or what stands there is no key.
        """
        found = [(key, "RETOUCH_API__KEYS") for key in self.keys]
        if self.keys_file is not None:
            try:
                lines = self.keys_file.read_text(encoding="utf-8-sig").splitlines()
            except OSError as error:
                raise SettingsError(
                    f"RETOUCH_API__KEYS_FILE cannot be read ({error.strerror}): put one key a line into it"
                ) from None
            found += [
                (SecretStr(line.strip()), f"RETOUCH_API__KEYS_FILE, line {number}")
                for number, line in enumerate(lines, 1)
                if line.strip() and not line.startswith("#")
            ]
        for key, place in found:
            if odd := _NO_KEYS.search(key.get_secret_value()):
                raise SettingsError(f"{place}: the key holds a character that no key has (U+{ord(odd.group()):04X})")
        return tuple({key.get_secret_value(): key for key, _ in found}.values())


class S3Settings(_Part):
    endpoint_url: str | None = None
    """The store; none: AWS where a bucket is named, else an embedded one."""
    bucket: str | None = None
    """Where results go; none: `retouch` in the embedded store."""
    access_key_id: SecretStr | None = None
    """None: the usual chain of AWS (its variables, profiles, the machine's role)."""
    secret_access_key: SecretStr | None = None
    """Goes with the one above."""
    access_key_id_file: Path | None = None
    """The key in a file, where no variable has it."""
    secret_access_key_file: Path | None = None
    """The secret in a file, where no variable has it."""
    region: str | None = None
    """None: the usual chain of AWS."""
    prefix: str = "retouch/"
    """What every key of Retouch's own starts with; published copies go where the manifest says."""
    input_buckets: Annotated[tuple[str, ...], NoDecode] = ()
    """Buckets, parted by commas, that manifests may take pictures from, beside the bucket itself."""
    checksums: str = "when_supported"
    """Or `when_required`, for stores that refuse the CRC32 of an upload."""

    _lists = field_validator("input_buckets", mode="before")(_listed)

    @model_validator(mode="before")
    @classmethod
    def _files(cls, data: Any) -> Any:
        return with_files(data, "S3", ("access_key_id", "secret_access_key"))

    @field_validator("prefix")
    @classmethod
    def _folder(cls, value: str) -> str:
        if not value or value.startswith("/") or "//" in value:
            raise ValueError("RETOUCH_S3__PREFIX must be a folder such as retouch/ (not empty, no leading slash)")
        return value if value.endswith("/") else value + "/"

    @field_validator("checksums")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in ("when_supported", "when_required"):
            raise ValueError("RETOUCH_S3__CHECKSUMS must be when_supported or when_required")
        return value


class WorkerSettings(_Part):
    concurrency: Annotated[int, Field(ge=2, le=4000)] | None = None
    """Threads of a process; none: every group's places and a quarter more, and 4 for housekeeping (44 with 24)."""
    drain_s: Annotated[float, Field(gt=0, le=600)] = 50.0
    """Seconds that a shutdown waits for submissions and downloads; the supervisor's own patience must be longer."""
    spool_dir: Path | None = None
    """Where paid results wait while storage is away; none: `spool` in RETOUCH_DATA_DIR."""
    spool_bytes: Annotated[ByteSize, Field(ge=64 * 1024**2)] = ByteSize(2 * 1024**3)
    """The most that may lie and be reserved there. Every edit under way reserves its largest result (18 MB), so 2 GiB
    are 120 edits for all workers that share the folder."""


Share = Annotated[float, Field(ge=0, le=1)]
Money = Annotated[float, Field(ge=0, allow_inf_nan=False)]

REFUSED_STATUSES = (400, 401, 402, 403, 404, 405, 413, 415, 422, 429)
"""HTTP statuses of a submission that prove that nothing was bought (and a 503 with the API's own body)."""


class SubmitSettings(_Part):
    refused_statuses: Annotated[tuple[int, ...], NoDecode] = REFUSED_STATUSES
    """HTTP statuses that prove that a submission was not taken; after every other error it may have been charged."""
    doubt_allowance_usd: Money | None = None
    """What a batch may spend on buying again what is in doubt; none: 1 % of its estimate, within bounds."""
    doubt_wait_s: Annotated[float, Field(gt=0)] = 30.0
    """Seconds, the least that a doubt waits for its answer."""
    settle_by_credits: bool = True
    """Ask again for held doubts where the account's credits prove that none was charged: a GET a minute, and no proof
    where others use the account."""
    failed_share: Share = 0.5
    """Where more of the last ends failed, a group of the manifest, or the batch, stops; 1: never."""
    moderated_share: Share = 0.5
    """The same of a group's moderated rows."""
    moderated_usd: Money | None = None
    """What the moderated rows of a batch may cost; none: 10 % of its estimate."""
    retry_for_s: Annotated[float, Field(ge=0)] = 3600.0
    """Seconds after its first failure for which a row is tried again."""
    intents_in_bucket: bool = False
    """A second record of every submission, beside Redis: two PUTs an edit."""

    _lists = field_validator("refused_statuses", mode="before")(_listed)

    @field_validator("refused_statuses")
    @classmethod
    def _errors(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if odd := [status for status in value if not 400 <= status <= 599]:
            raise ValueError(f"RETOUCH_SUBMIT__REFUSED_STATUSES: {odd[0]} is no HTTP error (400 to 599)")
        return value


class MoneySettings(_Part):
    day_cap_usd: Money | None = None
    """What all edits of a day may cost."""
    key_day_cap_usd: Money | None = None
    """What those of one API key may cost in a day."""
    timezone: str = "UTC"
    """Whose midnight ends a day, such as Europe/Berlin."""

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (OSError, ValueError, KeyError):
            raise ValueError(
                f"{value!r} is no time zone: RETOUCH_MONEY__TIMEZONE is one such as Europe/Berlin"
            ) from None
        return value


class KeepSettings(_Part):
    inputs_days: Annotated[int, Field(ge=1)] | None = 30
    """How old a staged picture gets before `retouch clean` removes it."""
    results_days: Annotated[int, Field(ge=1)] | None = None
    """The same of filed results; none: they were paid for, so they stay."""


class InboxSettings(_Part):
    run_below_usd: Money = 10.0
    """The most that a batch from the inbox may cost without somebody's yes."""
    look_s: Annotated[float, Field(gt=0, le=3600)] = 10.0
    """Seconds between two looks into the inbox."""


class TestSettings(_Part):
    __test__ = False  # pytest takes it for a test

    crash_at: str | None = None
    """Where a process kills itself (jobs/crashpoints.py): for tests."""
