"""A job: one edit to be made, as a frozen value that changes only through `jobs.states.apply`.

`order` is what was asked and never changes; everything else is what has happened so far. Money is in whole
micro-dollars, time in seconds since the epoch by Redis's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Self
from urllib.parse import urlsplit

from jobs.accounts import MAIN
from jobs.bounds import name_of
from jobs.request import Request


class State(StrEnum):
    """Where a job stands; `jobs.states` says which way it can go."""

    QUEUED = "queued"
    SUBMITTING = "submitting"
    IN_DOUBT = "in_doubt"
    RUNNING = "running"
    READY = "ready"
    KEPT = "kept"
    STORED = "stored"
    UNCHANGED = "unchanged"
    MODERATED = "moderated"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL = frozenset({State.STORED, State.UNCHANGED, State.MODERATED, State.FAILED, State.CANCELLED})
"""States that end a job within its round."""

MADE_IT = frozenset({State.STORED, State.UNCHANGED})

IN_DOUBT, PROVED_UNCHARGED = "in_doubt", "proved_uncharged"
"""How an attempt that ended as a doubt is noted among the failures; none of the tries that count."""
NO_SUM = -1
"""A cost that was reported and is no sum of money: negative, not a number, no number at all."""

DOUBT = "doubt"
"""The source of a charge that nobody knows: the submission was in doubt, and was asked again or given up."""


def flat(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass with slots by their names. Unlike `asdict`, which takes ten times as long, it
    leaves what they hold as it is."""
    return {name: getattr(value, name) for name in value.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a row asks for: the part of a job that never changes.

    `output` is the key to publish to, with `{ext}` left open until the result's format is known; `reserve` is the
    most that one submission can cost by the catalogue, `expected` the likeliest (0: as much as the reserve).
    """

    batch: str
    row: int
    id: str
    group: str
    limit_group: str
    request: Request
    output: str
    reserve: int
    expected: int = 0
    template: str = ""
    """Which rule of a source profile the prompt is of, where there may be several."""

    @property
    def bound(self) -> str:
        """The group with which its end counts (`jobs.bounds`)."""
        return name_of(self.group, self.request.model, self.template)

    @property
    def estimate(self) -> int:
        """The likeliest cost of one submission."""
        return self.expected or self.reserve

    @property
    def job(self) -> str:
        """The job's id: the batch and the row's number."""
        return f"{self.batch}.{self.row}"

    def as_json(self) -> dict[str, Any]:
        """Return the JSON form; `from_json` reads it back."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"request": self.request.as_json()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Return the order that `as_json` wrote."""
        return cls(**{**data, "request": Request.from_json(data["request"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The API's answer to a submission: the task to poll, and what it costs (micro-dollars, NO_SUM) if it said so."""

    task_id: str
    polling_url: str
    cost: int | None = None
    input_mp: float | None = None
    output_mp: float | None = None

    @property
    def region(self) -> str:
        """The host that runs the task: tasks are regional."""
        return urlsplit(self.polling_url).hostname or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A filed result: its key, its bytes' sha256 and length, and what the picture is."""

    key: str
    sha256: str
    bytes: int
    format: str
    width: int
    height: int
    replaced_sha256: str = ""
    """sha256 of our own earlier object at the output key, where publishing replaced one."""
    etag: str = ""
    """The ETag under which it was seen at its output key, whole and ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One attempt that failed and counts."""

    attempt: int
    code: str
    detail: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What one submission cost (micro-dollars): it belongs to the day of its reserve and to the key it was sent with.

    `source` says who told it: `receipt`, `ready`, or nobody, so that the `estimate` or the `reserve` was taken. For
    `doubt` nothing is known: it may have cost `maybe`. `unsure`: the API may have charged another sum, because nobody
    told it, or told two, or the submission brought nothing and its last body named no cost.
    """

    attempt: int
    day: str
    key_id: str
    cost: int
    source: str
    maybe: int = 0
    unsure: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One edit and how far it has come. `attempt` rises with every counted failure, `fence` with every new owner.

    The fence begins with the time (ms) at which the ledger created the job: the next round has the row's job under the
    same id, and who still holds the one of this round must not be taken for its owner.
    """

    order: Order
    round: int = 1
    state: State = State.QUEUED
    attempt: int = 1
    fence: int = 0
    owner: str = ""
    intent: int = 0
    """The number of its last submission in the ledger's epoch; it grows with each that begins anywhere."""
    sent: bool = False
    """The last part of the body may have left: from here on the API may have charged."""
    not_before: float = 0.0
    """Nobody works on the job before this time."""
    waits: int = 0
    """How often in a row it was given back unspent; only the length of the next wait depends on it."""
    key_id: str = ""
    account: str = MAIN
    """Whose places its latest submission takes."""
    day: str = ""
    """The day on which the money of the latest submission was reserved, as the ledger's books name it."""
    fingerprint: str = ""
    inputs: tuple[str, ...] = ()
    """What each input was when it was read (`jobs.known.evidence`)."""
    receipt: Receipt | None = None
    url: str = ""
    deadline: float = 0.0
    """When the result's URL dies."""
    renewed: bool = False
    """The URL died once already and the task was polled again."""
    spool: str = ""
    """While the job is kept: the disk that its checked bytes lie on."""
    seed: int | None = None
    result: Result | None = None
    reason: str = ""
    detail: str = ""
    held: bool = False
    doubts: int = 0
    charges: tuple[Charge, ...] = ()
    """What submissions have cost, or may have."""
    flags: tuple[str, ...] = ()
    how: str = ""
    failures: tuple[Failure, ...] = ()
    queued_at: float = 0.0
    submitted_at: float = 0.0
    ready_at: float = 0.0
    stored_at: float = 0.0
    ended_at: float = 0.0

    @property
    def id(self) -> str:
        """The job's id."""
        return self.order.job

    @property
    def slot(self) -> str:
        """The member that stands for this attempt in the sets of slots."""
        return f"{self.id}:{self.attempt}"

    @property
    def cost(self) -> int:
        """What is known to have been spent on the job, over all its attempts."""
        return sum(charge.cost for charge in self.charges)

    @property
    def charge(self) -> Charge | None:
        """What this attempt's submission cost, as soon as that is known."""
        return next((c for c in self.charges if c.attempt == self.attempt and c.source != DOUBT), None)

    @property
    def cost_source(self) -> str:
        """Who told what this attempt's submission cost."""
        return self.charge.source if self.charge else ""

    @property
    def final(self) -> bool:
        """Whether the job has ended within its round."""
        return self.state in FINAL

    def live_json(self) -> dict[str, Any]:
        """Return all that changes, as JSON; `from_json` reads it back together with the order."""
        data = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _KEPT_APART}
        data["receipt"] = flat(self.receipt) if self.receipt else None
        data["result"] = flat(self.result) if self.result else None
        data["failures"] = [flat(failure) for failure in self.failures]
        data["charges"] = [flat(charge) for charge in self.charges]
        return data

    @classmethod
    def from_json(cls, order: Order, live: Mapping[str, Any], **apart: Any) -> Self:
        """Return the job that `live_json` wrote; `apart` are the fields that the ledger keeps by themselves."""
        data = dict(live)
        data["receipt"] = Receipt(**live["receipt"]) if live["receipt"] else None
        data["result"] = Result(**live["result"]) if live["result"] else None
        data["failures"] = tuple(Failure(**f) for f in live["failures"])
        data["charges"] = tuple(Charge(**c) for c in live["charges"])
        data["flags"] = tuple(live["flags"])
        data["inputs"] = tuple(live.get("inputs", ()))
        return cls(order=order, **data, **apart)

    def log_context(self) -> dict[str, Any]:
        """Return what a log line may say about the job: no prompt, no URL, no cell of the user's."""
        return {
            "job": self.id,
            "state": str(self.state),
            "attempt": self.attempt,
            "model": self.order.request.model,
            "task_id": self.receipt.task_id if self.receipt else None,
        }


_KEPT_APART = frozenset({"order", "state", "attempt", "fence", "owner", "intent", "sent", "not_before"})
"""Fields that the ledger's scripts read, so they are fields of the hash and not part of its JSON."""
