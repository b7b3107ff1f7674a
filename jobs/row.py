"""An accepted row of a manifest, as it stands in the plan: one line of a chunk in the bucket.

A row keeps the user's own cells as they were, because they travel to the results unchanged; a job does not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from jobs.job import Order
from jobs.request import Request

Cells = tuple[str, ...] | Mapping[str, Any]
"""The user's own row: the cells of a table's line in order, or a JSON object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row that passed every check.

    `number` counts data rows from 1. `output` leaves `{ext}` open. `expected` and `at_most` are the price of one
    submission in micro-dollars. `sizes` says what the plan knows of local files, so that a change is noticed:
    (bytes, modification time in ns) for each `file://` input, by URI.
    """

    number: int
    id: str
    group: str
    limit_group: str
    request: Request
    output: str
    expected: int
    at_most: int
    cells: Cells
    sizes: Mapping[str, tuple[int, int]]

    @property
    def local(self) -> bool:
        """Whether an input lies on the planner's own disk and must be staged first."""
        return any(uri.startswith("file://") for uri in self.request.inputs)

    def order(self, batch: str) -> Order:
        """Return what this row asks for as a job of `batch`."""
        return Order(
            batch=batch,
            row=self.number,
            id=self.id,
            group=self.group,
            limit_group=self.limit_group,
            request=self.request,
            output=self.output,
            reserve=self.at_most,
        )

    def as_line(self) -> str:
        """Return the row as one line of JSON, without its line end; `from_line` reads it back."""
        data = {
            "number": self.number,
            "id": self.id,
            "group": self.group,
            "limit_group": self.limit_group,
            "request": self.request.as_json(),
            "output": self.output,
            "expected": self.expected,
            "at_most": self.at_most,
            "cells": self.cells,
            "sizes": self.sizes,
        }
        return json.dumps(data, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_line(cls, line: str) -> Self:
        """Return the row that `as_line` wrote."""
        data = json.loads(line)
        cells = data["cells"]
        return cls(
            **{
                **data,
                "request": Request.from_json(data["request"]),
                "cells": tuple(cells) if isinstance(cells, list) else cells,
                "sizes": {uri: (size, mtime) for uri, (size, mtime) in data["sizes"].items()},
            }
        )
