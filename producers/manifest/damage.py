"""Recognises what a spreadsheet does to texts that look like numbers or dates: the text that was there is lost.

`4006381333931` becomes `4,00638E+12`, `12-3` becomes `12. Mrz`, a formula that fails becomes `#N/A`. An id like that
is another id, two of them may have become one, and nobody can tell from the file what it was.
"""

from __future__ import annotations

import re

_MONTH = (
    r"(?:Jan|Feb|Mar|Mär|Mrz|Apr|May|Mai|Jun|Jul|Aug|Sep|Oct|Okt|Nov|Dec|Dez"
    r"|janv|févr|mars|avr|juin|juil|août|sept|déc)"
)
_DATE = re.compile(
    r"\d{4}-\d\d-\d\d(?: \d\d:\d\d(?::\d\d)?)?"
    r"|\d{1,2}/\d{1,2}/(?:\d{4}|\d\d)"
    r"|\d{1,2}\.\d{1,2}\.\d{4}(?: \d\d:\d\d(?::\d\d)?)?"
    rf"|\d{{1,2}}\.?[ -]{_MONTH}\.?(?:[ -]\d{{2,4}})?"
    rf"|{_MONTH}\.?[ -]\d{{1,4}}"
)
_EXPONENT = re.compile(r"[+-]?\d(?:[.,]\d+)?E\+\d{2,3}")
_ERROR = re.compile(r"#(?:N/A|NV|REF!|BEZUG!|VALUE!|WERT!|NAME\?|DIV/0!|NUM!|ZAHL!|NULL!|SPILL!|ÜBERLAUF!|####+)(?!\w)")

REMEDY = "make the column text in the source, export again, and do not save it in between"


def damaged_id(text: str, *, dates: bool = False) -> str:
    """Return what a spreadsheet has done to an id, in words that follow it, or an empty text.

    With `dates` one that looks like a date is one.
    """
    if text.isalpha():
        return ""
    if "E+" in text and _EXPONENT.fullmatch(text):
        return "is a number that a spreadsheet has rounded; the digits of the id are lost"
    if not dates and _DATE.fullmatch(text):
        return "is a date that a spreadsheet has made of the id"
    return failed_formula(text)


def remedy_of(damage: str) -> str:
    """Return what to do about the damage of an id."""
    return f"{REMEDY} (if your ids are dates, say --date-ids)" if "is a date" in damage else REMEDY


def failed_formula(text: str) -> str:
    """Return that a text holds the error of a formula, in words that follow it, or an empty text."""
    if "#" not in text:
        return ""
    found = _ERROR.search(text)
    return f"holds {found[0]}, the error of a formula in a spreadsheet" if found else ""
