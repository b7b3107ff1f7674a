"""What came of a batch, from the only witnesses that do not belong to Retouch's workers: the API's own ledger, the
manifest, and the bytes in the bucket.

Redis is never asked. Every object is read back and hashed; an ETag or metadata proves nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any, Self

from jobs.bucket.s3 import S3Bucket

Line = Mapping[str, Any]
MADE_IT = ("stored", "unchanged")


@dataclass(frozen=True)
class Books:
    """A batch that has ended, and everything that its API has ever accepted."""

    outcomes: Sequence[Line]
    summary: Line
    objects: Mapping[str, str]
    """sha256 of the bytes at each output key that an outcome names."""
    filed: Mapping[str, str]
    """sha256 of the bytes of each filed result, by fingerprint."""
    files: frozenset[str]
    """The names of the batch's own files."""
    api: Line

    @classmethod
    def read(cls, bucket: S3Bucket, folder: str, prefix: str, api: Line) -> Self:
        """Read everything of the batch whose files lie under `folder`; `prefix` is that of Retouch's own files."""
        text = bucket.get(f"{folder}outcomes.jsonl").decode()
        outcomes = [json.loads(line) for line in text.split("\n") if line]
        published = {outcome["output"] for outcome in outcomes if outcome["output"]}
        filed = {}
        for head in bucket.keys(f"{prefix}results/"):
            name = head.key.removeprefix(f"{prefix}results/")
            if name.count("/") == 1:  # one level deeper lies what was bought twice
                filed[name.partition("/")[2].partition(".")[0]] = _sha256(bucket, head.key)
        return cls(
            outcomes=outcomes,
            summary=json.loads(bucket.get(f"{folder}summary.json")),
            objects={key: _sha256(bucket, key) for key in published},
            filed=filed,
            files=frozenset(head.key.removeprefix(folder) for head in bucket.keys(folder)),
            api=api,
        )

    # -- rows

    @cached_property
    def states(self) -> Counter[str]:
        """How many rows ended in each state."""
        return Counter(outcome["state"] for outcome in self.outcomes)

    @cached_property
    def by_id(self) -> Mapping[str, Line]:
        """The outcome of each row, by the row's id."""
        return {outcome["id"]: outcome for outcome in self.outcomes}

    def lost(self, ids: Iterable[str]) -> list[str]:
        """Return what is wrong with the rows themselves: without an outcome, with two, or nobody's."""
        wanted, seen = Counter(ids), Counter(outcome["id"] for outcome in self.outcomes)
        return sorted(((wanted - seen) + (seen - wanted)).elements())

    def in_doubt(self) -> set[str]:
        """Return the rows of which the batch itself says that one of their submissions may have been charged twice."""
        return {outcome["id"] for outcome in self.outcomes if outcome["doubts"] > 0}

    # -- money

    @cached_property
    def tasks(self) -> Sequence[Line]:
        """Every task that the API has accepted."""
        entries: Sequence[Line] = self.api["entries"]
        return entries

    @cached_property
    def charged(self) -> Counter[str]:
        """How often each content was charged."""
        return Counter(task["content"] for task in self.tasks if task["charged"])

    def charged_again(self) -> set[str]:
        """Return the ids of rows whose content was charged more than once, whoever's fault it was."""
        return self._rows_of(content for content, n in self.charged.items() if n > 1)

    def unanswered(self) -> set[str]:
        """Return the ids of rows of which the API accepted a task that nobody has ever asked for."""
        return self._rows_of(task["content"] for task in self.tasks if not task["polls"])

    def _rows_of(self, contents: Iterable[str]) -> set[str]:
        content_of = {task["id"]: task["content"] for task in self.tasks}
        row_of = {content_of[line["task_id"]]: line["id"] for line in self.outcomes if line["task_id"] in content_of}
        return {row_of.get(content, f"content {content[:8]}") for content in contents}

    def unpublished_purchases(self) -> list[str]:
        """Return the paid results that nobody can find in the bucket, but for those whose receipt was lost."""
        known = {outcome["task_id"] for outcome in self.outcomes}
        shelf = set(self.filed.values())
        return [
            task["id"]
            for task in self.tasks
            if task["charged"]
            and task["status"] == "Ready"
            and (task["id"] in known or task["downloads"])
            and task["result_sha256"] not in shelf
        ]

    # -- bytes

    def changed_on_the_way(self) -> list[str]:
        """Return the rows whose published or filed bytes are not those that the API delivered for them."""
        delivered = {task["id"]: task["result_sha256"] for task in self.tasks}
        anything = set(delivered.values()) - {None}
        wrong = []
        for outcome in self.outcomes:
            if outcome["state"] not in MADE_IT:
                continue
            found = self.objects[outcome["output"]]
            own = delivered.get(outcome["task_id"]) if outcome["task_id"] else found
            filed = self.filed.get(outcome["fingerprint"])
            if not (found == own == filed == outcome["sha256"] and found in anything):
                wrong.append(outcome["id"])
        return wrong

    # -- the API's limit and its key

    @property
    def peak(self) -> int:
        """The most tasks that the API had in flight at one time."""
        return max((key["peaks"].get("flux", 0) for key in self.api["keys"].values()), default=0)

    def check(self, ids: Iterable[str], *, limit: int = 24) -> None:
        """Fail unless what has to hold for every batch holds: see the names of the methods."""
        assert self.lost(ids) == []
        counts = self.summary["counts"]
        assert sum(counts.values()) == self.summary["rows"] == len(self.outcomes)
        assert {state: n for state, n in counts.items() if n} == dict(self.states)
        assert self.changed_on_the_way() == []
        assert self.unpublished_purchases() == []
        assert self.charged_again() <= self.in_doubt() & self.unanswered()
        assert self.peak <= limit
        assert self.api["over_limit"] == 0
        assert self.api["key_leaks"] == 0
        assert self.api["wrong_host_polls"] == 0
        assert {"summary.json", "results.csv", "report.html"} <= self.files


def _sha256(bucket: S3Bucket, key: str) -> str:
    return sha256(bucket.get(key)).hexdigest()
