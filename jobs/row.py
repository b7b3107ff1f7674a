"""The rows of a plan, each one line of a chunk in the bucket: those that were accepted, and those that make no job.

A row keeps the user's own cells as they were, because they travel to the results unchanged; a job does not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from jobs.bounds import name_of
from jobs.job import Order
from jobs.request import Param, Request

_encoded = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
quoted = json.encoder.encode_basestring
"""Quotes a text as `_encoded` does. A line is put together by hand, because the encoder is made anew for each."""

Cells = tuple[str, ...] | Mapping[str, Any]
"""The user's own row: the cells of a table's line in order, or a JSON object."""


class Picture(NamedTuple):
    """Where a job of a source profile has its picture from: a column of the user's row, and what it is there."""

    column: str
    role: str
    position: str
    image: str


class Frame(NamedTuple):
    """What the lines of many rows have in common: each part stands between two texts that are a row's own."""

    model: str
    sent: str
    price: str
    end: str

    @classmethod
    def of(
        cls,
        limit_group: str,
        model: str,
        params: Mapping[str, Param],
        *,
        pass_urls: bool,
        expected: int,
        at_most: int,
        megapixels: int,
    ) -> Self:
        """Return the frame of rows that have these values, as `Row` and `Request` name them."""
        return cls(
            f',"limit_group":{quoted(limit_group)},"request":{{"model":{quoted(model)},"prompt":',
            f'],"params":{_encoded(dict(params)) if params else "{}"}'
            f',"pass_urls":{"true" if pass_urls else "false"}}},"output":',
            f',"expected":{expected},"at_most":{at_most},"cells":',
            f',"megapixels":{megapixels}}}' if megapixels != -1 else "}",
        )

    def line(
        self,
        number: int,
        id_: str,
        group: str,
        prompt: str,
        inputs: str,
        output: str,
        cells: str,
        record: int,
        *,
        sizes: str = "{}",
        picture: str = "",
    ) -> str:
        """Return the line of a row, without its line end. Texts are JSON already; `picture` is empty for none."""
        model, sent, price, end = self
        place = f',"record":{record}' if record else ""
        if picture:
            place += f',"picture":{picture}'
        return (
            f'{{"number":{number},"id":{id_},"group":{group}{model}{prompt},"inputs":[{inputs}{sent}{output}{price}'
            f'{cells},"sizes":{sizes}{place}{end}'
        )


class Row(NamedTuple):
    """A row that passed every check. (A tuple, because a million of them are made.)

    `number` counts jobs from 1. `record` counts the manifest's own rows, blank ones included (0: it is the number); a
    source profile makes several jobs of one. `output` leaves `{ext}` open. `expected` and `at_most` are the price of
    one submission in micro-dollars. `sizes` says what the plan knows of local files, so that a change is noticed:
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
    record: int = 0
    picture: Picture | None = None
    megapixels: int = -1
    """Of the likely result, as the price goes by it (`producers.price.RowPrice`)."""

    @property
    def at(self) -> tuple[int, int]:
        """Where it stands in the manifest: rows ascend by this, those without a job (`IdleRow`) between the others."""
        return self.record or self.number, self.number

    @property
    def local(self) -> bool:
        """Whether an input lies on the planner's own disk and must be staged first."""
        return any(uri.startswith("file://") for uri in self.request.inputs)

    @property
    def bound(self) -> str:
        """The group with which its end counts (`jobs.bounds`)."""
        return name_of(self.group, self.request.model, self._template)

    @property
    def _template(self) -> str:
        return (self.picture.role or self.picture.column) if self.picture is not None else ""

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
            expected=self.expected,
            template=self._template,
        )

    def as_line(self) -> str:
        """Return the row as one line of JSON, without its line end; `from_line` reads it back."""
        asked, cells = self.request, self.cells
        frame = Frame.of(
            self.limit_group,
            asked.model,
            asked.params,
            pass_urls=asked.pass_urls,
            expected=self.expected,
            at_most=self.at_most,
            megapixels=self.megapixels,
        )
        return frame.line(
            self.number,
            quoted(self.id),
            quoted(self.group),
            quoted(asked.prompt),
            ",".join(map(quoted, asked.inputs)),
            quoted(self.output),
            f"[{','.join(map(quoted, cells))}]" if isinstance(cells, tuple) else _encoded(cells),
            self.record,
            sizes=_encoded(self.sizes) if self.sizes else "{}",
            picture=_encoded(self.picture) if self.picture is not None else "",
        )

    @classmethod
    def from_line(cls, line: str) -> Self:
        """Return the row that `as_line` wrote."""
        data = json.loads(line)
        picture = data.get("picture")
        return cls(
            **{
                **data,
                "request": Request.from_json(data["request"]),
                "cells": _cells(data["cells"]),
                "sizes": {uri: (size, mtime) for uri, (size, mtime) in data["sizes"].items()},
                "picture": Picture(*picture) if picture is not None else None,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleRow:
    """A row of the manifest that no job is made of: it is blank, names no picture, or was left out.

    It is kept beside the plan, because results are the user's whole table. `times` such rows follow each other. Of a
    row that was left out, `number` is the job's that it would have been, and `reason` says why; both are empty where
    there was nothing to edit.
    """

    record: int
    cells: Cells
    times: int = 1
    number: int = 0
    reason: str = ""

    @property
    def at(self) -> tuple[int, int]:
        """Where it stands in the manifest, beside the rows that are jobs."""
        return self.record, self.number

    def as_line(self) -> str:
        """Return the row as one line of JSON, without its line end; `from_line` reads it back."""
        data = {name: getattr(self, name) for name in ("record", "cells", "times", "number", "reason")}
        return _encoded(data)

    @classmethod
    def from_line(cls, line: str) -> Self:
        """Return the row that `as_line` wrote."""
        data = json.loads(line)
        return cls(**{**data, "cells": _cells(data["cells"])})


def _cells(cells: list[str] | dict[str, Any]) -> Cells:
    return tuple(cells) if isinstance(cells, list) else cells
