"""Every setting of Retouch: one frozen tree, read from the environment (and `.env`) once, at the roots.

Variables start with `RETOUCH_` and nest with `__` (`RETOUCH_S3__BUCKET`). A secret has no default and never
shows itself: not in a repr, a log, a task argument or an error. Each comment ends with the default and why.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AliasChoices,
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from config.secret_files import with_files, with_password
from jobs.accounts import MAIN, key_name

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


_KEY_NAME = re.compile("[0-9a-f]{8}")
_ACCOUNT = re.compile("[a-z0-9][a-z0-9-]{0,29}")


def _account(part: str) -> tuple[str, str]:
    key, _, account = part.partition("=")
    return key.strip().lower(), account.strip()


class RedisSettings(_Part):
    url: SecretStr | None = None  # may carry a password, so it is a secret; default none: an embedded redis-server
    url_file: Path | None = None  # the URL in a file, where no variable has it; default none
    password_file: Path | None = None  # put into a URL that carries no password; default none

    @model_validator(mode="before")
    @classmethod
    def _files(cls, data: Any) -> Any:
        return with_password(with_files(data, "REDIS", ("url",)))


class ApiSettings(_Part):
    base_url: str = API_URL  # default the API's global host
    keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()  # default none: the simulator stands in
    keys_file: Path | None = None  # one key a line; default none
    accounts: Annotated[Mapping[str, str], NoDecode] = {}  # whose keys they are, as `name=account` (names as in
    # `retouch keys`), since each account has places of its own; default none: all keys are of one account
    trusted_hosts: Annotated[tuple[str, ...], NoDecode] = ()  # `host` or `host:port`; default none beside BFL's own
    active_limit: Annotated[int, Field(ge=1, le=10_000)] | None = None  # default none: the catalogue's (24)
    timeout_s: Annotated[float, Field(gt=0, le=600)] = (
        30.0  # one read of one answer; default 30: a submit answers in 1 s
    )

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
        """The accounts that keys belong to; each has places of its own."""
        try:
            named = [key_name(key.get_secret_value()) in self.accounts for key in self.all_keys()]
        except SettingsError:  # said where the keys themselves are wanted
            named = []
        names = sorted(set(self.accounts.values()))
        return tuple(names if named and all(named) else dict.fromkeys([MAIN, *names]))

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
            SettingsError: the file cannot be read.
        """
        found = list(self.keys)
        if self.keys_file is not None:
            try:
                lines = self.keys_file.read_text(encoding="utf-8").splitlines()
            except OSError as error:
                raise SettingsError(
                    f"RETOUCH_API__KEYS_FILE cannot be read ({error.strerror}): put one key a line into it"
                ) from None
            found += [SecretStr(line.strip()) for line in lines if line.strip() and not line.startswith("#")]
        unique = {key.get_secret_value(): key for key in found}
        return tuple(unique.values())


class S3Settings(_Part):
    endpoint_url: str | None = None  # default none: the embedded store, or AWS where only a bucket is named
    bucket: str | None = None  # default none: `retouch` in the embedded store
    access_key_id: SecretStr | None = None  # default none: the usual AWS_* chain
    secret_access_key: SecretStr | None = None  # default none: the usual AWS_* chain
    access_key_id_file: Path | None = None  # the key in a file, where no variable has it; default none
    secret_access_key_file: Path | None = None  # the secret in a file, where no variable has it; default none
    region: str | None = None  # default none: the usual AWS_* chain
    prefix: str = "retouch/"  # every key of Retouch's own starts with it
    input_buckets: Annotated[tuple[str, ...], NoDecode] = ()  # default none: the bucket itself
    checksums: str = "when_supported"  # or when_required, for stores that refuse CRC32; default: checked uploads

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
    concurrency: Annotated[int, Field(ge=2, le=4000)] | None = None  # threads; default none: the window + 4
    drain_s: Annotated[float, Field(gt=0, le=600)] = (
        50.0  # a shutdown waits this long for POSTs and downloads; default 50
    )
    spool_dir: Path | None = None  # where paid results wait while storage is away; default none: `spool` in DATA_DIR
    spool_bytes: Annotated[ByteSize, Field(ge=64 * 1024**2)] = ByteSize(
        2 * 1024**3
    )  # the most that may lie and be reserved there, in bytes or as 2GiB; default 2 GiB: 115 of the largest results


Share = Annotated[float, Field(ge=0, le=1)]

REFUSED_STATUSES = (400, 401, 402, 403, 404, 405, 413, 415, 422, 429)
"""HTTP statuses of a submission that prove that nothing was bought (and a 503 with the API's own body)."""


