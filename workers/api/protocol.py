"""What is said to the API and what its answers mean, without any I/O.

Whether a submission was refused, accepted or neither is decided here and nowhere else. Everything that cannot be
proved to be a refusal is unknown: an edit costs money and the API has no idempotency key.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jobs.job import NO_SUM, Receipt
from jobs.models import MICROS_PER_CREDIT, Model
from jobs.request import Request

URL_LIFE_S = 600.0
"""How long a result's URL lives where it does not say so itself (docs: 10 minutes)."""

LONGEST_URL_LIFE_S = 3600.0
"""A URL that promises more is not relied on for longer (docs: 1 hour is the longest of any model)."""

LONGEST_WAIT_S = 300.0
"""A wish to wait is met up to here; a longer one is asked again after it."""

_PASSING = frozenset({408, 409})
"""Refusals that a setting may add, and that say nothing about the request."""

MOST_CREDITS = 1e8
"""More than any ceiling: a cost beyond counts as this ($1,000,000), so that sums stay exact."""

_OF_TASKS = re.compile(r"active|concurren|in.flight|in.progress|\btasks?\b", re.IGNORECASE)
_OF_RATE = re.compile(r"\bper.(second|minute|hour|day)|rate.?limit|too.(often|fast)", re.IGNORECASE)

_KEY_FORMAT = "Invalid API key format"

# -- asking


def build(model: Model, request: Request, pictures: Sequence[bytes | str]) -> bytes:
    """Return the JSON body of a submission.

    Args:
        model: the endpoint's model.
        request: the edit; only the fields that it names are sent.
        pictures: for each input, its base64 as bytes (bare: the API takes no `data:` URI) or, under `pass_urls`, its
            URL as text.
    """
    pieces = [_dumped({"prompt": request.prompt, **request.params})[:-1]]
    for position, picture in enumerate(pictures):
        # base64 needs no escaping, and to look for what does was most of what a body cost
        value = b'"%b"' % picture if isinstance(picture, bytes) else _dumped(picture)
        pieces += (b",", _dumped(model.input_field(position)), b":", value)
    return b"".join((*pieces, b"}"))


def _dumped(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


# -- answers to a submission


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The task exists; it will be charged."""

    receipt: Receipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttled:
    """Refused: too many tasks in flight, or too many requests in a time (`rate`).

    `after` is how many seconds the API asks for, if it does.
    """

    after: float | None
    rate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRefused:
    """Refused: the key is wrong, locked, or out of credits. The row has nothing to do with it."""

    status: int
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedForGood:
    """Refused: the same request would be refused again."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedForNow:
    """Refused: the API says itself that it cannot, for now."""

    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """It cannot be proved whether the API took the submission."""

    detail: str


SubmitAnswer = Accepted | Throttled | KeyRefused | RefusedForGood | RefusedForNow | Unknown


def decipher_submit(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    base_url: str,
    at: float,
    refused: Collection[int],
) -> SubmitAnswer:
    """Return what the answer to a submission means.

    Args:
        status: HTTP status.
        headers: of the answer.
        body: of the answer.
        base_url: the API's origin, to which a relative polling URL belongs.
        at: epoch seconds, for a Retry-After given as a date.
        refused: the statuses that are taken as proof that nothing was bought.
    """
    data = _json(body)
    if 200 <= status < 300:
        receipt = _receipt(data, base_url)
        return Accepted(receipt=receipt) if receipt else Unknown(detail=f"HTTP {status} with an unreadable body")
    detail = _detail(data) or f"HTTP {status}"
    if status == 503 and isinstance(data, dict) and "detail" in data:
        return RefusedForNow(detail=detail)
    if status not in refused:
        return Unknown(detail=f"HTTP {status}")
    if status == 429:
        return Throttled(after=retry_after(headers, data, at), rate=_about_rate(detail))
    if status in (401, 402, 403) or (status == 422 and detail == _KEY_FORMAT):
        return KeyRefused(status=status, detail=detail)
    if status >= 500 or status in _PASSING:
        return RefusedForNow(detail=detail)
    return RefusedForGood(detail=detail)


# -- answers to the question for credits


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyWorks:
    """The API takes the key. `micros` is what its account has left (micro-dollars), if it says so."""

    micros: int | None


def decipher_credits(status: int, body: bytes) -> KeyWorks | KeyRefused | None:
    """Return what the answer says of the key; None where it says nothing."""
    data = _json(body)
    if status == 200 and isinstance(data, dict):
        number = _number(data.get("credits"))
        left = None if number is None else _number(number * MICROS_PER_CREDIT)
        return KeyWorks(micros=None if left is None else round(left))
    if status in (401, 402, 403, 422):
        return KeyRefused(status=status, detail=_detail(data) or f"HTTP {status}")
    return None


# -- answers to a poll


@dataclass(frozen=True, slots=True, kw_only=True)
class StillRunning:
    """No terminal status yet. A status that is not known counts as this: the API's list grows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskNotFound:
    """This host does not know the task: not yet, or not any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultReady:
    """The result can be fetched."""

    url: str
    deadline: float
    cost: int | None
    seed: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WasModerated:
    """The API's filter spoke: on the request (before the work) or on the result (after it)."""

    code: str
    detail: str
    cost: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFailed:
    """The API could not do it. `for_good`: it could not read the picture, and will not the next time."""

    detail: str
    for_good: bool
    cost: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAnswer:
    """The poll itself failed; the task goes on. `after`: how long the API asks to be left alone."""

    detail: str
    after: float | None = None


NOT_OURS = NoAnswer(detail="the answer is about another task")
"""What came is the answer to somebody else's question, so its connection is not to be trusted any more."""

PollAnswer = StillRunning | TaskNotFound | ResultReady | WasModerated | TaskFailed | NoAnswer


def decipher_poll(status: int, headers: Mapping[str, str], body: bytes, *, task: str, at: float) -> PollAnswer:
    """Return what the answer to a poll of a task means.

    The body is read first: a failed task can come as 422 or 503. One that names another task is no answer, or that
    task's result would be filed as this one's; one that names none is believed.
    """
    data = _json(body)
    word = data.get("status") or data.get("state") if isinstance(data, dict) else None
    if isinstance(data, dict) and isinstance(word, str):
        named = data.get("id")
        return NOT_OURS if isinstance(named, str) and named not in ("", task) else _task(word, data, at)
    if status == 429:
        return NoAnswer(detail="HTTP 429", after=retry_after(headers, data, at))
    if status == 404:
        return TaskNotFound()
    return NoAnswer(detail=f"HTTP {status}")


def _task(word: str, data: Mapping[str, Any], at: float) -> PollAnswer:
    cost = _micros(data.get("cost"))
    details = _words(data.get("details"))
    match word:
        case "Ready":
            result = data.get("result")
            url = result.get("sample") if isinstance(result, dict) else None
            if not isinstance(result, dict) or not isinstance(url, str):
                return NoAnswer(detail="Ready without a result")
            seed = result.get("seed")
            return ResultReady(
                url=url, deadline=url_deadline(url, at), cost=cost, seed=seed if isinstance(seed, int) else None
            )
        case "Request Moderated":
            return WasModerated(code="request_moderated", detail=details, cost=cost)
        case "Content Moderated":
            return WasModerated(code="result_moderated", detail=details, cost=cost)
        case "Error" | "Failed":
            return TaskFailed(detail=details or word, for_good="image input" in details.lower(), cost=cost)
        case "Task not found":
            return TaskNotFound()
        case _:
            return StillRunning()


def url_deadline(url: str, at: float) -> float:
    """Return when a signed URL dies (epoch seconds): its `se=` as Azure writes it, else 10 minutes from `at`."""
    try:
        said = parse_qs(urlsplit(url).query).get("se", [""])[0]
        moment = datetime.fromisoformat(said)
    except ValueError:
        return at + URL_LIFE_S
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(moment.timestamp(), at + LONGEST_URL_LIFE_S)


def retry_after(headers: Mapping[str, str], data: object, at: float) -> float | None:
    """Return how many seconds the API asks to wait: header in seconds or as a date, or `retry_after` in the body.

    What is not a sane wait (negative, not a number, over an hour) is None; a sane one is met up to 5 minutes.
    """
    said: object = next((value for name, value in headers.items() if name.lower() == "retry-after"), None)
    if said is None and isinstance(data, dict):
        said = data.get("retry_after")
        if said is None and isinstance(data.get("detail"), dict):
            said = data["detail"].get("retry_after")
    seconds = _seconds(said, at)
    if seconds is None or not math.isfinite(seconds) or not 0 <= seconds <= 3600:
        return None
    return min(seconds, LONGEST_WAIT_S)


def _seconds(said: object, at: float) -> float | None:
    if said is None or isinstance(said, bool | int | float):
        return _number(said)
    text = str(said).strip()
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(text).timestamp() - at, 0.0)
    except (ValueError, TypeError, OverflowError):
        return None


