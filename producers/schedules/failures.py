"""How often rows of a schedule failed in a row, so that what never works is not tried every night for ever.

A row that failed is taken along for three more runs. After that it is left out until something about it changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

TAKEN_ALONG = 3
"""Runs after the first failure in which a row is tried again."""
_FAILED = frozenset({"failed", "moderated"})
_MADE_IT = frozenset({"stored", "unchanged"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Runs in a row in which each row failed, by the row's id, up to and with the batch `counted`."""

    counted: str = ""
    runs: Mapping[str, int] = field(default_factory=dict)

    def after(self, batch: str, outcomes: Iterable[Mapping[str, Any]]) -> Failures:
        """Return what is known after a batch; one that is counted already is not counted again.

        Of several lines about a row the last one counts.
        """
        if batch == self.counted:
            return self
        last = {line["id"]: line["state"] for line in outcomes if "id" in line and line["state"] in _FAILED | _MADE_IT}
        runs = {id_: count for id_, count in self.runs.items() if last.get(id_) not in _MADE_IT}
        for id_, state in last.items():
            if state in _FAILED:
                runs[id_] = runs.get(id_, 0) + 1
        return Failures(counted=batch, runs=runs)

    def hopeless(self, id_: str) -> bool:
        """Whether a row that did not change is to be left out."""
        return self.runs.get(id_, 0) > TAKEN_ALONG

    def without(self, ids: Iterable[str]) -> Failures:
        """Return the same without rows that have changed: they begin anew."""
        gone = set(ids)
        return Failures(counted=self.counted, runs={id_: count for id_, count in self.runs.items() if id_ not in gone})

    def as_json(self) -> str:
        """Return the JSON form; `from_json` reads it back."""
        return json.dumps({"counted": self.counted, "runs": self.runs}, ensure_ascii=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return what `as_json` wrote."""
        data = json.loads(text)
        return cls(counted=data["counted"], runs=data["runs"])
