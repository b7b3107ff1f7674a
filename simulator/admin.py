"""What a test may ask of the simulator and tell it, under `/admin/` of the main port.

None of this exists at the real API. The ledger never shows a key, only the first 8 digits of its sha256.
"""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from simulator import answers
from simulator.faults import changed
from simulator.ledger import entry, summary
from simulator.service import Service

OUTAGES = ("unavailable", "gateway", "refused")


async def administer(service: Service, request: web.BaseRequest) -> web.Response:
    """Answer a request under `/admin/`.

    `GET ledger` (all tasks and the totals; `?summary=1` for the totals alone), `POST faults` (a JSON object of
    figures to change), `POST pause` (`{"paused": true|false}`: every API answer is a 503 meanwhile; with `"form"`:
    "gateway" the 502 page of a proxy, with "refused" and `"seconds"` no port takes a connection for so long),
    `POST credits` (`{"credits": n}`, for every key), `POST keys` (`{"keys": [...]}`: these alone are taken),
    `POST elsewhere` (`{"places": n}`: so many of each key's places are another program's).
    """
    now = service.clock()
    match request.method, request.path:
        case "GET", "/admin/ledger":
            totals = summary(service.tasks.values(), service.accounts.by_key.values(), service.counts, now)
            if request.query.get("summary") in ("1", "true"):
                return answers.json_answer(totals)
            return answers.json_answer({**totals, "entries": [entry(t, now) for t in service.tasks.values()]})
        case "POST", "/admin/faults" | "/admin/pause" | "/admin/credits" | "/admin/keys" | "/admin/elsewhere":
            try:
                return answers.json_answer(_told(service, request.path, await request.content.read()))
            except ValueError as error:
                return answers.detail(422, str(error))
        case _:
            return answers.detail(404, "Not Found")


def _told(service: Service, path: str, raw: bytes) -> dict[str, Any]:
    given = json.loads(raw or b"{}")
    if not isinstance(given, dict):
        raise ValueError("send a JSON object")  # noqa: TRY004 - it is the sender's value
    if path == "/admin/faults":
        service.faults = changed(service.faults, given)
        return {"faults": {name: getattr(service.faults, name) for name in given}}
    if path == "/admin/pause":
        return _paused(service, given)
    if path == "/admin/keys":
        keys = given.get("keys")
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise ValueError('send {"keys": [a key, ...]}')
        service.accounts.know(keys)
        return {"keys": len(keys)}
    if path == "/admin/elsewhere":
        places = given.get("places")
        if isinstance(places, bool) or not isinstance(places, int) or places < 0:
            raise ValueError('send {"places": a number}')
        service.elsewhere = places
        return {"places": places}
    amount = given.get("credits")
    if isinstance(amount, bool) or not isinstance(amount, int | float):
        raise ValueError('send {"credits": a number}')  # noqa: TRY004 - as above
    service.accounts.top_up(float(amount))
    return {"credits": float(amount)}


def _paused(service: Service, given: dict[str, Any]) -> dict[str, Any]:
    paused, form, seconds = bool(given.get("paused", True)), given.get("form", "unavailable"), given.get("seconds")
    if form not in OUTAGES:
        raise ValueError(f"the form of an outage is one of {', '.join(OUTAGES)}")
    if form == "refused":
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 3600:
            raise ValueError('nobody could end it: send {"seconds": a number above 0}')
        service.unplug(seconds)
    else:
        service.away = form if paused else ""
    return {"paused": paused}
