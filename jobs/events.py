"""What can happen to a job. A step returns one of these; `jobs.states.apply` says what it makes of the job.

An event carries facts and relative waits, never a decision about the next state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from jobs.accounts import MAIN
from jobs.job import DOUBT, IN_DOUBT, NO_SUM, PROVED_UNCHARGED, Charge, Failure, Job, Receipt, Result, State


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
    account: str = MAIN
    """Whose places it takes: the key's."""
    simulated: bool = False
    day: str = ""
    """The day whose money is taken, as the ledger names it; the gate fills it in."""
    looked_at: float = 0.0
    """When the bucket was asked for a filed result and had none."""
    flags: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()

    def change(self, job: Job, at: float) -> Mapping[str, Any]:
        return {
            "flags": (*(flag for flag in job.flags if flag == NOT_BELIEVED), *self.flags),
            "inputs": self.inputs,
            "fingerprint": self.fingerprint,
            "key_id": self.key_id,
            "account": self.account,
            "day": self.day,
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
        if job.state is State.QUEUED:  # the doubt that was asked again has found its answer
            job = replace(job, charges=_without_last_doubt(job.charges))
            known["charges"] = job.charges
        return {**known, **(_charged(job, self.receipt.cost, "receipt") if self.receipt.cost is not None else {})}


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
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubted(Event):
    """The submission may or may not have been taken. `wait` seconds are given to a late answer.

    `begun_at` says when it was begun (epoch seconds) where that is an earlier one than the ledger knows of.
    """

    detail: str
    wait: float
    begun_at: float | None = None

    def change(self, job: Job, at: float) -> Mapping[str, Any]:
        return {
            "owner": "",
            "submitted_at": job.submitted_at if self.begun_at is None else self.begun_at,
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
            **({} if self.proved else _given_up(job)),
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
        if job.state is State.IN_DOUBT and not self.paid:
            settled = _given_up(job)
        return {"reason": self.code, "detail": self.detail, "held": False, **settled, **_ended(at)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled(Event):
    """The batch was cancelled before this job was submitted, or a person gave up a doubt, which stays the reason."""

    def change(self, job: Job, at: float) -> Mapping[str, Any]:
        doubted = job.state is State.IN_DOUBT
        known = _given_up(job) if doubted else {"reason": "cancelled", "detail": ""}
        return {**known, "held": False, **_ended(at)}


NOT_BELIEVED = "cost_not_believed"
BELIEVED_TIMES = 10
"""A reported cost over so many times the estimate is counted in full and flagged."""


def cost_of(job: Job, reported: int | None) -> tuple[int, str]:
    """Return what a submission counts as (micro-dollars) and who said so: "" stands for whoever reported it.

    What was not reported counts as the reserve, what is no sum of money as the estimate.
    """
    if reported is None:
        return job.order.reserve, "reserve"
    return (job.order.estimate, "estimate") if reported == NO_SUM else (reported, "")


def _charged(job: Job, reported: int | None, source: str) -> Mapping[str, Any]:
    """Write down what this attempt's submission cost, in the place of what was written down before."""
    cost, guessed = cost_of(job, reported)
    charge = Charge(
        attempt=job.attempt,
        day=job.day,
        key_id=job.key_id,
        cost=cost,
        source=guessed or source,
        unsure=bool(guessed),
    )
    changed: dict[str, Any] = {"charges": (*(c for c in job.charges if c is not job.charge), charge)}
    if (reported == NO_SUM or cost > BELIEVED_TIMES * job.order.estimate) and NOT_BELIEVED not in job.flags:
        changed["flags"] = (*job.flags, NOT_BELIEVED)
    return changed


def _settled(job: Job, reported: int | None, otherwise: str = "") -> Mapping[str, Any]:
    """Settle what a submission cost once it is ready: the receipt's word, else this body's, else the reserve."""
    if job.charge is not None:
        return {} if reported in (None, job.charge.cost) else _questioned(job)
    return _charged(job, reported, "ready") if reported is not None or otherwise == "reserve" else {}


def _corrected(job: Job, reported: int | None, otherwise: str = "") -> Mapping[str, Any]:
    """Settle a submission that brought nothing: the last body knows better than the receipt what was charged."""
    if reported is None or (reported == NO_SUM and job.charge is not None):
        return _questioned(job) or _settled(job, reported, otherwise)
    return _charged(job, reported, "ready")


def _questioned(job: Job) -> Mapping[str, Any]:
    """Note that what this attempt's submission counts as need not be what the API charged."""
    if job.charge is None or job.charge.unsure:
        return {}
    return {"charges": tuple(replace(c, unsure=True) if c is job.charge else c for c in job.charges)}


def held_doubt(job: Job) -> tuple[Charge, ...]:
    """Return what a doubt that is held may have cost, as a charge of its own."""
    return (_doubt(job),) if job.held else ()


def _doubt(job: Job) -> Charge:
    return Charge(attempt=job.attempt, day=job.day, key_id=job.key_id, cost=0, source=DOUBT, maybe=job.order.reserve)


def _given_up(job: Job) -> Mapping[str, Any]:
    """Write down that a submission in doubt will not be known to have cost anything, but may have."""
    return {"charges": (*job.charges, _doubt(job))}


def _without_last_doubt(charges: tuple[Charge, ...]) -> tuple[Charge, ...]:
    last = max((place for place, charge in enumerate(charges) if charge.source == DOUBT), default=None)
    return charges if last is None else charges[:last] + charges[last + 1 :]


def _ended(at: float) -> Mapping[str, Any]:
    return {"owner": "", "not_before": 0.0, "ended_at": at, "sent": False, "spool": ""}


def applied(event: Event, job: Job, at: float, **more: Any) -> Job:
    """Return `job` with the event's changes; only `jobs.states.apply` calls this."""
    return replace(job, **{**event.change(job, at), **more})
