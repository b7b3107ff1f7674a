"""How often rows of a schedule failed in a row, so that what never works is not tried every night for ever.

A row that failed is taken along for three more runs. After that it is left out until something about it changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

TAKEN_ALONG = 3
"""Runs after the first failure in which a row is tried again."""
_FAILED = frozenset({"failed", "moderated"})
_MADE_IT = frozenset({"stored", "unchanged"})


class Failed(NamedTuple):
    """In how many runs in a row a row has failed, and when the last of them was planned (epoch seconds)."""

    runs: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """The rows that failed, by their id, up to and with the batch `counted`."""

    counted: str = ""
    rows: Mapping[str, Failed] = field(default_factory=dict)

    def after(self, batch: str, at: float, outcomes: Iterable[Mapping[str, Any]]) -> Failures:
        """Return what is known after a batch that was planned at a time; one that is counted already is not counted
        again. Of several lines about a row the last one counts.
        """
        if batch == self.counted:
            return self
        last = {line["id"]: line["state"] for line in outcomes if "id" in line and line["state"] in _FAILED | _MADE_IT}
        rows = {id_: failed for id_, failed in self.rows.items() if last.get(id_) not in _MADE_IT}
        for id_, state in last.items():
            if state in _FAILED:
                rows[id_] = Failed(rows[id_].runs + 1 if id_ in rows else 1, at)
        return Failures(counted=batch, rows=rows)

    def hopeless(self, id_: str) -> bool:
        """Whether a row is to be left out unless it has changed."""
        return id_ in self.rows and self.rows[id_].runs > TAKEN_ALONG

    def without(self, ids: Iterable[str]) -> Failures:
        """Return the same without rows that have changed: they begin anew."""
        gone = set(ids)
        return Failures(counted=self.counted, rows={id_: one for id_, one in self.rows.items() if id_ not in gone})

    def as_json(self) -> str:
        """Return the JSON form; `from_json` reads it back."""
        return json.dumps({"counted": self.counted, "rows": self.rows}, ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return what `as_json` wrote."""
        data = json.loads(text)
        return cls(counted=data["counted"], rows={id_: Failed(*one) for id_, one in data["rows"].items()})
