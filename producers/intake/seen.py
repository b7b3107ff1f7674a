"""What a run of a schedule finds of its rows, as they come by: which have changed, and which are not tried again."""

from __future__ import annotations

from jobs.bucket.port import Bucket
from jobs.errors import Refused
from jobs.row import Row
from producers.known import KnownRows, Standing
from producers.schedules.failures import Failures
from producers.schedules.marks import Marks, mark_of
from producers.staging import path_of

_AT_ONCE = 256


class Seen:
    """The rows of one run.

    Args:
        before: the marks of the run before.
        failures: what has failed until now.
        known: what the name's rows were edits of.
        bucket: where pictures are looked at.
    """

    def __init__(self, before: Marks, failures: Failures, known: KnownRows, bucket: Bucket) -> None:
        self._before = before
        self._failures = failures
        self._known = known
        self._bucket = bucket
        self._same = False
        self._suspects: list[Row] = []
        self._began_anew: set[str] = set()
        self._delta = 0
        self.marks = Marks()
        self.left_out = 0

    def wanted(self, row: Row) -> bool:
        """Note a row; False if it failed too often and is what it was."""
        mark = mark_of(row)
        self.marks.add(mark)
        self._same = mark in self._before
        if not self._same:
            self._delta += 1
            if row.id in self._failures.rows:
                self._began_anew.add(row.id)
        elif self._failures.hopeless(row.id):
            if not self._touched(row, self._failures.rows[row.id].at):
                self.left_out += 1
                return False
            self._began_anew.add(row.id)
        return True

    def last(self, row: Row) -> bool:
        """Whether a row that was noted just now, and is to be edited, comes after those that never were."""
        standing = self._known.standing(row)
        if self._same and standing is Standing.CHANGED:
            self._suspects.append(row)
            if len(self._suspects) >= _AT_ONCE:
                self._look()
        return standing is not Standing.NEW

    @property
    def delta(self) -> int:
        """How many rows are new or changed, as of now: those that ask for something else, or of other pictures."""
        self._look()
        return self._delta

    @property
    def failures(self) -> Failures:
        """What has failed until now, without the rows that have changed."""
        return self._failures.without(self._began_anew)

    def _look(self) -> None:
        self._delta += len(self._known.repainted(self._suspects))
        self._suspects.clear()

    def _touched(self, row: Row, since: float) -> bool:
        """Whether a picture of a row was written since a time; what lies on the web cannot be told."""
        return any(self._written(uri) > since for uri in row.request.inputs)

    def _written(self, uri: str) -> float:
        if uri.startswith("file://"):
            try:
                found = path_of(uri).stat()
            except OSError:
                return 0.0
            return max(found.st_mtime, found.st_ctime)  # a copy may keep the time of what it is a copy of
        if not uri.startswith("s3://"):
            return 0.0
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        try:
            heads = list(self._bucket.keys(key, limit=1, bucket=bucket))
        except Refused:
            return 0.0
        return heads[0].modified if heads and heads[0].key == key else 0.0
