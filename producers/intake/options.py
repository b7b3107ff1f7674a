"""What is said about a manifest that nobody gives on a command line: the settings' part, and a schedule's flags."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from config.parts import shares_of
from config.settings import Settings
from jobs.models import MICROS_PER_USD
from producers.manifest.options import PlanOptions
from producers.schedules.file import Joined, Schedule


def of_settings(settings: Settings, *, relative_to: str = "") -> PlanOptions:
    """Return the options that every manifest has here.

    Args:
        settings: buckets, trusted hosts and allowances.
        relative_to: `s3://bucket/folder/` of a manifest in a bucket; files of this machine are refused then.
    """
    s3, allowance = settings.s3, settings.submit.doubt_allowance_usd
    return PlanOptions(
        bucket=s3.bucket or "",
        buckets=frozenset(s3.input_buckets or ({s3.bucket} if s3.bucket else ())),
        trusted_hosts=frozenset(settings.api.trusted_hosts),
        prefix=s3.prefix,
        allow_local=not relative_to,
        relative_to=relative_to,
        allowance=None if allowance is None else round(allowance * MICROS_PER_USD),
        shares=shares_of(settings),
    )


def of_schedule(schedule: Schedule, settings: Settings, *, table: Path | None = None) -> PlanOptions:
    """Return the options of a scheduled run. Local references start at the schedule's manifest, or at its pictures.

    `table` is the file that the pictures are joined with, where they are.
    """
    flags = schedule.flags
    source = schedule.manifest
    joined = source if isinstance(source, Joined) else None
    place = schedule.places[0]
    folder = place.rpartition("/")[0] + "/" if place.startswith("s3://") else ""
    return replace(
        of_settings(settings, relative_to=folder),
        prompt=flags.prompt,
        model=flags.model,
        name=flags.name or schedule.name,
        output=flags.output,
        fields={name: _as_text(value) for name, value in flags.field.items()},
        references=flags.ref,
        pattern=joined.pattern if joined is not None else flags.pattern,
        table=table,
        join=joined.join if joined is not None else "",
        source=flags.source,
        date_ids=flags.date_ids,
        pass_urls=flags.pass_urls,
        group=flags.group,
        data_columns=frozenset(flags.data_column),
        ceiling=round(schedule.max_cost_usd * MICROS_PER_USD),
    )


def _as_text(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
