"""The faults that the simulator can inject, each with a probability, chosen by seed and place.

Only the first fault that hits is injected into a POST, a poll or a download, in the order of the fields here,
so with `reset_before=1` nothing later is ever seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from simulator.chance import draw

POST = ("reset_before", "refuse", "rate_limit", "five_xx_after", "lose_answer", "slow_answer")
LATER_POLL = ("hang_poll", "poll_5xx")
POLL = ("early_404", *LATER_POLL)
DOWNLOAD = ("fail_download", "refuse_download", "cut_download")
TASK = ("moderate_request", "moderate_content", "fail_task", "hang_task")
BODY_AS = ("error_as_422", "error_as_503")
PROBABILITIES = (*POST, *POLL, *DOWNLOAD, *TASK, *BODY_AS)

RETRY_AFTER_FORMS = ("seconds", "date", "json", "none", "any")


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """Probabilities (0 to 1) by name, and the few figures that go with them.

    Raises:
        ValueError: a probability outside 0..1, a negative time or an unknown form of Retry-After.
    """

    reset_before: float = 0.0
    """The connection is reset before the body is read: nothing is accepted."""
    refuse: float = 0.0
    """A 500, or a 503 in the API's own JSON: nothing is accepted."""
    rate_limit: float = 0.0
    """A 429 for too many requests in a time, although there is a place."""
    five_xx_after: float = 0.0
    """Accepted and charged, then a 500 or a gateway's page: the client cannot know."""
    lose_answer: float = 0.0
    """Accepted and charged, then the connection is reset without a byte of an answer."""
    slow_answer: float = 0.0
    """Accepted and charged; the answer comes `slow_answer_s` later."""
    early_404: float = 0.0
    """The first poll of a task finds no task yet."""
    hang_poll: float = 0.0
    """A poll is held for `hang_s`, then reset."""
    poll_5xx: float = 0.0
    """A poll answers 500, 502 or 503 without a task body."""
    fail_download: float = 0.0
    """A download answers 500."""
    refuse_download: float = 0.0
    """A download answers 403, as if its URL had expired."""
    cut_download: float = 0.0
    """A download ends by a reset after half of its bytes."""
    moderate_request: float = 0.0
    moderate_content: float = 0.0
    fail_task: float = 0.0
    """A task ends in Error."""
    hang_task: float = 0.0
    """A task never ends."""
    error_as_422: float = 0.0
    """The body of an ended-in-Error task comes with HTTP 422."""
    error_as_503: float = 0.0
    """The same with HTTP 503."""
    slow_answer_s: float = 5.0
    hang_s: float = 30.0
    retry_after: str = "seconds"
    """How a 429 says when to come back: seconds, date, json, none, or any (seeded)."""

    def __post_init__(self) -> None:
        for name in PROBABILITIES:
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"the fault {name} is a probability: give a number from 0 to 1")
        if self.slow_answer_s < 0 or self.hang_s < 0:
            raise ValueError("slow_answer_s and hang_s are seconds: give 0 or more")
        if self.retry_after not in RETRY_AFTER_FORMS:
            raise ValueError(f"retry_after is one of {', '.join(RETRY_AFTER_FORMS)}")


FIGURES = tuple(field.name for field in fields(Faults))


def chosen(faults: Faults, names: tuple[str, ...], seed: int, *place: str | int) -> str | None:
    """Return the first of `names` that hits at `place`, or None."""
    for name in names:
        probability = getattr(faults, name)
        if probability and draw(seed, name, *place) < probability:
            return name
    return None


def changed(faults: Faults, figures: Mapping[str, Any]) -> Faults:
    """Return `faults` with some figures replaced.

    Raises:
        ValueError: a name that does not exist, or a value that does not suit it.
    """
    unknown = sorted(set(figures) - set(FIGURES))
    if unknown:
        raise ValueError(f"no fault is called {', '.join(unknown)}: the names are {', '.join(FIGURES)}")
    for name, value in figures.items():
        wanted = (str,) if name == "retry_after" else (int, float)
        if not isinstance(value, wanted) or isinstance(value, bool):
            raise ValueError(f"{name} is given as {type(value).__name__}: give a {wanted[-1].__name__}")  # noqa: TRY004
    return replace(faults, **dict(figures))
