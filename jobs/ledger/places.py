"""The API's places in Redis: the slots of each limit group, how many there are just now, and for how long none is."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence

import redis

from jobs.accounts import MAIN
from jobs.ledger.port import Law, Places
from jobs.ledger.presence import Presence
from jobs.limit import FORGOTTEN_S, Limit
from jobs.models import Catalogue
from jobs.shares import Priority, low_water

ADJUST_TRIES = 20
"""So often a change is tried while others are faster. What then is lost is one hint of many."""


class RedisPlaces(Presence):
    """What the ledger knows of places beside the jobs that hold them."""

    def __init__(self, client: redis.Redis, catalogue: Catalogue) -> None:
        super().__init__(client)
        self._catalogue = catalogue

    def _slot_keys(self, account: str, group: str) -> list[str]:
        return [self._keys.slots(account, each.name) for each in self._catalogue.lineage(group)]

    def _limit_keys(self, account: str, group: str) -> list[str]:
        return [self._keys.limit(account, each.name) for each in self._catalogue.lineage(group)]

    def _front_keys(self, account: str, group: str) -> list[str]:
        return [self._keys.front(account, each.name) for each in self._catalogue.lineage(group)]

    def set_priority(self, batch: str, priority: Priority, by: float) -> None:
        """Let a batch have this priority and deadline (epoch seconds, 0 for none) instead of what was agreed."""
        self._set_fields(batch, ["priority", str(priority), "by", repr(by)])

    def share(self, batch: str, weight: float, places: Mapping[str, int]) -> None:
        """Let a batch weigh this much beside others, and have so many places of each limit group's window."""
        args: list[str | int] = ["weight", repr(weight)]
        for group, size in places.items():
            args += [f"share:{group}", size]
            if size:
                args += [f"low:{group}", low_water(size)]
        self._set_fields(batch, args)

    def _set_fields(self, batch: str, args: Sequence[str | int], opening: str = "") -> bool:
        """Set fields of a batch, name and value of each; False where the ledger does not hold it, or this opening."""
        keys = [self._keys.batch(batch), self._keys.absent]
        return bool(self._script("set_field", keys, [opening, *args])[0] == "done")

    def remove_strays(self) -> int:
        """Free slots whose job does not hold them; return how many."""
        k = self._keys
        keys = [k.slots(account, group) for account in self._catalogue.holders for group in self._catalogue.groups]
        return int(self._script("strays", keys, [k.job(""), k.freed])[2])

    def throttle(self, seconds: float, *, account: str = MAIN) -> None:
        """Let nobody submit with a key of this account for so long (the longest wish counts)."""
        if seconds > 0:
            keys = [self._keys.throttle(account), self._keys.absent]
            self._script("throttle", keys, [max(round(seconds * 1000), 1)])

    def slots_used(self, account: str = "") -> Mapping[str, int]:
        """Return how many slots of each limit group are taken, of one account or of all."""
        accounts = [account] if account else self._catalogue.holders
        pools = [(name, group) for name in accounts for group in self._catalogue.groups]
        pipe = self._client.pipeline(transaction=False)
        for name, group in pools:
            pipe.scard(self._keys.slots(name, group))
        used = dict.fromkeys(self._catalogue.groups, 0)
        for (_, group), taken in zip(pools, self._guarded(pipe.execute), strict=True):
            used[group] += taken
        return used

    def limits(self, account: str = MAIN) -> Mapping[str, Limit]:
        """Return what the API's refusals have made of an account's limit groups."""
        groups = self._catalogue.groups
        found = self._guarded(self._client.mget, [self._keys.limit(account, name) for name in groups])
        known = zip(groups.values(), found, strict=True)
        return {group.name: Limit.from_json(text, group.size) for group, text in known if text}

    def adjust(self, group: str, law: Law, *, account: str = MAIN) -> Limit:
        """Change what is known of a limit group's size for an account as `law` says, and return it."""
        k, most = self._keys, self._catalogue.groups[group].size
        keys = [k.limit(account, group), k.epoch, k.absent]
        for _ in range(ADJUST_TRIES):
            pipe = self._client.pipeline(transaction=False)  # at maxmemory a MULTI would be refused
            pipe.get(keys[0])
            pipe.scard(k.slots(account, group))
            pipe.hget(k.epoch, "n")
            text, used, latest = self._guarded(pipe.execute)
            was = Limit.from_json(text, most) if text else Limit.whole(most)
            now = law(was, Places(used=used, latest=int(latest or 0)))
            if now == was:
                return was
            token = {"op": uuid.uuid4().hex}  # two who would write the same have seen two things
            new = "" if now == Limit.whole(most) else json.dumps(now.as_json() | token, separators=(",", ":"))
            marks = (latest or "0") if now.mark != was.mark else ""
            told = k.freed if now.size > was.size else ""
            said = self._script("limit", keys, [text or "", new, marks, FORGOTTEN_S, told])
            if said[0] == "done":
                return now
        return was
