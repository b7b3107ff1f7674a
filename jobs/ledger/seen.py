"""What was last seen of worker processes, their disks, and the keys that the API refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSeen:
    """A worker process that was alive in the last minute."""

    id: str
    threads: int
    edits: int
    seen_at: float
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolSeen:
    """A spool as the worker that has it saw it last: paid results on its disk that wait for storage."""

    id: str
    host: str
    folder: str
    results: int
    bytes: int
    limit: int
    """Bytes that may lie there."""
    full: bool = False
    """There was no room for another result, so nothing is submitted from there."""
    trouble: str = ""
    """Why storage is away, as this worker sees it; empty while it is not."""
    seen_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ParkedKey:
    """An API key that nobody submits with: what the API said, and since when (epoch seconds)."""

    why: str
    since: float