class SubmitSettings(_Part):
    refused_statuses: Annotated[tuple[int, ...], NoDecode] = REFUSED_STATUSES  # every other error may have been charged
    doubt_allowance_usd: Annotated[float, Field(ge=0)] | None = None  # default none: 1 % of the estimate, within bounds
    doubt_wait_s: Annotated[float, Field(gt=0)] = 30.0  # the least a doubt waits for its answer; default 30

    settle_by_credits: bool = True  # held doubts are asked again where the account's credits prove that none was
    # charged; default on: it costs a GET a minute, and proves nothing where others use the account
    failed_share: Share = 0.5  # more of the last ends failed: a group of the manifest, or the batch, stops; 1: never
    moderated_share: Share = 0.5  # the same of a group's moderated rows; default 0.5: more than half
    moderated_usd: Annotated[float, Field(ge=0)] | None = None  # what those of a batch may cost; default none: 10 %
    retry_for_s: Annotated[float, Field(ge=0)] = 3600.0  # a row is tried again so long after its first failure

    intents_in_bucket: bool = False  # a second record of every submission, beside Redis; default off: two PUTs an edit

    _lists = field_validator("refused_statuses", mode="before")(_listed)

    @field_validator("refused_statuses")
    @classmethod
    def _errors(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if odd := [status for status in value if not 400 <= status <= 599]:
            raise ValueError(f"RETOUCH_SUBMIT__REFUSED_STATUSES: {odd[0]} is no HTTP error (400 to 599)")
        return value


class MoneySettings(_Part):
    day_cap_usd: Annotated[float, Field(ge=0)] | None = None  # what all edits of a day may cost; default none
    key_day_cap_usd: Annotated[float, Field(ge=0)] | None = None  # what those of one API key may; default none
    timezone: str = "UTC"  # whose midnight ends a day; default UTC

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
    inputs_days: Annotated[int, Field(ge=1)] | None = 30  # staged pictures that `retouch clean` leaves; default 30
    results_days: Annotated[int, Field(ge=1)] | None = None  # filed results; default none: paid, so kept


class InboxSettings(_Part):
    run_below_usd: Annotated[float, Field(ge=0)] = 10.0  # the most that runs without a yes may cost; default 10
    look_s: Annotated[float, Field(gt=0, le=3600)] = 10.0  # how often the inbox is listed; default 10


class TestSettings(_Part):
    __test__ = False  # pytest takes it for a test

    crash_at: str | None = None  # where a process kills itself (jobs/crashpoints.py); default none, refused else


class Settings(BaseSettings):
    """The whole tree. Build it with `read_settings`, which turns every mistake into one `SettingsError`."""

    model_config = SettingsConfigDict(
        env_prefix="RETOUCH_",
        env_nested_delimiter="__",
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    redis: RedisSettings = RedisSettings()
    api: ApiSettings = ApiSettings()
    s3: S3Settings = S3Settings()
    worker: WorkerSettings = WorkerSettings()
    submit: SubmitSettings = SubmitSettings()
    money: MoneySettings = MoneySettings()
    keep: KeepSettings = KeepSettings()
    inbox: InboxSettings = InboxSettings()
    test: TestSettings = TestSettings()
    schedules: Path = Path("schedules.toml")  # what runs when; default beside you
    data_dir: Path = Path("retouch-data")  # where the embedded stack keeps its files; default beside you
    out_dir: Path = Path(
        "retouch-out"
    )  # where results are mirrored as plain files by the local stack; default beside you
    heartbeat_file: Path | None = None  # touched while the process makes progress, for probes; default none
    bfl_api_key: SecretStr | None = Field(
        default=None, validation_alias=AliasChoices("BFL_API_KEY")
    )  # the name the API's own tools use; accepted for one key

    @model_validator(mode="after")
    def _one_key_is_enough(self) -> Self:
        if self.bfl_api_key is not None and not self.api.keys:
            api = self.api.model_copy(update={"keys": (self.bfl_api_key,)})
            object.__setattr__(self, "api", api)
        return self

    @model_validator(mode="after")
    def _storage_is_whole(self) -> Self:
        s3 = self.s3
        if (s3.access_key_id is None) != (s3.secret_access_key is None):
            raise ValueError("set both RETOUCH_S3__ACCESS_KEY_ID and RETOUCH_S3__SECRET_ACCESS_KEY, or neither")
        if s3.endpoint_url is not None and s3.bucket is None:
            raise ValueError("RETOUCH_S3__ENDPOINT_URL is set: name the bucket too, in RETOUCH_S3__BUCKET")
        return self

    @property
    def spool_folder(self) -> Path:
        """Where a worker keeps paid results while storage is away."""
        return self.worker.spool_dir or self.data_dir / "spool"

    @property
    def has_real_key(self) -> bool:
        """Whether an API key is set anywhere."""
        return bool(self.api.keys) or self.api.keys_file is not None

    @property
    def has_real_storage(self) -> bool:
        """Whether a bucket of the user's own is named."""
        return self.s3.bucket is not None

    @property
    def has_real_redis(self) -> bool:
        """Whether a Redis of the user's own is named."""
        return self.redis.url is not None

    @property
    def has_own_api(self) -> bool:
        """Whether BASE_URL points somewhere else than the API's global host."""
        return self.api.base_url != API_URL


def read_settings(**overrides: Any) -> Settings:
    """Return the settings of this environment.

    Raises:
        SettingsError: one sentence for each mistake, the variable named, no value shown.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError("; ".join(_sentence(dict(e)) for e in error.errors(include_input=False))) from None
    except ValueError as error:  # a list that is not JSON
        raise SettingsError(str(error)) from None


def _sentence(error: dict[str, Any]) -> str:
    place = "__".join(str(part) for part in error["loc"]).upper()
    message = str(error["msg"]).removeprefix("Value error, ")
    return message if not place or "RETOUCH_" in message else f"RETOUCH_{place}: {message}"
