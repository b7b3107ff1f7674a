"""The news of a freed slot, as workers hear them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Freed:
    """News of a freed slot."""

    account: str = ""
    """Whose it is; empty where that is not told."""
    group: str = ""
    """Its limit group, or how else some came to be free; empty where nothing was told for a while."""
    by: str = ""
    """The process that is told of it first, and alone, since it was its own; empty where everybody is."""

    @property
    def text(self) -> str:
        """What is told; `read` reads it back. Accounts have names without colons."""
        return f"{self.account}:{self.group}"

    @classmethod
    def read(cls, text: str, *, by: str) -> Self:
        """Return the news that were told with this text."""
        account, _, group = text.rpartition(":")
        return cls(account=account, group=group, by=by)


ANYBODYS = Freed()
