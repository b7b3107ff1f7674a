"""What is known of one row of a batch name: what was asked for, and what was published for it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from jobs.job import MADE_IT, Result, State
from jobs.known.evidence import asked
from jobs.row import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """One line of a name's state; `output` is its key, with `{ext}` open as in the row.

    `asked` and `inputs` say what `result` is an edit of. Without a result the row was tried and did not make it.
    `at` is when it ended, in epoch seconds.
    """

    output: str
    id: str
    at: float
    asked: str = ""
    inputs: tuple[str, ...] = ()
    fingerprint: str = ""
    result: Result | None = None

    @property
    def proves(self) -> bool:
        """Whether all is there by which the row can be told to be unchanged."""
        return bool(self.result is not None and self.result.etag and self.inputs and all(self.inputs))

    def over(self, earlier: Known | None) -> Known:
        """Return which of two lines of one output stands: the later result, and any result before a failure."""
        if earlier is None or earlier.result is None:
            return self
        return earlier if self.result is None or self.at < earlier.at else self

    def as_line(self) -> str:
        """Return one line of JSON, without its line end; `from_line` reads it back."""
        data = {name: getattr(self, name) for name in _FIELDS}
        result = self.result
        data["result"] = {name: getattr(result, name) for name in _RESULT} if result is not None else None
        return json.dumps(data, separators=(",", ":"))

    @classmethod
    def from_line(cls, line: str) -> Self:
        """Return what `as_line` wrote.

        Raises:
            ValueError, KeyError, TypeError: it did not write this.
        """
        data = {name: value for name, value in json.loads(line).items() if name in _FIELDS}
        told = data["result"]
        result = Result(**{name: told[name] for name in _RESULT if name in told}) if told is not None else None
        return cls(**{**data, "inputs": tuple(data["inputs"]), "result": result})


_FIELDS = tuple(f.name for f in fields(Known))
_RESULT = tuple(f.name for f in fields(Result))  # `asdict` takes longer than all the rest


def learnt(origin: str, row: Row, outcome: Mapping[str, Any]) -> Known | None:
    """Return what an outcome line says of its row; None where nothing was tried."""
    if outcome["state"] == State.CANCELLED:
        return None
    bare = Known(output=row.output, id=row.id, at=outcome["at"]["ended"] or outcome["at"]["queued"] or 0.0)
    if outcome["state"] not in MADE_IT:
        return bare
    result = Result(
        key=outcome["output"],
        sha256=outcome["sha256"],
        bytes=outcome["bytes"],
        format=outcome["format"],
        width=outcome["width"],
        height=outcome["height"],
        etag=outcome.get("etag", ""),
    )
    return Known(
        output=bare.output,
        id=bare.id,
        at=bare.at,
        asked=asked(origin, row.request),
        inputs=tuple(outcome.get("inputs", ())),
        fingerprint=outcome["fingerprint"],
        result=result,
    )
