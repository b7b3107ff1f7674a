"""Reads `schedules.toml`: what runs when, on which manifest, and for how much at most.

A mistake anywhere makes the whole file unusable, so that a night is never run on half of what was meant; every
mistake is named in one error. Paths in the file start at the file.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from jobs.errors import RetouchError
from jobs.shares import Priority
from producers.deadline import deadline, is_time_of_day
from producers.manifest.listing import Pattern
from producers.manifest.problems import ManifestError, listed
from producers.schedules.cron import Cron, CronError

CatchUp = Literal["none", "last", "all"]


class ScheduleError(RetouchError):
    """`schedules.toml` cannot be used; the message names the place and what would be right."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Flags(_Strict):
    """What `retouch submit` has as flags, under the same names."""

    prompt: str | None = None
    model: str | None = None
    name: str | None = None
    output: str | None = None
    field: Mapping[str, str | int | float | bool] = Field(default_factory=dict)
    ref: tuple[str, ...] = ()
    group: str | None = None
    data_column: tuple[str, ...] = ()
    pattern: str | None = None
    source: str | None = None
    """The name of a source profile, or the path of one; a relative path starts at `schedules.toml`."""
    date_ids: bool = False
    pass_urls: bool = False
    overwrite: bool = False
    fresh: bool = False


class Joined(_Strict):
    """Pictures and the table that says what they are; the names of the pictures lead to its rows."""

    prefix: str
    """A folder, or `s3://bucket/prefix/`."""
    table: str
    """A manifest's file, or `s3://bucket/key`."""
    pattern: str
    join: str
    """What the pattern names and the table has as a column."""

    @field_validator("prefix")
    @classmethod
    def _folder(cls, value: str) -> str:
        return _checked(value if not value.startswith("s3://") or value.endswith("/") else f"{value}/")

    @field_validator("table")
    @classmethod
    def _file(cls, value: str) -> str:
        if value.endswith("/"):
            raise ValueError("give a file, or s3://bucket/key")
        return _checked(value)

    @model_validator(mode="after")
    def _fit(self) -> Self:
        try:
            names = Pattern(self.pattern).names
        except ManifestError as error:
            raise ValueError(f"pattern: {error}") from None
        if self.join not in names:
            raise ValueError(f"join: the pattern has no {{{self.join}}}; it names {listed(names)}")
        if self.table.startswith("s3://") and not self.prefix.startswith("s3://"):
            # Its cells may name pictures, and whoever writes to a bucket may not name files of this machine.
            raise ValueError("table: one in a bucket goes with pictures in a bucket")
        return self


def _form(value: object) -> str:
    return "place" if isinstance(value, str) else "joined"


