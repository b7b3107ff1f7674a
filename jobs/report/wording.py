"""How the report says things to a person: money, durations, times, and text that came from outside.

`shown` is for eyes only. It changes text (invisible controls become visible), so it may never touch a key, a
prompt or an id that a machine reads back.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime

_SIGNED = re.compile(r"(https?://[^\s?#\"'<>]+)[?#][^\s\"'<>]*", re.IGNORECASE)
_HARMLESS_FORMATS = frozenset({"\u200c", "\u200d", "\u00ad"})
"""Joiners that emoji and several scripts are written with, and the soft hyphen."""


def dollars(amount: float) -> str:
    """Return an amount in dollars: two digits after the point, up to four where they say something."""
    text = f"{amount:,.4f}"
    return f"${text[:-2]}" if text.endswith("00") else f"${text.removesuffix('0')}"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def moment(epoch: float | None) -> str:
    """Return a time in UTC to the minute, or a dash where there is none."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%d %H:%M UTC") if epoch else "–"


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: `1 row`, `1,200 rows`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def shown(text: str, limit: int = 0) -> str:
    """Return `text` on one line, safe to look at, and no longer than `limit` characters if that is not 0.

    White space is folded. Control characters, direction marks (which can make `gpj.exe` read as `exe.jpg`) and
    lone surrogates are written out as `⟨U+202E⟩`.
    """
    if limit:
        text = text[: limit * 8]
    visible = "".join(_visible(char) for char in " ".join(text.split()))
    return visible if not limit or len(visible) <= limit else visible[: limit - 1].rstrip() + "…"


def without_secrets(text: str) -> str:
    """Return `text` with the query of every URL in it left out: that is where signatures are."""
    return _SIGNED.sub(r"\1?…", text)


def _visible(char: str) -> str:
    category = unicodedata.category(char)
    if category in {"Cc", "Cs"} or (category == "Cf" and char not in _HARMLESS_FORMATS):
        return f"⟨U+{ord(char):04X}⟩"
    return char
