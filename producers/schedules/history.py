"""What schedules leave in the bucket: one record a firing, a pause, and what a run knew of its rows.

A firing's record is written once, by a conditional PUT, when all is said about it; a beat goes on asking until it is
there. Records of runs by hand end in `-hand` and do not count as firings of the clock.
"""

from __future__ import annotations

import json
import re
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Self

from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket
from jobs.errors import NotFound, PreconditionFailed
from producers.schedules.cron import from_stamp, stamp
from producers.schedules.failures import Failures
from producers.schedules.hold import Night
from producers.schedules.marks import Marks

ROWS, FAILURES = "rows.bin", "failures.json"
"""What a run leaves in the folder of its batch for the next one."""
OPENED, HELD, PAUSED, MISSED = "opened", "held", "paused", "missed"
_RECORD = re.compile(r"(\d{8}T\d{6}Z)(-hand)?\.json$")
_KNOWN_RUNS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What became of a firing. `firing` is as in keys; `at` is epoch seconds; `why` a sentence unless opened."""

    schedule: str
    firing: str
    outcome: str
    at: float
    by_hand: bool = False
    batch: str = ""
    rows: int = 0
    """All rows of the source, the invalid ones included."""
    invalid: int = 0
    left_out: int = 0
    """Rows that failed too often in a row and have not changed."""
    without_picture: int = 0
    """Rows of a joined table that no picture belongs to; they are no rows of the source, and not invalid."""
    delta: int = 0
    """Rows that are new or changed since the last run that was opened."""
    expected_usd: float = 0.0
    at_most_usd: float = 0.0
    errors: str = ""
    """The key of `errors.csv`."""
    why: str = ""

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the record that was written; fields of a later release are ignored."""
        known = {f.name for f in fields(cls)}
        return cls(**{key: value for key, value in json.loads(text).items() if key in known})

    @property
    def night(self) -> Night:
        """What the run found."""
        return Night(rows=self.rows, invalid=self.invalid, delta=self.delta)


class History:
    """The records of one schedule. Every method raises StorageError where the bucket cannot be used."""

    def __init__(self, schedule: str, bucket: Bucket, layout: Layout) -> None:
        self.schedule = schedule
        self._bucket = bucket
        self._layout = layout
        self._folder = f"{layout.prefix}schedules/{schedule}/"

    def key(self, firing: datetime, *, by_hand: bool = False) -> str:
        """Return where a firing's record lies."""
        return f"{self._folder}{stamp(firing)}{'-hand' if by_hand else ''}.json"

    def has(self, firing: datetime, *, by_hand: bool = False) -> bool:
        """Whether all is said about a firing."""
        return self._bucket.head(self.key(firing, by_hand=by_hand)) is not None

    def write(self, record: Record) -> bool:
        """Write a record; False if there was one already."""
        key = self.key(from_stamp(record.firing), by_hand=record.by_hand)
        try:
            self._put(key, json.dumps(asdict(record), ensure_ascii=False), if_absent=True)
        except PreconditionFailed:
            return False
        return True

    def records(self, last: int = 50) -> list[Record]:
        """Return the newest records, oldest first."""
        return [Record.from_json(self._bucket.get(key).decode()) for key in self._keys()[-last:]]

    def opened(self) -> list[Record]:
        """Return the last runs that were opened, oldest first."""
        found: list[Record] = []
        for key in reversed(self._keys()):
            record = Record.from_json(self._bucket.get(key).decode())
            if record.outcome == OPENED:
                found.insert(0, record)
            if len(found) == _KNOWN_RUNS:
                break
        return found

    def seen_until(self) -> datetime | None:
        """Return the newest firing of the clock that has a record."""
        clock = [key for key in self._keys() if not key.endswith("-hand.json")]
        return None if not clock else _time_of(clock[-1])

    def begun(self, now: datetime) -> datetime:
        """Return when this schedule was first seen, which is now if it never was: earlier firings are not caught up."""
        key = self._folder + "since.json"
        with suppress(PreconditionFailed):
            if self._bucket.head(key) is None:
                self._put(key, json.dumps({"since": stamp(now)}), if_absent=True)
        return from_stamp(json.loads(self._bucket.get(key))["since"])

    def waiting_since(self, firing: datetime, now: datetime) -> datetime:
        """Return when this firing was first asked about here, which is now if it never was."""
        key = self._folder + "waiting.json"
        with suppress(NotFound):
            found = json.loads(self._bucket.get(key))
            if found["firing"] == stamp(firing):
                return from_stamp(found["since"])
        self._put(key, json.dumps({"firing": stamp(firing), "since": stamp(now)}))
        return now

    @property
    def paused(self) -> bool:
        """Whether a person has paused it."""
        return self._bucket.head(self._folder + "paused.json") is not None

    def pause(self, on: bool) -> None:
        """Pause it, or let it go on."""
        if on:
            self._put(self._folder + "paused.json", "{}")
        else:
            self._bucket.delete(self._folder + "paused.json")

    def known_rows(self, last: Record | None) -> Marks:
        """Return the marks of the rows of a run that was opened; none where there is no such run."""
        try:
            return Marks.from_bytes(self._bucket.get(self._layout.batch(last.batch, ROWS))) if last else Marks()
        except NotFound:
            return Marks()

    def failures(self, last: Record | None) -> Failures:
        """Return how often rows failed in a row, a run that was opened included if it has ended."""
        if last is None:
            return Failures()
        try:
            known = Failures.from_json(self._bucket.get(self._layout.batch(last.batch, FAILURES)))
        except NotFound:
            known = Failures()
        with tempfile.TemporaryDirectory(prefix="retouch-") as scratch:
            path = Path(scratch) / "outcomes.jsonl"
            try:
                self._bucket.download(self._layout.batch(last.batch, path.name), path)
            except NotFound:  # it still runs
                return known
            with path.open(encoding="utf-8", newline="\n") as file:
                return known.after(last.batch, last.at, (json.loads(line) for line in file if line.strip()))

    def remember(self, batch: str, marks: Marks, failures: Failures) -> None:
        """Keep with a run what the next one has to know of it."""
        self._bucket.put(self._layout.batch(batch, ROWS), marks.as_bytes())
        self._put(self._layout.batch(batch, FAILURES), failures.as_json())

    def _keys(self) -> list[str]:
        return [head.key for head in self._bucket.keys(self._folder) if _RECORD.search(head.key)]

    def _put(self, key: str, text: str, *, if_absent: bool = False) -> None:
        self._bucket.put(key, text.encode("utf-8"), content_type="application/json", if_absent=if_absent)


def _time_of(key: str) -> datetime:
    found = _RECORD.search(key)
    assert found is not None  # noqa: S101 - only such keys are asked about
    return from_stamp(found[1])
