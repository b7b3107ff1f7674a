"""The contact sheet: chooses which rows are shown with their pictures, and makes a card of each.

Failures come first, then flagged results, then the rest, so the choice can only be made when the last row is known;
a heap keeps the best so far and nothing else. Pictures are asked for at the very end, those of a few cards at a time.
"""

from __future__ import annotations

import base64
import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from jobs.errors import RetouchError
from jobs.job import State
from jobs.reasons import FLAGS, REASONS
from jobs.report.joining import Joined
from jobs.report.wording import dollars, shown, without_secrets
from jobs.row import Row

CARDS = 500

THREADS = 4
"""So many cards' pictures are asked for at once: the store has to be waited for, and Pillow decodes without the GIL."""

BeforeAfter = tuple[bytes | None, bytes | None]
"""Thumbnails (JPEG, PNG or WebP bytes) of a row's picture before and after, None where there is none."""

Pictures = Callable[[Row, dict[str, Any]], BeforeAfter]
"""Returns the thumbnails of a row. Several threads call it at once."""

TIERS = ("Did not make it", "Stored, and flagged", "Stored", "Unchanged", "Cancelled")
_TIER_OF = {
    State.STORED: 2,
    State.UNCHANGED: 3,
    State.CANCELLED: 4,
}
_SHOWN_AS = {State.IN_DOUBT: "held in doubt"}
_MAGIC = ((b"\xff\xd8\xff", "jpeg"), (b"\x89PNG\r\n\x1a\n", "png"), (b"RIFF", "webp"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One row as the page shows it: text made safe to look at, pictures as `data:` URIs (empty: none)."""

    number: int
    id: str
    state: str
    tone: str
    """The state as a word that style sheets know."""
    reason: str
    detail: str
    flags: tuple[str, ...]
    prompt: str
    model: str
    size: str
    cost: str
    key: str
    before: str
    after: str


@dataclass(order=True, slots=True)
class _Candidate:
    """A row that may be shown; the least one is the first to be dropped."""

    precedence: tuple[int, int]
    joined: Joined = field(compare=False)


class ContactSheet:
    """Keeps the `limit` rows that are most worth a look."""

    def __init__(self, limit: int = CARDS) -> None:
        self._limit = limit
        self._kept: list[_Candidate] = []

    def offer(self, joined: Joined) -> None:
        """Take one more row into consideration."""
        candidate = _Candidate((-_tier(joined.outcome), -joined.row.number), joined)
        if len(self._kept) < self._limit:
            heapq.heappush(self._kept, candidate)
        elif self._kept and candidate > self._kept[0]:
            heapq.heapreplace(self._kept, candidate)

    @property
    def chosen(self) -> list[Joined]:
        """The rows to show, in the order of the page."""
        return [candidate.joined for candidate in sorted(self._kept, reverse=True)]

    def sections(self, pictures: Pictures) -> Iterator[tuple[str, Iterable[Card]]]:
        """Yield a title and its cards, one card at a time; `pictures` is called for these rows only, a little ahead."""
        for tier, group in groupby(_ahead(self.chosen, pictures), key=lambda found: _tier(found[0].outcome)):
            yield TIERS[tier], (card(joined, *found.result()) for joined, found in group)


def _ahead(rows: Iterable[Joined], pictures: Pictures) -> Iterator[tuple[Joined, Future[BeforeAfter]]]:
    """Yield each row with its pictures to come. Few are on their way at a time, however many rows there are."""
    with ThreadPoolExecutor(THREADS, thread_name_prefix="sheet") as threads:
        coming: deque[tuple[Joined, Future[BeforeAfter]]] = deque()
        for joined in rows:
            coming.append((joined, threads.submit(_found, joined, pictures)))
            if len(coming) > 2 * THREADS:
                yield coming.popleft()
        yield from coming


def _found(joined: Joined, pictures: Pictures) -> BeforeAfter:
    """Return a row's pictures. One that cannot be fetched is left out: it may not cost the report."""
    try:
        return pictures(joined.row, joined.outcome)
    except (RetouchError, OSError, ValueError):
        return None, None


def card(joined: Joined, before: bytes | None, after: bytes | None) -> Card:
    """Return the card of a row."""
    row, outcome = joined.row, joined.outcome
    code = outcome["reason"]
    width, height = outcome["width"], outcome["height"]
    return Card(
        number=row.number,
        id=shown(row.id, 120),
        state=_SHOWN_AS.get(outcome["state"], outcome["state"]),
        tone="flagged" if outcome["flags"] else outcome["state"],
        reason=REASONS[code].sentence if code in REASONS else shown(code, 120),
        detail=shown(without_secrets(outcome["detail"]), 240),
        flags=tuple(FLAGS[flag] for flag in outcome["flags"] if flag in FLAGS),
        prompt=shown(row.request.prompt, 180),
        model=shown(outcome["model"], 60),
        size=f"{width} × {height}" if width and height else "",
        cost=dollars(joined.cost_usd),
        key=shown(outcome["output"], 200),
        before=data_uri(before),
        after=data_uri(after),
    )


def data_uri(picture: bytes | None) -> str:
    """Return a picture as a `data:` URI, or nothing where it is no JPEG, PNG or WebP by its first bytes."""
    for magic, kind in _MAGIC:
        if picture and picture.startswith(magic):
            return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"
    return ""


def _tier(outcome: dict[str, Any]) -> int:
    if outcome["flags"] and outcome["state"] in {State.STORED, State.UNCHANGED}:
        return 1
    return _TIER_OF.get(outcome["state"], 0)
