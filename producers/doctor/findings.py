"""What a check has found: one sentence, and the remedy where there is something to mend.

`broken` means that a batch cannot run, or that something in Redis or the bucket would be lost; `warning` that a
promise is weaker than it could be, and the sentence says which.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. No secret is in it."""

    part: str
    verdict: Verdict
    sentence: str
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the finding as scripts read it."""
        return asdict(self)


def ok(part: str, sentence: str) -> Finding:
    """Return a finding that needs nobody."""
    return Finding(part=part, verdict=Verdict.OK, sentence=sentence)


def warning(part: str, sentence: str, remedy: str) -> Finding:
    """Return a finding that weakens a promise."""
    return Finding(part=part, verdict=Verdict.WARNING, sentence=sentence, remedy=remedy)


def broken(part: str, sentence: str, remedy: str) -> Finding:
    """Return a finding that has to be mended."""
    return Finding(part=part, verdict=Verdict.BROKEN, sentence=sentence, remedy=remedy)
