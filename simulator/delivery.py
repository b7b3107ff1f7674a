"""The delivery host: signed result URLs, read once or often until they expire.

It knows no keys. A request that carries one is served, and counted as a leak.
"""

from __future__ import annotations

from aiohttp import web

from simulator import answers, faults
from simulator.inputs import InputError
from simulator.routes import Handler
from simulator.service import Service
from simulator.signing import refusal_xml
from simulator.tasks import Status, Task

PREFIX = "/results/"


def delivery_host(service: Service) -> Handler:
    """Return the handler of the delivery port."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if "x-key" in request.headers:
            service.counts.key_leaks += 1
        if request.method != "GET":
            return _xml(405, "UnsupportedHttpVerb", "The resource does not support this verb.")
        now = service.clock()
        path = request.path
        refusal = service.signer.refusal(path, request.query, now) if path.startswith(PREFIX) else "signature"
        if refusal is not None:
            page = refusal_xml(refusal, request.query, now)
            return web.Response(text=page, status=403, content_type="application/xml")
        task = service.tasks.get(path.rpartition("/")[2].partition("_sample.")[0])
        if task is None or task.ending.status is not Status.READY:
            return _missing()
        task.download_attempts += 1
        fault = faults.chosen(
            service.faults, faults.DOWNLOAD, service.options.seed, task.number, task.download_attempts
        )
        return await _deliver(service, request, task, fault)

    return handle


async def _deliver(service: Service, request: web.BaseRequest, task: Task, fault: str | None) -> web.StreamResponse:
    if fault is not None:
        service.counts.faults[fault] += 1
    if fault == "fail_download":
        return _xml(500, "InternalError", "The server encountered an internal error.")
    if fault == "refuse_download":
        return _xml(403, "AuthenticationFailed", "Server failed to authenticate the request.")
    try:
        data = await service.results.of(task)
    except InputError:
        return _missing()
    content_type = f"image/{task.format}"
    if fault == "cut_download":
        return await _cut(request, data, content_type)
    task.downloads += 1
    task.downloaded_at = task.downloaded_at or service.clock()
    service.counts.downloads += 1
    return web.Response(body=data, content_type=content_type)


async def _cut(request: web.BaseRequest, data: bytes, content_type: str) -> web.StreamResponse:
    answer = web.StreamResponse(headers={"Content-Type": content_type, "Content-Length": str(len(data))})
    await answer.prepare(request)
    await answer.write(data[: len(data) // 2])
    answers.reset(request)
    return answer


def _missing() -> web.Response:
    return _xml(404, "BlobNotFound", "The specified blob does not exist.")


def _xml(status: int, code: str, message: str) -> web.Response:
    page = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return web.Response(text=page, status=status, content_type="application/xml")
