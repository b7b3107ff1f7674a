"""Finds a formula in a workbook whose result is not in the file: it would be read as an empty cell.

Excel writes results beside formulas. Other programs leave that to Excel: they write no result, or a 0 and the wish
that everything be worked out when the file is opened. The sheet is searched as text, since a parser of XML would take
as long as reading it.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import IO

_BLOCK = 1 << 20
_TAIL = 1 << 16
"""Bytes before a formula in which its cell begins."""
_LONGEST = 4 << 20
"""Bytes of one cell; more than that is a damaged file, which whoever reads it will say."""
_WISH = b'fullCalcOnLoad="1"'
_FORMULA = re.compile(rb"<((?:\w+:)?)f[\s/>]")
_PLACE = re.compile(rb"""\sr=["']([A-Za-z]{1,3}[0-9]{1,7})["']""")
_IS_TEXT = re.compile(rb"""\st=["']str["']""")
_RESULT = re.compile(rb"<(?:\w+:)?v(?:\s[^>]*)?(?:/>|>([^<]*))")


def without_result(path: Path, part: str) -> str:
    """Return where the first formula without a result stands (`C2`), or an empty text.

    Args:
        path: the workbook.
        part: the sheet's file in it.

    Raises:
        zipfile.BadZipFile, zlib.error, KeyError, OSError: it is damaged.
    """
    with zipfile.ZipFile(path) as parts:
        unsure = _WISH in parts.read("xl/workbook.xml")
        with parts.open(part) as sheet:
            return _first(sheet, unsure)


def _first(sheet: IO[bytes], unsure: bool) -> str:
    held = b""
    while block := sheet.read(_BLOCK):
        held += block
        kept = max(len(held) - _TAIL, 0)  # a cell may begin in this block and end in the next
        for formula in _FORMULA.finditer(held):
            start = held.rfind(b"<" + formula[1] + b"c ", 0, formula.start())
            if start < 0:  # no cell's, or one that was looked at
                continue
            end = held.find(b"</" + formula[1] + b"c>", formula.end())
            if end < 0:
                kept = min(kept, start) if len(held) - start < _LONGEST else kept
                break
            head = held[start : formula.start()]
            if _lacks_result(head, held[formula.end() : end], unsure):
                place = _PLACE.search(head)
                return place[1].decode() if place else "in this sheet"
        held = held[kept:]
    return ""


def _lacks_result(head: bytes, rest: bytes, unsure: bool) -> bool:
    found = _RESULT.search(rest)
    if found and found[1]:
        return unsure and found[1] == b"0"
    return found is None or not _IS_TEXT.search(head)  # an empty text is a result