def _about_rate(detail: str) -> bool:
    """Whether a 429 is plainly about requests in a time. The API documents none but for tasks in flight, and what is
    said to be its body calls too many concurrent requests a `rate_limit_exceeded`."""
    return bool(_OF_RATE.search(detail)) and not _OF_TASKS.search(detail)


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _receipt(data: object, base_url: str) -> Receipt | None:
    if not isinstance(data, dict) or not isinstance(data.get("id"), str) or not data["id"]:
        return None
    url = data.get("polling_url")
    return Receipt(
        task_id=data["id"],
        polling_url=url if isinstance(url, str) and url else f"{base_url}/v1/get_result?id={data['id']}",
        cost=_micros(data.get("cost")),
        input_mp=_number(data.get("input_mp")),
        output_mp=_number(data.get("output_mp")),
    )


def _micros(credits_: object) -> int | None:
    """Credits to micro-dollars; NO_SUM for a cost that is none (negative, not a number), None where none was told."""
    if credits_ is None:
        return None
    number = _number(credits_)
    return NO_SUM if number is None or number < 0 else round(min(number, MOST_CREDITS) * MICROS_PER_CREDIT)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # JSON sets no bounds to an integer
        return None
    return number if math.isfinite(number) else None


def _detail(data: object) -> str:
    """Return what the API says is wrong, on one line and without what we sent (FastAPI repeats the input)."""
    if not isinstance(data, dict):
        return ""
    said = data.get("detail", data.get("message", data.get("error")))
    if isinstance(said, list):
        parts = [f"{_place(item.get('loc'))}: {item.get('msg', '')}" for item in said if isinstance(item, dict)]
        said = "; ".join(parts)
    return _short(said if isinstance(said, str) else "")


def _place(loc: object) -> str:
    return ".".join(str(part) for part in loc[1:]) if isinstance(loc, list) else ""


def _words(details: object) -> str:
    """Return a task's `details` as a short line: reasons of the filter, or the error."""
    if isinstance(details, str):
        return _short(details)
    if not isinstance(details, dict):
        return ""
    reasons = details.get("Moderation Reasons")
    if isinstance(reasons, list):
        return _short(", ".join(str(reason) for reason in reasons))
    error = details.get("error")
    return _short(str(error)) if error else ""


def _short(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f]+", " ", text).strip()[:300]
