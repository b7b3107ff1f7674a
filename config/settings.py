"""Every setting of Retouch: one frozen tree, read from the environment (and `.env`) once, at the roots.

Variables start with `RETOUCH_` and nest with `__` (`RETOUCH_S3__BUCKET`). A secret has no default and never
shows itself: not in a repr, a log, a task argument or an error. `make docs` draws docs/settings.md from here and from
the sections: the text below a field is what its row says.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

from dotenv import dotenv_values
from pydantic import AliasChoices, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from config.names import mistaken
from config.sections import (
    API_URL,
    REFUSED_STATUSES,
    ApiSettings,
    InboxSettings,
    KeepSettings,
    MoneySettings,
    RedisSettings,
    S3Settings,
    SettingsError,
    SubmitSettings,
    TestSettings,
    WorkerSettings,
)

__all__ = ["REFUSED_STATUSES", "Settings", "SettingsError", "WorkerSettings", "read_settings"]


ENV_FILE = ".env"


class Settings(BaseSettings):
    """The whole tree. Build it with `read_settings`, which turns every mistake into one `SettingsError`."""

    model_config = SettingsConfigDict(
        env_prefix="RETOUCH_",
        env_nested_delimiter="__",
        env_file=ENV_FILE,
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
    schedules: Path = Path("schedules.toml")
    """What runs when."""
    data_dir: Path = Path("retouch-data")
    """Where the embedded stack keeps its files."""
    out_dir: Path = Path("retouch-out")
    """Where the embedded stack mirrors results as plain files."""
    heartbeat_file: Path | None = None
    """Touched while the process makes progress, for `python -m config.heartbeat`."""
    bfl_api_key: SecretStr | None = Field(default=None, validation_alias=AliasChoices("BFL_API_KEY"))
    """One key, under the name that the API's own tools use."""

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
    if mistakes := mistaken([*os.environ, *dotenv_values(ENV_FILE)], Settings):
        raise SettingsError("; ".join(mistakes))
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
