"""The API's hosts: the main one, which takes POSTs, and the regions, which only answer polls of their tasks.

Dispatch is a dictionary look-up on purpose: under load the polls are most of the work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from jobs.models import Model
from simulator import answers, faults
from simulator.accounts import Account, KeyRefused
from simulator.admin import administer
from simulator.chance import draw, pick
from simulator.service import MAIN, Arrived, NoCredits, Service
from simulator.tasks import Status, Task
from simulator.validation import Asked, Invalid

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

CREDITS = "/v1/credits"
GET_RESULT = "/v1/get_result"


def main_host(service: Service) -> Handler:
    """Return the handler of the main port."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if path == GET_RESULT and request.method == "GET":
            return await _poll(service, request, MAIN)
        model = service.models.get(path)
        if model is not None and request.method == "POST":
            return await _submit(service, request, model)
        if path == CREDITS and request.method == "GET":
            return _credits(service, request)
        if path.startswith("/admin/"):
            return await administer(service, request)
        known = model is not None or path in (CREDITS, GET_RESULT)
        return answers.detail(405, "Method Not Allowed") if known else answers.detail(404, "Not Found")

    return handle


def region_host(service: Service, number: int) -> Handler:
    """Return the handler of a region's port."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.path != GET_RESULT:
            return answers.detail(404, "Not Found")
        if request.method != "GET":
            return answers.detail(405, "Method Not Allowed")
        return await _poll(service, request, number)

    return handle


def _credits(service: Service, request: web.BaseRequest) -> web.Response:
    if service.away:
        return answers.away(service.away)
    try:
        account = service.accounts.of(request.headers.get("x-key"))
    except KeyRefused as refused:
        return answers.detail(refused.status, refused.detail)
    return answers.json_answer({"credits": round(account.credits, 4)})


async def _submit(service: Service, request: web.BaseRequest, model: Model) -> web.StreamResponse:
    service.counts.begun += 1
    number = service.counts.begun
    fault = faults.chosen(service.faults, faults.POST, service.options.seed, number)
    if fault == "reset_before":
        service.counts.posts += 1
        service.counts.faults[fault] += 1
        return answers.reset(request)
    answers.invite(request)
    try:
        raw = await _body(service, request)
    except (ConnectionError, web.RequestPayloadError):
        return answers.reset(request)  # the client went away in the middle of its body
    service.counts.posts += 1
    answer = await _answer(service, request, model, number, raw, fault)
    if answer is None:
        return answers.reset(request)
    service.counts.answers[answer.status] += 1
    return answer


async def _body(service: Service, request: web.BaseRequest) -> bytes:
    """Return the body once it has arrived, which takes a time on a line of so many megabits a second."""
    mbit = service.options.upload_mbit
    now = asyncio.get_running_loop().time
    pieces = []
    free_at = now()
    while piece := await request.content.readany():
        pieces.append(piece)
        if mbit is not None:
            free_at = max(free_at, now()) + len(piece) * 8 / (mbit * 1e6)
            await asyncio.sleep(free_at - now())
        service.counts.received += len(piece)
    return b"".join(pieces)


async def _answer(
    service: Service, request: web.BaseRequest, model: Model, number: int, raw: bytes, fault: str | None
) -> web.Response | None:
    """Answer a POST whose body has arrived; None where the answer is to be lost."""
    now = service.clock()
    seed = service.options.seed
    if service.away:
        return answers.away(service.away)
    if fault == "refuse":
        service.counts.faults[fault] += 1
        if draw(seed, "refuse as", number) < 0.5:
            return answers.detail(500, "Internal Server Error")
        return answers.detail(503, answers.SERVICE_UNAVAILABLE)
    try:
        account = service.accounts.of(request.headers.get("x-key"))
    except KeyRefused as refused:
        return answers.detail(refused.status, refused.detail)
    if fault == "rate_limit":
        service.counts.faults[fault] += 1
        return answers.too_many(_form(service, number), now, answers.TOO_OFTEN)
    if not account.take(service.lineages[model.path], now, elsewhere=service.elsewhere):
        return answers.too_many(_form(service, number), now)
    accepted = await _accept(service, request, model, account, number, raw, now)
    if isinstance(accepted, web.Response):
        return accepted
    return await _receipt(service, *accepted, fault)


async def _accept(
    service: Service,
    request: web.BaseRequest,
    model: Model,
    account: Account,
    number: int,
    raw: bytes,
    now: float,
) -> tuple[Task, Asked] | web.Response:
    content_type = request.headers.get("Content-Type", "")
    post = Arrived(number=number, model=model, account=account, at=now, content_type=content_type, raw=raw)
    try:
        return await service.submit(post)
    except Invalid as invalid:
        refusal = answers.detail(422, invalid.complaints)
    except NoCredits:
        refusal = answers.detail(402, "Insufficient credits")
    account.give_back(service.lineages[model.path])
    return refusal


async def _receipt(service: Service, task: Task, asked: Asked, fault: str | None) -> web.Response | None:
    """Answer an accepted POST, or lose the answer."""
    number, seed = task.number, service.options.seed
    if fault is not None:
        service.counts.faults[fault] += 1
    if fault == "lose_answer":
        return None
    if fault == "five_xx_after":
        # Never a 503 in the API's own JSON: that one is how `refuse` says that nothing was accepted.
        status = pick((500, 502, 503, 504), seed, "five_xx", number)
        return answers.detail(500, "Internal Server Error") if status == 500 else answers.gateway_page(status)
    if fault == "slow_answer":
        await _wait(service, service.faults.slow_answer_s)
    body: dict[str, Any] = {"id": task.id}
    if asked.webhook_url is None:
        origins = service.addresses
        origin = origins.base_url if task.home == MAIN else origins.regions[task.home]
        body["polling_url"] = f"{origin}{GET_RESULT}?id={task.id}"
    else:
        body |= {"status": Status.PENDING.value, "webhook_url": asked.webhook_url}
    # The models of a fixed result size are the older ones, which name their cost only when they are Ready.
    echoed = task.model.output_pixels is None
    bill = task.bill
    body |= {
        "cost": bill.cost if echoed else None,
        "input_mp": bill.input_mp if echoed else None,
        "output_mp": bill.output_mp if echoed else None,
    }
    return answers.json_answer(body)


async def _poll(service: Service, request: web.BaseRequest, host: int) -> web.StreamResponse:
    service.counts.polls += 1
    name = request.query.get("id")
    if name is None:
        missing = {"loc": ["query", "id"], "msg": "Field required", "type": "missing"}
        return answers.detail(422, [missing])
    if service.away:
        return answers.away(service.away)
    task = service.tasks.get(name)
    if task is None or task.home != host:
        service.counts.wrong_host_polls += task is not None
        return answers.detail(404, Status.NOT_FOUND.value)
    task.polls += 1
    names = faults.POLL if task.polls == 1 else faults.LATER_POLL
    fault = faults.chosen(service.faults, names, service.options.seed, task.number, task.polls)
    if fault is not None:
        service.counts.faults[fault] += 1
        return await _broken_poll(service, request, task, fault)
    body = await service.poll(task)
    return answers.json_answer(body, _poll_status(service, task, body))


async def _broken_poll(service: Service, request: web.BaseRequest, task: Task, fault: str) -> web.StreamResponse:
    if fault == "hang_poll":
        await _wait(service, service.faults.hang_s)
        return answers.reset(request)
    if fault == "early_404":
        return answers.detail(404, Status.NOT_FOUND.value)
    status = pick((500, 502, 503), service.options.seed, "poll_5xx", task.number, task.polls)
    return answers.detail(500, "Internal Server Error") if status == 500 else answers.gateway_page(status)


def _poll_status(service: Service, task: Task, body: dict[str, Any]) -> int:
    """Return the HTTP status of a task's body: some errors come with another than 200."""
    if body["status"] != Status.ERROR.value:
        return 200
    fault = faults.chosen(service.faults, faults.BODY_AS, service.options.seed, task.number)
    return {"error_as_422": 422, "error_as_503": 503}.get(fault or "", 200)


def _form(service: Service, number: int) -> str:
    form = service.faults.retry_after
    if form == "any":
        return pick(("seconds", "date", "json", "none"), service.options.seed, "retry_after", number)
    return form


async def _wait(service: Service, seconds: float) -> None:
    """Wait, but not longer than the simulator runs."""
    try:
        await asyncio.wait_for(service.closing.wait(), seconds)
    except TimeoutError:
        return
