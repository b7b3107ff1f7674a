"""How the edits of one batch ended, in the memory ledger: the twin of `lua/bounds.lua`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jobs.bounds import (
    BATCH_ENDS,
    GROUP_ENDS,
    GROUPS_KNOWN,
    GROUPS_STOPPED,
    Bounds,
    End,
    Stop,
    Why,
    slid,
)


@dataclass(slots=True)
class Ends:
    """The last ends of a batch and of its groups, and which groups are stopped."""

    bounds: Bounds
    lone: bool
    batch: str = ""
    groups: dict[str, str] = field(default_factory=dict)
    """Windows by group; the group that had the latest end stands last."""
    stops: dict[str, Stop] = field(default_factory=dict)
    moderated_cost: int = 0

    def count(self, end: End, group: str, cost: int, now: float) -> Mapping[str, Any] | None:
        """Count an end; return what the whole batch is to be stopped for, if it is."""
        bounds = self.bounds
        known = self.groups.pop(group, None)
        window = self.groups[group] = slid(known or "", end, GROUP_ENDS)
        self.batch = slid(self.batch, end, BATCH_ENDS)
        if known is None and len(self.groups) > GROUPS_KNOWN:
            for forgotten in list(self.groups)[: GROUPS_KNOWN // 2]:
                del self.groups[forgotten]
        about: dict[str, Any] | None = None
        most, why = (bounds.failed, Why.FAILED) if end is End.FAILED else (bounds.moderated, Why.MODERATED)
        failed = self.batch.count(End.FAILED)
        if end is End.FAILED and failed > bounds.failed_batch:
            about = {"why": str(Why.FAILED), "count": failed, "of": len(self.batch)}
        if end is not End.STORED and self.lone and window.count(end) > most:
            about = about or {"why": str(why), "count": window.count(end), "of": len(window)}
        elif end is not End.STORED and group not in self.stops and window.count(end) > most:
            self.stops[group] = Stop(why=why, count=window.count(end), of=len(window), at=round(now * 1000) / 1000)
            if len(self.stops) >= GROUPS_STOPPED:
                about = about or {"why": str(Why.GROUPS), "count": len(self.stops)}
        if end is End.MODERATED:
            self.moderated_cost += cost
            if 0 <= bounds.moderated_cost < self.moderated_cost:
                cost, limit = self.moderated_cost, bounds.moderated_cost
                about = about or {"why": str(Why.MODERATED_COST), "cost": cost, "limit": limit}
        return about

    def resume(self, group: str) -> set[str]:
        """Let a group go on ("": all), each with a fresh window; return which did."""
        freed = {name for name in self.stops if group in ("", name)}
        for name in freed:
            del self.stops[name]
            self.groups.pop(name, None)
        if not group:
            self.groups.clear()
        self.batch, self.moderated_cost = "", 0
        return freed
