"""Reads one line of JSON lines: an object, every key once, every value one that can be written again.

Python's reader is too kind: it takes NaN, keeps the last of two equal keys, and turns 1e999 into infinity.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NoReturn

from producers.manifest.problems import RowProblem, shown

MAX_CELL = 32_768
"""Characters of one cell."""
MAX_DEPTH = 32
"""Lists and objects inside each other; they travel to the results, so they must be writable again."""
LONG_CELL = (f"the cell is over {MAX_CELL:,} characters long", "shorten it")


def unreadable(line: int, column: str, message: str, remedy: str) -> RowProblem:
    """Return the problem of a row that cannot be read as it stands."""
    return RowProblem(line=line, column=column, code="row_unreadable", message=message, remedy=remedy)


class _Refused(ValueError):
    def __init__(self, message: str, remedy: str, column: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy
        self.column = column


def read_object(source: str, line: int) -> Mapping[str, Any] | RowProblem:
    """Return the JSON object written in one line, or what is wrong with it."""
    try:
        found = json.loads(source, object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_finite)
        _check_object(found, "\\u" in source, len(source) > MAX_CELL)
    except _Refused as refused:
        return unreadable(line, refused.column, str(refused), refused.remedy)
    except RecursionError:
        return unreadable(line, "", "the JSON is nested too deeply", f"{MAX_DEPTH} levels are allowed")
    except json.JSONDecodeError as error:
        message = f"the line is not JSON (character {error.colno}: {error.msg})"
        return unreadable(line, "", message, "write one complete JSON object a line")
    except ValueError:  # a number of thousands of digits
        return unreadable(line, "", "a number is too long", "write long codes in quotes")
    checked: Mapping[str, Any] = found
    return checked


def _check_object(found: Any, escaped: bool, long: bool) -> None:
    if not isinstance(found, dict):
        raise _Refused("the line is not a JSON object", 'write {"image": "...", ...} on each line')
    if "" in found:
        raise _Refused("a key is empty", "name it or remove it")
    for name, value in found.items():
        if isinstance(value, (dict, list)) and _deeper_than(value, MAX_DEPTH):
            raise _Refused("the value is nested too deeply", f"{MAX_DEPTH} levels are allowed", name)
        if long and isinstance(value, str) and len(value) > MAX_CELL:
            raise _Refused(*LONG_CELL, name)
    if escaped:
        # An escape can smuggle in what the bytes of the file cannot hold.
        text = json.dumps(found, ensure_ascii=False)
        if "\\u0000" in text:
            raise _Refused("a text holds a NUL character", "remove it")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _Refused("a text holds half a character (a lone surrogate)", "export the file again") from None


def _deeper_than(value: Any, levels: int) -> bool:
    level = [value]
    for _ in range(levels):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise _Refused(f"the key {shown(double)} stands twice in one object", "keep one of them", double)
    return found


def _no_constant(name: str) -> NoReturn:
    raise _Refused(f"{name} is not a JSON value", "write a number, or leave the value out")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _Refused(f"the number {shown(text)} is too large", "write it in quotes if it is a code")
    return value
