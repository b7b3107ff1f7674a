"""What lies beside a kept result, so that whoever finds it knows what to do with it, even without a ledger."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from typing import Self

from jobs.job import Job
from jobs.pictures import Format, Picture

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """One kept result. Money in micro-dollars, `kept_at` in epoch seconds by Redis's clock.

    `home` is the place in a bucket that the result belongs to (`s3://bucket/prefix`).
    """

    home: str
    job: str
    batch: str
    row: int
    round: int
    attempt: int
    task_id: str
    cost: int
    fingerprint: str
    sha256: str
    size: int
    """In bytes."""
    format: Format
    width: int
    height: int
    output: str
    kept_at: float
    day: str = ""
    key_id: str = ""
    """The day and the API key in whose books its cost is."""

    @classmethod
    def of(cls, job: Job, data: bytes, picture: Picture, *, home: str, at: float) -> Self:
        """Return what is to be known about the result of a job."""
        return cls(
            home=home,
            job=job.id,
            batch=job.order.batch,
            row=job.order.row,
            round=job.round,
            attempt=job.attempt,
            task_id=job.receipt.task_id if job.receipt else "",
            cost=job.cost,
            fingerprint=job.fingerprint,
            sha256=sha256(data).hexdigest(),
            size=len(data),
            format=picture.format,
            width=picture.width,
            height=picture.height,
            output=job.order.output,
            kept_at=at,
            day=job.day,
            key_id=job.key_id,
        )

    @property
    def name(self) -> str:
        """The name of its folder: the same task has the same, and a listing tells how many bytes lie there."""
        return f"{task_name(self.job, self.task_id)}-{self.size}"

    def as_json(self) -> str:
        """Return `about.json`; `from_json` reads it back."""
        return json.dumps({"version": VERSION, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `as_json` wrote; fields of a later release are ignored.

        Raises:
            ValueError: it is not what we wrote.
        """
        known = {f.name for f in fields(cls)}
        try:
            about = cls(**{name: value for name, value in json.loads(text).items() if name in known})
        except (TypeError, AttributeError) as error:
            raise ValueError(f"not one of ours: {error}") from None
        if not (about.job and about.batch and about.fingerprint and about.sha256):
            raise ValueError("not one of ours: a name is missing")
        return about


def task_name(job: str, task_id: str) -> str:
    """Return the part of a name that stands for one task of one job: of no other job, round or attempt."""
    return sha256(f"{job}\n{task_id}".encode()).hexdigest()[:24]
