"""The API keys of this process: which one to submit with, and which one a task was submitted with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence

from workers.api.client import Key

PARKED_S = 60.0
"""A refused key is tried again after this."""


class KeyRing:
    """Hands out keys in turn. A refused key is parked for a minute."""

    def __init__(self, keys: Sequence[Key], now: Callable[[], float]) -> None:
        self._keys = {key.id: key for key in keys}
        self._parked: dict[str, float] = {}
        self._turn = 0
        self._now = now
        self._lock = threading.Lock()

    @property
    def ids(self) -> Sequence[str]:
        """The names of all keys."""
        return list(self._keys)

    def next(self, *, besides: Collection[str] = ()) -> Key | None:
        """Return the next key that is not parked and none of `besides` (ids), or None."""
        with self._lock:
            now = self._now()
            known = [key for key in self._keys.values() if key.id not in besides]
            free = [key for key in known if self._parked.get(key.id, 0.0) <= now]
            if not free:
                return None
            self._turn += 1
            return free[self._turn % len(free)]

    def another(self, besides: Collection[str]) -> str | None:
        """Return the id of a key that may submit and is none of `besides`."""
        key = self.next(besides=besides)
        return key.id if key else None

    def park(self, key_id: str) -> bool:
        """Do not submit with this key for a while; return whether another one is left."""
        with self._lock:
            self._parked[key_id] = self._now() + PARKED_S
            return any(self._parked.get(key, 0.0) <= self._now() for key in self._keys)

    def of(self, key_id: str) -> Key | None:
        """Return a key by its name."""
        return self._keys.get(key_id)
