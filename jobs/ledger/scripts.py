"""The ledger's Lua scripts, put together from files and called by name.

Every script returns its status and Redis's time first. The connection may repeat a call whose answer was lost, so
each script either says the same thing twice by nature or knows its operation token.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import redis

if TYPE_CHECKING:
    from redis.commands.core import Script

_SHARED = {
    "record": ("seats", "money", "bounds", "change"),
    "begin": ("seats", "money", "bounds", "change"),
    "resubmit": ("seats", "money", "bounds", "change"),
    "claim": ("seats",),
    "late": ("money",),
    "forget": ("money",),
}


def source(name: str) -> str:
    """Return the whole text of a script: the shared parts it needs, then its own."""
    folder = resources.files("jobs.ledger") / "lua"
    parts = ("clock", *_SHARED.get(name, ()), name)
    return "\n".join((folder / f"{part}.lua").read_text(encoding="utf-8") for part in parts)


class Scripts:
    """Calls scripts on one Redis. Values come back as text, whatever the connection's own setting."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._known: dict[str, Script] = {}

    def __call__(self, name: str, keys: Sequence[str], args: Sequence[str | int]) -> list[Any]:
        """Run a script and return its answer: status, milliseconds, and whatever else it says."""
        script = self._known.get(name)
        if script is None:
            script = self._known[name] = self._client.register_script(source(name))
        answer: Any = script(keys=list(keys), args=list(args))
        return list(answer)
