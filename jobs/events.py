"""What can happen to a job. A step returns one of these; `jobs.states.apply` says what it makes of the job.

An event carries facts and relative waits, never a decision about the next state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from jobs.job import IN_DOUBT, PROVED_UNCHARGED, Failure, Job, Receipt, Result, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a job."""

    def change(self, job: Job, at: float) -> Mapping[str, Any]:
        """Return the fields of `job` that this event changes, its state apart, at time `at`."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun(Event):
    """Slot, money and fingerprint are claimed and the intent is written; the POST may go out."""

    fingerprint: str
    key_id: str
    looked_at: float = 0.0
    """When the bucket was asked for a filed result and had none."""
    flags: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()

    def change(self, job: Job, at: float) -> Mapping[str, Any]:
        return {
            "flags": self.flags,
            "inputs": self.inputs,
            "fingerprint": self.fingerprint,
            "key_id": self.key_id,
            "submitted_at": at,
            "sent": False,
            "reason": "",
            "detail": "",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted(Event):
    """The API took the submission: here is its receipt."""

    receipt: Receipt

    def change(self, job: Job, at: float) -> Mapping[str, Any]:
        known: dict[str, Any] = {
            "receipt": self.receipt,
            "sent": False,
            "held": False,
            "waits": 0,
            "not_before": 0.0,
            "reason": "",
            "detail": "",
        }
        if self.receipt.cost is not None:
            known |= {"cost": job.cost + self.receipt.cost, "cost_source": "receipt"}
        return known


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenBack(Event):
    """Not now: no slot, paused, throttled, key parked, shutting down. Nobody's fault; no attempt is spent.

    `wait` is in seconds; `why` is for the log.
    """

    wait: float
    why: str = ""

    def change(self, job: Job, at: float) -> Mapping[str, Any]:
        waits = job.waits + 1 if self.wait > 0 else job.waits
        return {"owner": "", "not_before": at + self.wait if self.wait > 0 else 0.0, "waits": waits}


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSubmitted(GivenBack):
    """It is proved that the API did not take the submission: back in the queue, unspent."""

    def change(self, job: Job, at: float) -> Mapping[str, Any]:
        return {**GivenBack.change(self, job, at), "sent": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFailed(Event):
    """A try that counts has failed; another one follows after `wait` seconds."""

    code: str
    detail: str
    wait: float
    cost: int | None = None

    def change(self, job: Job, at: float) -> Mapping[str, Any]:
        failure = Failure(attempt=job.attempt, code=self.code, detail=self.detail, at=at)
        return {
            "owner": "",
            "attempt": job.attempt + 1,
            "not_before": at + self.wait,
            "sent": False,
            "receipt": None,
            "renewed": False,
            "failures": (*job.failures, failure)[-10:],
            **_corrected(job, self.cost),
            "cost_source": "",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubted(Event):
    """The submission may or may not have been taken. `wait` seconds are given to a late answer."""

    detail: str
    wait: float

    def change(self, job: Job, at: float) -> Mapping[str, Any]:
        return {
            "owner": "",
            "not_before": at + self.wait,
            "doubts": job.doubts + 1,
            "reason": "in_doubt",
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Resubmitted(Event):
    """A doubt found no answer and is asked again: out of the allowance, because a person says so, or because it is
    `proved` that it was never charged."""

    proved: bool = False

    def change(self, job: Job, at: float) -> Mapping[str, Any]:
        code = PROVED_UNCHARGED if self.proved else IN_DOUBT
        failure = Failure(attempt=job.attempt, code=code, detail=job.detail, at=at)
        return {
            "attempt": job.attempt + 1,
            "not_before": 0.0,
            "sent": False,
            "held": False,
            "reason": "",
            "detail": "",
            "failures": (*job.failures, failure)[-10:],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Held(Event):
    """A doubt that the allowance cannot carry: it waits for the operator, its slot is free."""

    def change(self, job: Job, at: float) -> Mapping[str, Any]:
        return {"held": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready(Event):
    """The result can be fetched at `url` until `deadline` (epoch seconds)."""

    url: str
    deadline: float
    cost: int | None = None
    seed: int | None = None

    def change(self, job: Job, at: float) -> Mapping[str, Any]:
        return {
            "url": self.url,
            "deadline": self.deadline,
            "ready_at": at,
            "seed": self.seed,
            **_settled(job, self.cost, otherwise="reserve"),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class UrlExpired(Event):
    """The result's URL died before the bytes were safe, or the disk spoilt them; the task is polled once more."""

    def change(self, job: Job, at: float) -> Mapping[str, Any]:
        return {"url": "", "renewed": True, "spool": "", "detail": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept(Event):
    """The bytes are checked and safe on one worker's disk, named by `spool`; storage is away."""

    detail: str
    spool: str = ""

    def change(self, job: Job, at: float) -> Mapping[str, Any]:
        return {"owner": "", "not_before": 0.0, "waits": 0, "spool": self.spool, "detail": self.detail}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored(Event):
    """The API's bytes are filed and published."""

    result: Result
    flags: tuple[str, ...] = ()

    def change(self, job: Job, at: float) -> Mapping[str, Any]:
        flags = (*job.flags, *self.flags)
        return {"result": self.result, "flags": flags, "how": "bought", "detail": "", "stored_at": at, **_ended(at)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchanged(Event):
    """The result was filed before: published by a copy (`copied`) or already in its place (`kept`). Costs nothing."""

    result: Result
    fingerprint: str
    how: str
    inputs: tuple[str, ...] = ()

    def change(self, job: Job, at: float) -> Mapping[str, Any]:
        return {
            "result": self.result,
            "inputs": self.inputs,
            "fingerprint": self.fingerprint,
            "how": self.how,
            "stored_at": at,
            **_ended(at),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Moderated(Event):
    """The API's filter refused the request or withheld the result. Never asked again by itself."""

    code: str
    detail: str
    cost: int | None = None

    def change(self, job: Job, at: float) -> Mapping[str, Any]:
        return {"reason": self.code, "detail": self.detail, **_corrected(job, self.cost), **_ended(at)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Event):
    """The row did not make it, and no further try is made in this round.

    `cost` is what the API says it charged, if it said so; with `paid` an unknown cost counts as the reserve.
    """

    code: str
    detail: str
    cost: int | None = None
    paid: bool = False

    def change(self, job: Job, at: float) -> Mapping[str, Any]:
        settled = _corrected(job, self.cost, otherwise="reserve" if self.paid else "")
        return {"reason": self.code, "detail": self.detail, "held": False, **settled, **_ended(at)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled(Event):
    """The batch was cancelled before this job was submitted, or a person gave up a doubt, which stays the reason."""

    def change(self, job: Job, at: float) -> Mapping[str, Any]:
        doubted = job.state is State.IN_DOUBT
        known = {} if doubted else {"reason": "cancelled", "detail": ""}
        return {**known, "held": False, **_ended(at)}


def _settled(job: Job, reported: int | None, otherwise: str = "") -> Mapping[str, Any]:
    """Settle what a submission cost once it is ready: the receipt's word, else this body's, else the reserve."""
    if (job.receipt is not None and job.receipt.cost is not None) or job.renewed:
        return {}
    if reported is not None:
        return {"cost": job.cost + reported, "cost_source": "ready"}
    if otherwise == "reserve" and job.cost_source == "":
        return {"cost": job.cost + job.order.reserve, "cost_source": "reserve"}
    return {}


def _corrected(job: Job, reported: int | None, otherwise: str = "") -> Mapping[str, Any]:
    """Settle a submission that brought nothing: the last body knows better than the receipt what was charged."""
    if reported is None:
        return _settled(job, None, otherwise)
    from_receipt = job.receipt.cost if job.receipt is not None and job.receipt.cost is not None else 0
    return {"cost": job.cost - from_receipt + reported, "cost_source": "ready"}


def _ended(at: float) -> Mapping[str, Any]:
    return {"owner": "", "not_before": 0.0, "ended_at": at, "sent": False, "spool": ""}


def applied(event: Event, job: Job, at: float, **more: Any) -> Job:
    """Return `job` with the event's changes; only `jobs.states.apply` calls this."""
    return replace(job, **{**event.change(job, at), **more})
