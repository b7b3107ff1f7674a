"""Reads a POST's body against the catalogue, and says what is wrong with it in the API's own form.

Fields that the catalogue does not know are ignored, as the API does for these models; a picture is not looked
at here, since a broken one is no error of the request but an end of its task.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from jobs.models import Field, Model
from simulator.sizes import ratio_of

LONGEST_URL = 2083
"""Characters of a webhook URL (spec)."""

_TYPES: dict[str, tuple[str, str]] = {
    "string": ("string_type", "Input should be a valid string"),
    "integer": ("int_type", "Input should be a valid integer"),
    "number": ("float_type", "Input should be a valid number"),
    "boolean": ("bool_type", "Input should be a valid boolean"),
}

Complaint = dict[str, Any]


class Invalid(Exception):
    """A body that is refused, with the list for `detail`."""

    def __init__(self, complaints: list[Complaint]) -> None:
        super().__init__("; ".join(f"{c['loc']}: {c['msg']}" for c in complaints))
        self.complaints = complaints


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A valid request: the parameters that were given, and the pictures as they came (base64 or URL)."""

    prompt: str
    params: Mapping[str, Any]
    pictures: tuple[str, ...]
    webhook_url: str | None
    webhook_secret: str | None


def read_body(model: Model, content_type: str, raw: bytes) -> Asked:
    """Return what a body asks of `model`.

    Raises:
        Invalid: with one complaint for each mistake.
    """
    given = _parsed(content_type, raw)
    complaints: list[Complaint] = []
    params: dict[str, Any] = {}
    for name, field in model.fields.items():
        if name not in given:
            if name == "prompt":
                complaints.append(_complaint(name, "missing", "Field required"))
            continue
        found = _check(field, given[name])
        if found is None:
            params[name] = given[name]
        else:
            complaints.append(found)
    pictures = _pictures(model, given, complaints)
    url = _webhook_url(given.get("webhook_url"), complaints)
    secret = given.get("webhook_secret")
    if secret is not None and not isinstance(secret, str):
        complaints.append(_wrong_type("webhook_secret", "string"))
    if complaints:
        raise Invalid(complaints)
    return Asked(prompt=params.pop("prompt"), params=params, pictures=pictures, webhook_url=url, webhook_secret=secret)


def _parsed(content_type: str, raw: bytes) -> dict[str, Any]:
    given: Any = None
    if content_type.partition(";")[0].strip().lower() == "application/json":
        try:
            given = json.loads(raw)
        except json.JSONDecodeError as error:
            raise Invalid([{"loc": ["body", error.pos], "msg": "JSON decode error", "type": "json_invalid"}]) from None
        except (UnicodeDecodeError, RecursionError):
            raise Invalid(
                [{"loc": ["body"], "msg": "There was an error parsing the body", "type": "json_invalid"}]
            ) from None
    if not isinstance(given, dict):
        text = "Input should be a valid dictionary or object to extract fields from"
        raise Invalid([{"loc": ["body"], "msg": text, "type": "model_attributes_type"}])
    return given


def _check(field: Field, value: Any) -> Complaint | None:
    if value is None:
        return None if field.nullable else _wrong_type(field.name, field.type)
    if not _is_a(field.type, value):
        return _wrong_type(field.name, field.type)
    if field.minimum is not None and value < field.minimum:
        text = f"Input should be greater than or equal to {field.minimum:g}"
        return _complaint(field.name, "greater_than_equal", text)
    if field.maximum is not None and value > field.maximum:
        text = f"Input should be less than or equal to {field.maximum:g}"
        return _complaint(field.name, "less_than_equal", text)
    if field.choices and value not in field.choices:
        *most, last = (f"'{choice}'" for choice in field.choices)
        return _complaint(field.name, "enum", f"Input should be {', '.join(most)} or {last}")
    if field.pattern and re.search(field.pattern, value) is None:
        text = f"String should match pattern '{field.pattern}'"
        return _complaint(field.name, "string_pattern_mismatch", text)
    if field.name == "aspect_ratio":
        try:
            ratio_of(value)
        except ValueError as error:
            return _complaint(field.name, "value_error", f"Value error, {error}")
    return None


def _is_a(type_: str, value: Any) -> bool:
    match type_:
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            return whole and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case _:
            return isinstance(value, str)


def _pictures(model: Model, given: Mapping[str, Any], complaints: list[Complaint]) -> tuple[str, ...]:
    found = []
    for position in range(model.inputs):
        name = model.input_field(position)
        value = given.get(name)
        if isinstance(value, str):
            found.append(value)
        elif value is not None:
            complaints.append(_wrong_type(name, "string"))
    return tuple(found)


def _webhook_url(value: Any, complaints: list[Complaint]) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        complaints.append(_complaint("webhook_url", "url_type", "URL input should be a string or URL"))
        return None
    if not value or len(value) > LONGEST_URL:
        text = f"String should have 1 to {LONGEST_URL} characters"
        complaints.append(_complaint("webhook_url", "url_parsing", text))
        return None
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        complaints.append(_complaint("webhook_url", "url_parsing", "Input should be a valid URL"))
        return None
    return value


def _wrong_type(name: str, type_: str) -> Complaint:
    kind, text = _TYPES[type_]
    return _complaint(name, kind, text)


def _complaint(name: str, kind: str, text: str) -> Complaint:
    return {"loc": ["body", name], "msg": text, "type": kind}
