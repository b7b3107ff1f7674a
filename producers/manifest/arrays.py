"""Takes a JSON array apart as a stream: the text of one element after another, never the array as a whole.

Where an element ends is found by its brackets and quotes alone, so one that is bad inside leaves the next ones
readable. An element is measured while it is looked for; brackets that never close are noticed after 64 KB.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TextIO

from producers.manifest.dialect import MAX_ROW
from producers.manifest.problems import ManifestError

_BLOCK = 1 << 18
_TOKEN = re.compile(r'"(?:[^"\\]+|\\.)*+"|[{}\[\]"]', re.DOTALL)
_PLAIN = re.compile(r"[^,\]\s]*")
_SPACE = re.compile(r"[ \t\r\n]*")


class _Window:
    """The part of the text that is looked at, and the line on which its next character stands."""

    def __init__(self, text: TextIO) -> None:
        self._text = text
        self._ended = False
        self.held = ""
        self.at = 0
        self.line = 1

    def fill(self) -> None:
        """Have more than a whole element ahead, or the end of the text."""
        while not self._ended and len(self.held) - self.at <= MAX_ROW:
            block = self._text.read(_BLOCK)
            self._ended = not block
            self.held = self.held[self.at :] + block
            self.at = 0

    def skip(self, end: int) -> str:
        """Move on to `end` and return what was passed."""
        passed = self.held[self.at : end]
        self.line += passed.count("\n")
        self.at = end
        return passed

    def next(self) -> str:
        """Pass white space and return the character after it; empty at the end of the text."""
        while True:
            self.fill()
            found = _SPACE.match(self.held, self.at)
            self.skip(found.end() if found else self.at)
            if self.at < len(self.held) or self._ended:
                return self.held[self.at : self.at + 1]

    def element(self) -> str:
        """Pass one element and return its text.

        Raises:
            ManifestError: it is over 64 KB long or never ends.
        """
        self.fill()
        depth = 0
        most = self.at + MAX_ROW
        for token in _TOKEN.finditer(self.held, self.at, most):
            sign = token.group()
            if sign == '"':
                break
            depth += (sign in ("{", "[")) - (sign in ("}", "]"))
            if depth == 0:
                return self.skip(token.end())
        raise ManifestError(
            f"what starts here is over {MAX_ROW:,} characters long, or a bracket or quote of it never closes",
            remedy="write an array of objects, each of 64 KB at most",
            line=self.line,
        )


def elements(text: TextIO) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of each element of the array.

    Raises:
        ManifestError: it is no array, is cut off, or goes on after its end.
    """
    window = _Window(text)
    if window.next() != "[":
        raise ManifestError("the manifest is no JSON array", remedy="begin it with [", line=window.line)
    window.skip(window.at + 1)
    first = True
    while (sign := window.next()) != "]" or not first:
        if sign == "]":
            break
        if not first:
            if sign != ",":
                raise _broken(window, sign, "a comma or the closing bracket")
            window.skip(window.at + 1)
            sign = window.next()
        first = False
        line = window.line
        if sign in ("{", "[", '"'):
            yield line, window.element()
        elif sign in ("", ",", "]", "}"):
            raise _broken(window, sign, "an object")
        else:
            found = _PLAIN.match(window.held, window.at)
            yield line, window.skip(found.end() if found else window.at + 1)
    window.skip(window.at + 1)
    if window.next():
        raise ManifestError(
            "the array ends, and something comes after it", remedy="write one array alone", line=window.line
        )


def _broken(window: _Window, sign: str, wanted: str) -> ManifestError:
    if not sign:
        return ManifestError("the array is cut off", remedy="export it again; it ends with ]", line=window.line)
    return ManifestError(
        f"here stands {sign!r}, where {wanted} is expected", remedy="export it again", line=window.line
    )
