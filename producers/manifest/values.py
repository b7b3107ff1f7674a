"""Turns the text of a cell into the value that a model's field takes, or says what would be right.

The value is what is sent and so part of the fingerprint: `5`, `5.0` and `5.00` for a number are one value.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from jobs.models import Field, Model
from jobs.request import Param
from producers.manifest.problems import shown
from producers.manifest.spelling import closest, hint

_TRUE = frozenset({"true", "yes", "1"})
_FALSE = frozenset({"false", "no", "0"})
_INTEGER = re.compile(r"([+-]?[0-9]{1,18})(?:\.0)?")
"""Whole numbers with gaps between them are written as `7.0` by half of the world's tools; `1.000` may be a thousand."""
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})(?:[eE][+-]?[0-9]{1,3})?")
_RATIO = re.compile(r"(\d+):(\d+)")
_WIDEST = (21, 9)


class BadValue(ValueError):
    """A cell holds what its field does not take; `remedy` says what would be right."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def parse_value(field: Field, text: str, *, decimal_comma: bool = False) -> Param:
    """Return the value of a non-empty cell for `field`.

    With `decimal_comma` the table is known to write `4,5`; else that is refused, as it could be anything.

    Raises:
        BadValue: not of the field's type, or out of its range.
    """
    text = text.strip()
    match field.type:
        case "boolean":
            return _boolean(field, text)
        case "integer":
            whole = _INTEGER.fullmatch(text)
            if whole is None:
                raise BadValue(f"{field.name} is {shown(text)}, not a whole number", _wanted(field))
            return _in_range(field, int(whole[1]), text)
        case "number":
            if decimal_comma and text.count(",") == 1 and "." not in text:
                text = text.replace(",", ".")
            if not _NUMBER.fullmatch(text):
                point = " (with a decimal point, not a comma)" if "," in text else ""
                raise BadValue(f"{field.name} is {shown(text)}, not a number", _wanted(field) + point)
            return _in_range(field, float(text), text)
        case "string":
            return _string(field, text)


def check_size(model: Model, width: int | None, height: int | None) -> None:
    """Check what no single field shows: the number of pixels asked for.

    Raises:
        BadValue: width times height is over what the model makes.
    """
    if width and height and width * height > model.max_output_pixels:
        most = model.max_output_pixels
        raise BadValue(
            f"{width} x {height} is {width * height:,} pixels, and {model.title} makes {most:,} at most",
            f"ask for less, such as {math.isqrt(most)} x {math.isqrt(most)}",
        )


def _boolean(field: Field, text: str) -> bool:
    word = text.lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise BadValue(f"{field.name} is {shown(text)}, neither true nor false", "write true or false, yes or no, 1 or 0")


def _in_range(field: Field, value: int | float, text: str) -> int | float:
    low = field.minimum is not None and value < field.minimum
    high = field.maximum is not None and value > field.maximum
    if low or high or not math.isfinite(value):
        raise BadValue(f"{field.name} is {shown(text)}, which is too {'small' if low else 'large'}", _wanted(field))
    return value


def _string(field: Field, text: str) -> str:
    if field.choices and text not in field.choices:
        lower = "jpeg" if text.lower() == "jpg" else text.lower()
        meant = lower if lower in field.choices else closest(text, field.choices)
        wanted = f"write {meant}" if meant in field.choices else f"write one of {', '.join(field.choices)}"
        raise BadValue(f"{field.name} is {shown(text)}, which is not one of its values", wanted)
    if field.pattern and not re.search(field.pattern, text):
        raise BadValue(f"{field.name} is {shown(text)}", f"write it like 4:3{_about(field)}")
    if field.name == "aspect_ratio":
        _check_ratio(field, text)
    return text


def _check_ratio(field: Field, text: str) -> None:
    found = _RATIO.fullmatch(text)
    if found is None:
        raise BadValue(f"{field.name} is {shown(text)}", f"write it like 4:3{_about(field)}")
    wide, high = int(found[1]), int(found[2])
    if max(wide, high) * _WIDEST[1] > min(wide, high) * _WIDEST[0]:
        raise BadValue(f"{field.name} is {shown(text)}, which is too long a shape", "stay between 21:9 and 9:21")


def _wanted(field: Field) -> str:
    kind = "a whole number" if field.type == "integer" else "a number such as 4.5"
    if field.minimum is not None and field.maximum is not None:
        return f"write {kind} from {field.minimum:g} to {field.maximum:g}"
    return f"write {kind}"


def _about(field: Field) -> str:
    return f" ({field.about})" if field.about else ""


def unknown_field(model: Model, name: str, every: Mapping[str, Model]) -> BadValue:
    """Return the error for a field that the model does not have, with the models that have it."""
    owners = [m.name for m in every.values() if name in m.fields]
    instead = f", or use {' or '.join(owners[:3])}" if owners else hint(name, model.fields)
    return BadValue(f"{model.title} has no field {name}", f"leave the cell empty{instead}")
