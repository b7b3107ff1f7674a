"""What a user says about a whole batch, beside the manifest: the flags of `plan`, `run` and `submit`, as a value."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path

from jobs.bounds import DEFAULT_SHARES, Shares


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """Batch-wide values fill empty cells; a cell always wins. Money in micro-dollars.

    Local `references` are relative to the manifest, as its cells are; the command line makes them absolute.
    """

    prompt: str | None = None
    """A template; a `prompt` cell is taken literally instead."""
    model: str | None = None
    name: str | None = None
    output: str | None = None
    """A template for output keys; an `output` cell is taken literally instead."""
    fields: Mapping[str, str] = field(default_factory=dict)
    references: tuple[str, ...] = ()
    pass_urls: bool = False
    """Hand `https://` inputs to the API, where a row has no others."""
    pattern: str | None = None
    """What the names of a folder's pictures consist of."""
    table: Path | None = None
    """A table that the pictures of a folder or prefix are joined with, by the column `join` that both have."""
    join: str = ""
    source: str | None = None
    """A source profile: the name of a shipped one, or the path of a TOML file."""
    date_ids: bool = False
    """Ids that look like dates are dates, and not what a spreadsheet has made of them."""
    group: str | None = None
    """The column that says which rows belong together."""
    data_columns: Set[str] = frozenset()
    bucket: str = ""
    """The bucket that results are published in."""
    buckets: Set[str] = frozenset()
    """The buckets that pictures may be taken from."""
    trusted_hosts: Set[str] = frozenset()
    prefix: str = "retouch/"
    allow_local: bool = True
    relative_to: str = ""
    """`s3://bucket/folder/` where the paths of a manifest start that lies in a bucket."""
    allowance: int | None = None
    """What resubmitting doubts may cost; None: 1 % of the estimate, within bounds; 0: never."""
    shares: Shares = DEFAULT_SHARES
    """How many rows may fail or be moderated before the batch, or a group of it, stops."""
    ceiling: int | None = None
