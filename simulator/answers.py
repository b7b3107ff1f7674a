"""The HTTP answers that more than one host gives: JSON, refusals, gateway pages and resets.

A reset is a TCP RST (linger 0): the client sees a broken connection, not an orderly end.
"""

from __future__ import annotations

import asyncio
import json
import math
import socket
import struct
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any

from aiohttp import web

_LINGER_NONE = struct.pack("ii", 1, 0)

SERVICE_UNAVAILABLE = "Service temporarily unavailable"
TOO_MANY = "Too many active tasks: wait until one of your previous tasks has finished"
TOO_OFTEN = "Rate limit exceeded: too many requests per minute"


def json_answer(body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return `body` as a JSON answer."""
    raw = json.dumps(body, separators=(",", ":")).encode()
    return web.Response(body=raw, status=status, headers=headers, content_type="application/json")


def detail(status: int, text: Any) -> web.Response:
    """Return a refusal in the API's form."""
    return json_answer({"detail": text}, status)


def gateway_page(status: int) -> web.Response:
    """Return what a proxy in front of the API would answer: a page, no JSON."""
    title = {502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout"}.get(status, "Error")
    page = f"<html><head><title>{status} {title}</title></head><body><h1>{status} {title}</h1></body></html>"
    return web.Response(text=page, status=status, content_type="text/html")


def away(form: str) -> web.Response:
    """Return what every request is answered during an outage: by the API itself, or by a proxy in front of it."""
    return gateway_page(502) if form == "gateway" else detail(503, SERVICE_UNAVAILABLE)


def too_many(form: str, now: float, text: str = TOO_MANY) -> web.Response:
    """Return a 429 that asks for a second's patience, said in the given form (see `RETRY_AFTER_FORMS`)."""
    headers = {}
    body: dict[str, Any] = {"detail": text}
    match form:
        case "seconds":
            headers["Retry-After"] = "1"
        case "date":
            headers["Retry-After"] = formatdate(math.ceil(now) + 1, usegmt=True)
        case "json":
            body["retry_after"] = 1
    return json_answer(body, 429, headers)


def reset(request: web.BaseRequest) -> web.Response:
    """Break the connection now; what is returned never leaves this machine."""
    abort(request.transport)
    return web.Response(status=500)


def abort(transport: asyncio.Transport | None) -> None:
    """Break a connection, if it is not broken already."""
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
    transport.abort()


def invite(request: web.BaseRequest) -> None:
    """Answer `Expect: 100-continue`, which the low-level server leaves to its handler."""
    if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
