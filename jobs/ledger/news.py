"""The news of a freed slot, as workers hear them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Freed:
    """News of a freed slot."""

    group: str = ""
    """Its limit group, or how else some came to be free; empty where nothing was told for a while."""
    by: str = ""
    """The process that is told of it first, and alone, since it was its own; empty where everybody is."""


ANYBODYS = Freed()