class Schedule(_Strict):
    """One schedule. `settle_s` is how long a local manifest must not have changed before it is read."""

    name: str
    cron: str
    time_zone: str = "UTC"
    manifest: Annotated[
        Annotated[str, Tag("place")] | Annotated[Joined, Tag("joined")],
        Discriminator(_form),
    ]
    """A file or a folder (relative paths start at `schedules.toml`), `s3://bucket/key`, `s3://bucket/prefix/`, or
    pictures joined with a table."""
    max_cost_usd: Annotated[float, Field(gt=0)]
    settle_s: Annotated[float, Field(ge=0, le=3600)] = 60.0
    tolerance: Annotated[float, Field(gt=0, le=1)] = 0.2
    """The part of the rows that may vanish, or be invalid, before a run is held."""
    catch_up: CatchUp = "last"
    priority: Priority = Priority.NORMAL
    by: str = ""
    """When a run is to be done: the next time after it begins that clocks in the time zone show this (`06:00`)."""
    flags: Flags = Flags()

    @field_validator("name")
    @classmethod
    def _plain(cls, value: str) -> str:
        # It becomes part of keys and of batch ids, where two names must never become one.
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", value) or len(value) > 40:
            raise ValueError("use up to 40 lower-case letters, digits and single hyphens")
        return value

    @field_validator("time_zone")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (OSError, ValueError, KeyError):
            raise ValueError(
                f"{value!r} is no time zone that this machine knows; write one such as Europe/Berlin"
                " (a machine without zones needs `pip install tzdata`)"
            ) from None
        return value

    @field_validator("by")
    @classmethod
    def _clock(cls, value: str) -> str:
        if value and not is_time_of_day(value):
            raise ValueError(f"{value!r} is no time of day; write one such as 06:00")
        return value

    @field_validator("manifest")
    @classmethod
    def _place(cls, value: str | Joined) -> str | Joined:
        return _checked(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _comes(self) -> Self:
        try:
            Cron.parse(self.cron, ZoneInfo(self.time_zone))
        except CronError as error:
            raise ValueError(f"cron: {error}") from None
        if isinstance(self.manifest, Joined) and self.flags.pattern is not None:
            raise ValueError("flags.pattern: the manifest has a pattern already; leave this one out")
        return self

    @property
    def places(self) -> tuple[str, ...]:
        """What the source consists of: the manifest, or the pictures and the table."""
        source = self.manifest
        return (source.prefix, source.table) if isinstance(source, Joined) else (source,)

    @property
    def source(self) -> str:
        """Where the rows come from, in words."""
        source = self.manifest
        return source if isinstance(source, str) else f"{source.prefix} joined with {source.table} by {source.join}"

    def due_after(self, now: float) -> float:
        """Return when a run that begins now (epoch seconds) is to be done; 0 for no matter when."""
        return deadline(self.by, now, ZoneInfo(self.time_zone)) if self.by else 0.0

    @property
    def times(self) -> Cron:
        """When it fires."""
        return Cron.parse(self.cron, ZoneInfo(self.time_zone))


def read_schedules(path: Path) -> dict[str, Schedule]:
    """Return the schedules of a file by name, in its order.

    Raises:
        ScheduleError: the file is missing, is not TOML, or something in it is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ScheduleError(
            f"there is no file {path}: write it (docs/schedules.md), or set RETOUCH_SCHEDULES"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ScheduleError(
            f"{path} cannot be read ({getattr(error, 'strerror', None) or 'it is not UTF-8'})"
        ) from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScheduleError(f"{path}: {error}") from None
    return _schedules(data, path)


def _schedules(data: Mapping[str, Any], path: Path) -> dict[str, Schedule]:
    other = [key for key in data if key != "schedule"]
    entries = data.get("schedule", [])
    if other or not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        what = f"{other[0]!r} means nothing here" if other else "`schedule` is not a list"
        raise ScheduleError(f"{path}: {what}: begin each schedule with [[schedule]]")
    found: list[Schedule] = []
    mistakes: list[str] = []
    for number, entry in enumerate(entries, 1):
        name = entry.get("name") if isinstance(entry.get("name"), str) else f"number {number}"
        try:
            found.append(_resolved(Schedule.model_validate(entry), path.absolute().parent))
        except ValidationError as error:
            mistakes += [f"schedule {name}: {_sentence(one)}" for one in error.errors(include_url=False)]
    mistakes += [
        f"schedule {name}: {count} schedules have this name; rename all but one"
        for name, count in Counter(each.name for each in found).items()
        if count > 1
    ]
    if mistakes:
        raise ScheduleError(f"{path}: {'; '.join(mistakes)}")
    return {each.name: each for each in found}


def _resolved(schedule: Schedule, folder: Path) -> Schedule:
    def from_here(place: str) -> str:
        return place if place.startswith("s3://") else str(folder / place)

    source, manifest = schedule.flags.source, schedule.manifest
    if source is not None and source.endswith(".toml"):
        source = str(folder / source)
    if isinstance(manifest, Joined):
        places = {"prefix": from_here(manifest.prefix), "table": from_here(manifest.table)}
        manifest = manifest.model_copy(update=places)
    else:
        manifest = from_here(manifest)
    flags = schedule.flags.model_copy(update={"source": source})
    return schedule.model_copy(update={"manifest": manifest, "flags": flags})


def _checked(place: str) -> str:
    if place.startswith("s3://"):
        bucket, _, key = place[5:].partition("/")
        if not bucket or not key:
            raise ValueError("write s3://bucket/key for a manifest, or s3://bucket/prefix/ for the pictures under it")
    elif not place.strip() or "://" in place:
        raise ValueError("give a path, s3://bucket/key or s3://bucket/prefix/")
    return place


def _sentence(error: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in error["loc"] if part not in ("place", "joined"))
    kind, message = error["type"], str(error["msg"]).removeprefix("Value error, ")
    if kind == "missing":
        message = "is missing" + (": say what a run may cost at most" if place == "max_cost_usd" else "")
    elif kind == "extra_forbidden":
        message = "is not known here: check its spelling"
    return f"{place} {message}" if kind in ("missing", "extra_forbidden") else f"{place}: {message}".lstrip(": ")
