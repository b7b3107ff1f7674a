"""Step 2: from a receipt to a result's URL.

A poll that fails says nothing about the task: only a terminal status ends it, or the model's give-up time if the API
still answers then.
"""

from __future__ import annotations

from jobs.events import Event, Failed, GivenBack, Moderated, Ready
from jobs.job import Job
from workers.api import protocol
from workers.api.protocol import PollAnswer
from workers.desk import Desk

NOT_FOUND_GRACE_S = 60.0
"""A task is not given up as unknown before it is this old: hosts learn of a task late."""

SILENCE_S = 6 * 3600.0
"""A task of which nothing at all is heard is given up after this. It is paid for, and an outage ends some time."""

UNWATCHED_S = 5.0
"""A task that is older when the step begins was watched by somebody else before, or by nobody."""


def poll(job: Job, desk: Desk) -> Event:
    """Look at the task until it ends, and return how."""
    if job.receipt is None:
        return Failed(code="lost_at_api", detail="no receipt is recorded", paid=True)
    model = desk.model(job.order.request.model)
    missing_since = 0.0
    heard_at = desk.now()
    watched = 0.0 if desk.now() - job.submitted_at < UNWATCHED_S else None
    while True:
        if desk.sleep(desk.pace.wait(model, desk.now() - job.submitted_at)):
            return GivenBack(wait=0.0, why="shutting down")
        # The task's own key may be parked or gone; another one of the account may look, too.
        answer = desk.api.poll(job.receipt, desk.keys.to_poll(job.key_id, job.account))
        _tell_who_follows(answer, desk)
        at = desk.now()
        age = at - job.submitted_at
        heard_at = heard_at if isinstance(answer, protocol.NoAnswer) else at
        if (end := _end(job, answer, desk)) is not None:
            if isinstance(end, Ready) and watched is not None:  # else it may have been ready long before
                desk.pace.saw(model, watched, age)
            return end
        watched = age if isinstance(answer, protocol.StillRunning) else None
        if isinstance(answer, protocol.TaskNotFound):
            missing_since = missing_since or at
            if age > NOT_FOUND_GRACE_S and at - missing_since > NOT_FOUND_GRACE_S / 2:
                return _lost(job, "the API does not know the task any more")
        elif not (isinstance(answer, protocol.NoAnswer) and answer.after):
            missing_since = 0.0
        if heard_at == at and age > model.give_up_s:
            return _lost(job, f"no end in {model.give_up_s / 60:.0f} minutes")
        if at - heard_at > SILENCE_S:
            return _lost(job, f"no answer in {SILENCE_S / 3600:.0f} hours")
        if isinstance(answer, protocol.NoAnswer) and answer.after:
            desk.sleep(answer.after)


def _tell_who_follows(answer: PollAnswer, desk: Desk) -> None:
    if isinstance(answer, protocol.NoAnswer) and answer.after is None:
        desk.away.failed("api", answer.detail)
    else:
        desk.away.answered("api")


def _end(job: Job, answer: PollAnswer, desk: Desk) -> Event | None:
    """Return what a terminal status makes of the job, None for any other answer."""
    match answer:
        case protocol.ResultReady():
            return Ready(url=answer.url, deadline=answer.deadline, cost=answer.cost, seed=answer.seed)
        case protocol.WasModerated():
            return Moderated(code=answer.code, detail=answer.detail, cost=answer.cost)
        case protocol.TaskFailed(for_good=True):
            return Failed(code="image_rejected", detail=answer.detail, cost=answer.cost)
        case protocol.TaskFailed():
            return desk.after_failure(job, "api_error", answer.detail, cost=answer.cost)
        case _:
            return None


def _lost(job: Job, detail: str) -> Event:
    """A result whose URL had died was ready once, so it is not the task that is lost."""
    code = "paid_not_delivered" if job.renewed else "lost_at_api"
    return Failed(code=code, detail=detail, paid=True)
