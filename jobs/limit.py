"""How many tasks of a limit group may be in flight now: what the catalogue says, or less while the API refuses more.

Another program may use the same key, and the API's limit may be lower than the catalogue's: a 429 is the only way to
learn of either. The law is additive increase, multiplicative decrease, as of a network's window: a burst of refusals
lowers the size once, and submissions that the API takes while every place is in use raise it again, one by one. It is
never above the catalogue's (or RETOUCH_API__ACTIVE_LIMIT), and never below one.

What a submission proves is told by its number (`Job.intent`): one that began before the size was lowered says nothing
of the size since.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

LOWERED_TO = 0.75
"""The part of the size that a burst of refusals leaves. TCP halves (RFC 5681) and limiters of concurrency take 0.9:
half would leave the API idle for long, since a place is won back only by tasks that take ten seconds each."""

FIRST_REST_S, LONGEST_REST_S = 5.0, 60.0
"""After a lowering the size is not raised for so long. The rest doubles with each raise that is refused at once: one
429 a minute is what it costs to find out that the other program has gone."""

FORGOTTEN_S = 600
"""A size that nothing has moved for so long is forgotten: whoever used the places may have gone, nobody has looked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The size of a limit group now, and what is known of it. Times are epoch seconds by the ledger's clock."""

    most: int
    """The size by the catalogue, or by the setting."""
    size: int
    since: float = 0.0
    """When it was lowered below `most`."""
    mark: int = 0
    """The last submission that had begun when the API refused one: what began before belongs to the same burst."""
    strikes: int = 0
    """Bursts of refusals since a submission was taken."""
    fitted: int = 0
    """Submissions that were taken while all places were in use, since the size changed: `size` of them prove it."""
    probing: bool = False
    """It was raised by one, and that is not proved yet."""
    rest_s: float = 0.0
    raise_at: float = 0.0

    @classmethod
    def whole(cls, most: int) -> Self:
        """Return the limit of which nothing is known but the catalogue's size."""
        return cls(most=most, size=most)

    @property
    def lowered(self) -> bool:
        """Whether less may be in flight than the catalogue says."""
        return self.size < self.most

    def refused(self, *, intent: int, latest: int, now: float) -> Self:
        """Return the limit after a 429 for too many tasks in flight.

        Args:
            intent: the number of the submission that was refused.
            latest: the highest number that has begun.
            now: epoch seconds.
        """
        if self._knows(intent, latest):
            return self
        rest_s = min(max(2 * self.rest_s, FIRST_REST_S), LONGEST_REST_S) if self.probing else FIRST_REST_S
        return replace(
            self,
            size=max(self.size - 1 if self.probing else int(self.size * LOWERED_TO), 1),
            since=self.since or now,
            mark=latest,
            strikes=self.strikes + 1,
            fitted=0,
            probing=False,
            rest_s=rest_s,
            raise_at=now + rest_s,
        )

    def slowed(self, *, intent: int, latest: int) -> Self:
        """Return the limit after a 429 for too many requests in a time: the size has nothing to do with it."""
        return self if self._knows(intent, latest) else replace(self, mark=latest, strikes=self.strikes + 1)

    def taken(self, *, intent: int, latest: int, full: bool, now: float) -> Self:
        """Return the limit after a submission that the API took; `full`: while every place was in use."""
        if self._knows(intent, latest):
            return self
        found = replace(self, strikes=0)
        if full and (found.lowered or found.probing):
            found = replace(found, fitted=min(self.fitted + 1, self.size))
            if found.fitted == found.size and now >= found.raise_at:
                found = found._raised()
        return found if found.lowered or found.probing else self.whole(self.most)

    def _raised(self) -> Self:
        """One more, once the size is proved; at the catalogue's there is nothing left to prove."""
        proved = replace(self, rest_s=0.0) if self.probing else self
        if self.size >= self.most:
            return self.whole(self.most)
        return replace(proved, size=self.size + 1, fitted=0, probing=True)

    def _knows(self, intent: int, latest: int) -> bool:
        """Whether a submission began before the API last refused one. Numbers start anew with a ledger's life."""
        return intent <= self.mark <= latest

    def as_json(self) -> dict[str, Any]:
        """Return what is written down; the catalogue's size is not."""
        known = asdict(self)
        del known["most"]
        return known

    @classmethod
    def from_json(cls, text: str, most: int) -> Self:
        """Return what was written down, within the catalogue's size as it is now."""
        known: Mapping[str, Any] = json.loads(text)
        fields = {name: known[name] for name in cls.__dataclass_fields__ if name in known}
        return cls(**{**fields, "most": most, "size": min(int(known["size"]), most)})
