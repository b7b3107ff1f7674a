"""Output keys: where in the bucket an edited picture is published, and when such a key is safe.

An unsafe key is refused, never made safe: a key that was quietly changed could be another row's. `{ext}` stays
open in a key until the format of the result is known, so no value may bring braces of its own.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path

from producers.manifest.problems import ManifestError

DEFAULT_OUTPUT = "{name}/{id|slug}.{ext}"
OPEN_EXTENSION = "{ext}"
MAX_KEY_BYTES = 1_024

_ASCII_RUN = re.compile(r"[^a-z0-9]+")
_FORMATTING = "\u200b\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
_UNSAFE = re.compile(rf"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff{_FORMATTING}]")

_DAY = r"(?:(?:19|20)\d\d[-_.]?[01]\d(?:[-_.]?[0-3]\d)?|[0-3]\d[-_.][01]\d[-_.](?:19|20)\d\d)"
_TIME = r"(?:[T_\- ]?[0-2]\d[-_.:h]?[0-5]\d(?:[-_.:]?[0-5]\d)?Z?)?"
_DATE = re.compile(rf"(?<!\d){_DAY}{_TIME}(?!\d)")
_COUNTER = re.compile(r"\s*\(\d{1,4}\)\s*$|[\s_-]+(?:copy|Kopie)$", re.IGNORECASE)
_ENDINGS = {".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", ".gz", ".xlsx", ".xlsm", ".parquet"}


def slug(text: str) -> str:
    """Return `text` in lower case, its letters and digits kept in any script, the rest as single hyphens.

    Never empty: where nothing is left it is a short hash, so that two such texts stay different.

    >>> slug("Stühle 12/3")
    'stühle-12-3'
    """
    lower = (text if text.isascii() else unicodedata.normalize("NFC", text)).lower()
    if lower.isascii():
        made = _ASCII_RUN.sub("-", lower).strip("-")
    else:
        kept: list[str] = []
        for letter in lower:
            # A combining mark belongs to the letter before it: without, many scripts would fall to pieces.
            joined = kept and kept[-1] != "-" and unicodedata.category(letter)[0] == "M"
            if letter.isalnum() or joined:
                kept.append(letter)
            elif kept and kept[-1] != "-":
                kept.append("-")
        made = unicodedata.normalize("NFC", "".join(kept)).strip("-")
    return made or "x" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:11]


def _padded(width: int) -> Callable[[str], str]:
    """Return a filter that puts zeros before a number; anything else stays as it is."""
    return lambda text: text.strip().zfill(width) if text.strip().isdecimal() else text


FILTERS: Mapping[str, Callable[[str], str]] = {
    "slug": slug,
    "lower": str.lower,
    "upper": str.upper,
    "pad2": _padded(2),
    "pad3": _padded(3),
    "first8": lambda text: text.strip()[:8].rstrip(),
}
"""What may stand after a bar in a template of keys: `{position|pad2}`. Several are applied from left to right."""


def batch_name(path: Path, flag: str | None = None) -> str:
    """Return the batch's name: what was given, else the manifest's stem without dates and copy counters.

    A year alone and a number stay, because `set_1` and `set_2` are two sets and must not publish over each other.

    >>> batch_name(Path("autumn_2026-11-22 (3).csv"))
    'autumn'

    Raises:
        ManifestError: the given name is not safe in a key.
    """
    if flag is not None:
        why = unsafe(flag)
        if why or "{" in flag or "}" in flag:
            raise ManifestError(f"--name {why or 'holds braces'}", remedy="give a plain word, such as autumn")
        return flag
    stem = path.name if path.name not in ("", "..") else path.resolve().name
    while (ending := Path(stem).suffix.lower()) in _ENDINGS and len(ending) < len(stem):
        stem = stem[: -len(ending)]
    bare = stem
    while (shorter := _COUNTER.sub("", bare)) != bare:
        bare = shorter
    bare = _DATE.sub("", bare)
    return slug(bare) if any(letter.isalnum() for letter in bare) else slug(stem)


def unsafe(key: str, prefix: str = "") -> str:
    """Return why `key` may not be written to, in words that follow its name, or an empty text.

    Args:
        key: an output key; `{ext}` may stand in it.
        prefix: Retouch's own part of the bucket.
    """
    plain = key.replace(OPEN_EXTENSION, "webp")
    # A store may fold the case, and `Retouch/` beside `retouch/` helps nobody.
    if prefix and (plain.casefold() + "/").startswith(prefix.casefold()):
        return f"lies under {prefix}, which is Retouch's own"
    parts = plain.split("/")
    if "" in parts:
        return "is empty, begins or ends with a slash, or has an empty part"
    if "\\" in plain:
        return "holds a backslash"
    if "{" in plain or "}" in plain:
        return "holds a brace that is not {ext}"
    if "." in parts or ".." in parts:
        return "has a part that is . or .."
    if not plain.isprintable() and _UNSAFE.search(plain):
        return "holds control or invisible formatting characters"
    if plain.isascii():
        return f"is over {MAX_KEY_BYTES:,} bytes long" if len(plain) > MAX_KEY_BYTES else ""
    if not unicodedata.is_normalized("NFC", plain):
        return "is not in Unicode form NFC (an accent stands apart from its letter)"
    return f"is over {MAX_KEY_BYTES:,} bytes long" if len(plain.encode()) > MAX_KEY_BYTES else ""


def same_place(key: str, extension: str) -> str:
    """Return what two keys have in common that could be one place: case and Unicode form folded, `{ext}` filled."""
    filled = key.replace(OPEN_EXTENSION, extension)
    if filled.isascii():
        return filled.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", filled).casefold())
