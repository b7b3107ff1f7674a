"""A task of the stand-in API: what was asked, when it will end and as what.

All of that is settled when the task is accepted; a poll only looks at the clock, so it costs next to nothing
and a task that nobody polls ends all the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from jobs.models import Model
from simulator.accounts import Account
from simulator.chance import draw, normal, pick
from simulator.faults import TASK, Faults, chosen
from simulator.options import Options
from simulator.sizes import Bill, Size

UNREADABLE = "Invalid or corrupted image input"
"""What the API says of a picture it cannot read (recorded)."""

REASONS = ("Derivative Works Filter", "Sexual Content", "Violence")
"""Moderation reasons that have been recorded."""

SLOW = 5.0
"""How many times longer a `[[slow]]` task takes."""

P999 = 3.09
"""Standard deviations from the median to the 99.9th percentile."""


class Status(StrEnum):
    """The eight statuses of a task, as the API spells them."""

    NOT_FOUND = "Task not found"
    PENDING = "Pending"
    REASONING = "Reasoning"
    GENERATING = "Generating"
    REQUEST_MODERATED = "Request Moderated"
    CONTENT_MODERATED = "Content Moderated"
    READY = "Ready"
    ERROR = "Error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a task will end: None is never. `share` is the part of its latency that it takes to get there."""

    status: Status | None
    details: Mapping[str, Any] | None = None
    share: float = 1.0


READY = Ending(status=Status.READY)


def unreadable(message: str = UNREADABLE) -> Ending:
    """Return the ending of a task whose picture cannot be used."""
    return Ending(status=Status.ERROR, details={"error": message}, share=0.2)


def ending(prompt: str, faults: Faults, seed: int, number: int) -> Ending:
    """Return how the `number`-th POST ends: by the marks in its prompt, else by chance, else Ready."""
    fault = chosen(faults, TASK, seed, number)
    if "[[hang]]" in prompt or fault == "hang_task":
        return Ending(status=None)
    reasons = {"Moderation Reasons": [pick(REASONS, seed, "reason", number)]}
    if "[[request-moderated]]" in prompt or fault == "moderate_request":
        return Ending(status=Status.REQUEST_MODERATED, details=reasons, share=0.1)
    if "[[content-moderated]]" in prompt or fault == "moderate_content":
        return Ending(status=Status.CONTENT_MODERATED, details=reasons)
    if "[[error]]" in prompt or fault == "fail_task":
        return Ending(status=Status.ERROR, details={"error": "Generation failed"}, share=0.5)
    return READY


def latency(model: Model, options: Options, number: int) -> float:
    """Return how many seconds the `number`-th POST takes: around the median as the options say, over `speed`."""
    median = model.latency.median_s if options.latency is None else options.latency
    spread = options.spread
    if spread is None:
        tail = math.log(model.latency.p999_s / model.latency.median_s) / P999
        spread = tail if options.latency is None else 0.0
    if options.even:
        drawn = 1 + spread * (2 * draw(options.seed, "latency", number) - 1)
    else:
        drawn = math.exp(spread * normal(options.seed, "latency", number)) if spread else 1.0
    return median * drawn / options.speed


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """When a task moves on, in Unix seconds; `reasoning_at` equals `generating_at` where it does not reason."""

    accepted_at: float
    reasoning_at: float
    generating_at: float
    ends_at: float

    def status(self, now: float) -> Status:
        """Return the status before the end."""
        if now >= self.generating_at:
            return Status.GENERATING
        return Status.REASONING if now >= self.reasoning_at else Status.PENDING

    def progress(self, now: float) -> float | None:
        """Return how far the picture is (0 to 1), None before it is begun."""
        if now < self.generating_at:
            return None
        if math.isinf(self.ends_at):
            return 0.5
        return round((now - self.generating_at) / (self.ends_at - self.generating_at), 2)


def timeline(at: float, length: float, end: Ending, seed: int, number: int) -> Timeline:
    """Return the way of a task accepted at `at` that would take `length` seconds to be Ready."""
    reasoning = at + length * (0.05 + 0.2 * draw(seed, "pending", number))
    reasons = draw(seed, "reasons", number) < 0.5
    return Timeline(
        accepted_at=at,
        reasoning_at=reasoning,
        generating_at=reasoning + (length * 0.2 if reasons else 0.0),
        ends_at=math.inf if end.status is None else at + length * end.share,
    )


@dataclass(slots=True, kw_only=True)
class Task:
    """One accepted POST. Only its ending (a picture that turns out broken) and its counts ever change."""

    number: int
    id: str
    account: Account
    model: Model
    prompt: str
    result_prompt: str
    result_seed: int
    content: str
    """sha256 of model, prompt, parameters and input bytes: equal for two POSTs that ask for the same edit."""
    format: str
    size: Size
    inputs: tuple[Path, ...]
    timeline: Timeline
    ending: Ending
    bill: Bill
    charged: float
    home: int
    """Which host knows the task: the index of a region, or -1 for the main one."""
    retention: float
    result_sha256: str | None = None
    downloads: int = 0
    """Downloads that were answered whole."""
    download_attempts: int = 0
    polls: int = 0
    told_ready_at: float | None = None
    """When a poll was first answered with the result's URL."""
    downloaded_at: float | None = None
    """When the result was first answered whole."""
    sample: str | None = None

    @property
    def gone_at(self) -> float:
        """When nobody finds the task any more; one that never ends is forgotten as long after its start."""
        ends_at = self.timeline.ends_at
        return (self.timeline.accepted_at if math.isinf(ends_at) else ends_at) + self.retention

    def status(self, now: float) -> Status:
        """Return the status at `now`."""
        if now >= self.gone_at:
            return Status.NOT_FOUND
        if now >= self.timeline.ends_at and self.ending.status is not None:
            return self.ending.status
        return self.timeline.status(now)

    def body(self, now: float, sample: str | None) -> dict[str, Any]:
        """Return what a poll at `now` is answered; `sample` is the result's URL, for a Ready task.

        `cost` is newer than the spec: it is sent with every terminal status, as what was really charged.
        """
        status = self.status(now)
        body: dict[str, Any] = {
            "id": self.id,
            "status": status.value,
            "result": None,
            "progress": None,
            "details": None,
            "preview": None,
        }
        if status is Status.NOT_FOUND:
            return body
        if now < self.timeline.ends_at:
            body["progress"] = self.timeline.progress(now)
            return body
        body["details"] = self.ending.details
        body["cost"] = self.charged
        if status is Status.READY:
            start, end = self.timeline.accepted_at, self.timeline.ends_at
            body["result"] = {
                "sample": sample,
                "prompt": self.result_prompt,
                "seed": self.result_seed,
                "start_time": start,
                "end_time": end,
                "duration": round(end - start, 6),
            }
        return body
