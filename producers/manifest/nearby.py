"""Finds a local file whose name is written in another Unicode form, and names the one that was probably meant.

`Stühle.jpg` can be two different strings of bytes; macOS writes one and most lists the other. They are one name to
everybody, so the file is taken. A name in another case is another file, so it is only named.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

_FOLDERS = 64
"""Folders whose names are remembered."""
_NAMES = 200_000
"""Names of one folder that are looked through."""


class Nearby:
    """Looks for names beside those that are not there."""

    def __init__(self) -> None:
        self._names = lru_cache(maxsize=_FOLDERS)(_names)

    def same(self, path: str) -> str | None:
        """Return the file that has this name in another Unicode form, or None."""
        return None if path.isascii() else self._find(path, _nfc)

    def alike(self, path: str) -> str | None:
        """Return the file that has this name but for case, width or Unicode form, or None."""
        return self._find(path, _folded)

    def _find(self, path: str, form: Callable[[str], str]) -> str | None:
        parts = Path(path).parts
        found = parts[0] if parts else ""
        for part in parts[1:]:
            step = os.path.join(found, part)  # noqa: PTH118 - texts are compared here, not paths
            if os.path.lexists(step):
                found = step
                continue
            wanted = form(part)
            name = next((name for name in self._names(found) if form(name) == wanted), None)
            if name is None:
                return None
            found = os.path.join(found, name)  # noqa: PTH118
        return found


def _names(folder: str) -> tuple[str, ...]:
    try:
        with os.scandir(folder) as entries:
            return tuple(entry.name for entry, _ in zip(entries, range(_NAMES), strict=False))
    except (OSError, ValueError):
        return ()


def _nfc(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
