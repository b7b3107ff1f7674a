"""Step 2: from a receipt to a result's URL.

A poll that fails says nothing about the task: only a terminal status ends it, or the model's give-up time.
"""

from __future__ import annotations

from jobs.events import Event, Failed, GivenBack, Moderated, Ready
from jobs.job import Job
from jobs.retry import after_failure
from workers.api import protocol
from workers.desk import Desk

NOT_FOUND_GRACE_S = 60.0
"""A task is not given up as unknown before it is this old: hosts learn of a task late."""


def poll(job: Job, desk: Desk) -> Event:
    """Look at the task until it ends, and return how."""
    if job.receipt is None:
        return Failed(code="lost_at_api", detail="no receipt is recorded", paid=True)
    model = desk.model(job.order.request.model)
    missing_since = 0.0
    while True:
        age = desk.now() - job.submitted_at
        if desk.sleep(desk.pace.wait(model.name, age)):
            return GivenBack(wait=0.0, why="shutting down")
        answer = desk.api.poll(job.receipt.polling_url, desk.keys.of(job.key_id))
        at = desk.now()
        match answer:
            case protocol.ResultReady():
                desk.pace.saw(model.name, at - job.submitted_at)
                return Ready(url=answer.url, deadline=answer.deadline, cost=answer.cost, seed=answer.seed)
            case protocol.WasModerated():
                return Moderated(code=answer.code, detail=answer.detail, cost=answer.cost)
            case protocol.TaskFailed(for_good=True):
                return Failed(code="image_rejected", detail=answer.detail, cost=answer.cost)
            case protocol.TaskFailed():
                return after_failure(job, "api_error", answer.detail, cost=answer.cost)
            case protocol.TaskNotFound():
                missing_since = missing_since or at
                old = at - job.submitted_at > NOT_FOUND_GRACE_S
                if old and at - missing_since > NOT_FOUND_GRACE_S / 2:
                    return Failed(code="lost_at_api", detail="the API does not know the task any more", paid=True)
            case protocol.NoAnswer(after=after) if after:
                desk.sleep(after)
            case _:
                missing_since = 0.0
        if at - job.submitted_at > model.give_up_s:
            return Failed(code="lost_at_api", detail=f"no answer in {model.give_up_s / 60:.0f} minutes", paid=True)
