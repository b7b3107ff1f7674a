"""How alike two names are: for hints ("did you mean ...") and for the near-miss rule of columns.

`squashed` forgives what people vary (case, spaces, underscores, hyphens, dots); `distance` counts slips of the
finger, where two neighbouring letters swapped are one slip.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

_JOINTS = re.compile(r"[\s_\-.]+")


@lru_cache(maxsize=1_024)
def squashed(name: str) -> str:
    """Return a name without case, spaces, underscores, hyphens and dots."""
    return _JOINTS.sub("", unicodedata.normalize("NFKC", name)).casefold()


def distance(a: str, b: str) -> int:
    """Return the fewest insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b`."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        before, last, row = row, before, [i]
        for j, other in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if last and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]


def closest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that was probably meant, or None if none is close. Only for hints: it is generous."""
    wanted = squashed(name)[:64]
    best: tuple[int, str] | None = None
    for candidate in candidates:
        other = squashed(candidate)
        if abs(len(other) - len(wanted)) > 3:
            continue
        slips = distance(wanted, other)
        if slips <= max(1, min(len(wanted), len(other)) // 3) and (best is None or slips < best[0]):
            best = (slips, candidate)
    return best[1] if best else None


def hint(name: str, candidates: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` or nothing."""
    found = closest(name, candidates)
    return f" (did you mean '{found}'?)" if found else ""
