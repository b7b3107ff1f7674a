"""The stand-in API without its HTTP: accepts requests, knows the tasks, charges the keys.

A task exists, counts and is charged from `submit` on; whatever then happens to the answer does not undo it.
"""

from __future__ import annotations

import asyncio
import json
import math
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import aiohttp

from jobs.models import Catalogue, LimitGroup, Model
from simulator.accounts import Account, Accounts
from simulator.chance import draw, pick
from simulator.inputs import InputError, Picture, Reader, fetch, is_loopback, is_url
from simulator.ledger import Counts, LedgerFile, entry
from simulator.options import Options
from simulator.results import Results
from simulator.signing import Signer
from simulator.sizes import Bill, bill, output_size
from simulator.tasks import SLOW, Ending, Status, Task, ending, latency, timeline, unreadable
from simulator.validation import Asked, read_body

SMALL_BODY = 128 * 1024
"""A body up to this size is read where it arrives: going to a thread would cost more."""

WEBHOOK_S = 10.0
MAIN = -1
"""The host number of the main port."""


class NoCredits(Exception):
    """The key cannot pay for the request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where a running simulator listens, as origins."""

    base_url: str
    regions: tuple[str, ...]
    delivery: str

    @property
    def trusted_hosts(self) -> tuple[str, ...]:
        """Return `host:port` of everything that a client has to trust."""
        origins = (self.base_url, *self.regions, self.delivery)
        return tuple(origin.removeprefix("http://") for origin in origins)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """One POST to a model: its number among all, who sent it, and when its body was complete."""

    number: int
    model: Model
    account: Account
    at: float
    content_type: str
    raw: bytes


class Service:
    """Everything that the hosts of one simulator share. Belongs to one event loop."""

    def __init__(self, options: Options, catalogue: Catalogue, clock: Callable[[], float]) -> None:
        self.options = options
        self.faults = options.faults
        self.clock = clock
        self.catalogue = catalogue.with_limit(options.active_limit)
        self.models: Mapping[str, Model] = {model.path: model for model in catalogue.models.values()}
        self.lineages: Mapping[str, tuple[LimitGroup, ...]] = {
            model.path: self.catalogue.lineage(model.limit_group) for model in catalogue.models.values()
        }
        self.accounts = Accounts(credits_=options.credits, keys=options.keys, shared=options.shared)
        self.tasks: dict[str, Task] = {}
        self.counts = Counts()
        self.results = Results(options.result_size, options.result_grain)
        self.signer = Signer()
        self.away = ""
        """The form of the outage under way, if there is one."""
        self.unplug: Callable[[float], None] = lambda _: None
        """Closes every port for so many seconds."""
        self.elsewhere = options.elsewhere
        self.closing = asyncio.Event()
        self.addresses = Addresses(base_url="", regions=(), delivery="")
        self._reader = Reader()
        self._ledger = LedgerFile(options.ledger) if options.ledger is not None else None
        self._session: aiohttp.ClientSession | None = None
        self._webhooks: set[asyncio.Task[None]] = set()

    async def submit(self, post: Arrived) -> tuple[Task, Asked]:
        """Accept a request whose place has been taken: charge it, settle its ending, let the place go then.

        Raises:
            Invalid: the body is refused.
            NoCredits: the key cannot pay.
        """
        asked, pictures, broken = await self._load(post)
        end = broken or ending(asked.prompt, self.faults, self.options.seed, post.number)
        task = self._task(post, asked, pictures, end)
        if post.account.credits < task.bill.cost:
            raise NoCredits
        post.account.charge(task.charged)
        found = tuple(taken for taken in pictures if taken is not None)
        task.inputs = await self.results.store_inputs(post.number, found)
        self.tasks[task.id] = task
        post.account.hold_until(
            self.lineages[post.model.path],
            min(task.timeline.ends_at, task.gone_at),
        )
        self.results.keep_until(task, self.expires_at(task))
        if self._ledger is not None:
            await self._ledger.append(entry(task, post.at))
        if asked.webhook_url is not None:
            self._notify_later(task, asked.webhook_url, asked.webhook_secret)
        return task, asked

    async def _load(self, post: Arrived) -> tuple[Asked, list[Picture | None], Ending | None]:
        """Read the body and its pictures. A picture that is none breaks the task, not the request."""
        limit = post.model.max_input_bytes
        read = (post.model, post.content_type, post.raw)
        if len(post.raw) <= SMALL_BODY:
            asked, pictures, broken = self._read(*read)
        else:
            asked, pictures, broken = await asyncio.to_thread(self._read, *read)
        for position, text in enumerate(asked.pictures):
            if not is_url(text):
                continue
            try:
                data = await fetch(self._http(), text, limit, allow_remote=self.options.allow_remote)
                pictures[position] = await asyncio.to_thread(self._reader.inspect, data, limit)
            except InputError:
                broken = unreadable()
        return asked, pictures, broken

    def _read(self, model: Model, content_type: str, raw: bytes) -> tuple[Asked, list[Picture | None], Ending | None]:
        asked = read_body(model, content_type, raw)
        pictures: list[Picture | None] = [None] * len(asked.pictures)
        broken = None
        for position, text in enumerate(asked.pictures):
            if is_url(text):
                continue
            try:
                pictures[position] = self._reader.from_base64(text, model.max_input_bytes)
            except InputError:
                broken = unreadable()
        return asked, pictures, broken

    def _task(self, post: Arrived, asked: Asked, pictures: list[Picture | None], end: Ending) -> Task:
        model, seed, number = post.model, self.options.seed, post.number
        sizes = [found.size for found in pictures if found is not None]
        size = self.options.result_size or output_size(model, asked.params, sizes[0] if sizes else None)
        cost = bill(model, sizes, size, self.options.price_factor)
        slow = SLOW if "[[slow]]" in asked.prompt else 1.0
        regional = self.options.regions > 0 and asked.webhook_url is None
        wanted_seed = asked.params.get("seed")
        return Task(
            number=number,
            id=str(uuid.uuid4()),
            account=post.account,
            model=model,
            prompt=asked.prompt,
            result_prompt=_expanded(model, asked),
            result_seed=int(draw(seed, "seed", number) * 2**32) if wanted_seed is None else int(wanted_seed),
            content=_content(model, asked, pictures),
            format=asked.params.get("output_format") or model.output_format,
            size=size,
            inputs=(),
            timeline=timeline(post.at, latency(model, self.options, number) * slow, end, seed, number),
            ending=end,
            bill=cost,
            charged=self._charged(end, cost),
            home=pick(range(self.options.regions), seed, "region", number) if regional else MAIN,
            retention=self.options.retention,
        )

    def _charged(self, end: Ending, cost: Bill) -> float:
        free = {
            Status.REQUEST_MODERATED: not self.options.charge_request_moderated,
            Status.CONTENT_MODERATED: not self.options.charge_content_moderated,
            Status.ERROR: not self.options.charge_errors,
        }
        return 0.0 if end.status is not None and free.get(end.status, False) else cost.cost

    async def poll(self, task: Task) -> dict[str, Any]:
        """Return what a poll of `task` is answered. Only the first one after the end may have to wait."""
        now = self.clock()
        if task.status(now) is not Status.READY:
            return task.body(now, None)
        if task.sample is None:
            try:
                await self.results.of(task)
            except InputError:
                await self._break(task)
                return task.body(now, None)
            task.sample = self.sample_url(task)
        task.told_ready_at = task.told_ready_at or now
        return task.body(now, task.sample)

    async def _break(self, task: Task) -> None:
        """End a task in Error after all: its picture could not be decoded."""
        if task.ending.status is not Status.READY:
            return
        task.ending = unreadable()
        if self.options.charge_errors:
            return
        task.account.charge(-task.charged)
        task.charged = 0.0
        if self._ledger is not None:
            await self._ledger.append(entry(task, self.clock()))

    def expires_at(self, task: Task) -> float:
        """Return when the result URL of a task ends (Unix seconds)."""
        ends_at = task.timeline.ends_at
        return task.gone_at if math.isinf(ends_at) else ends_at + self.options.url_life

    def sample_url(self, task: Task) -> str:
        """Return the signed URL of a finished task."""
        day = datetime.fromtimestamp(task.timeline.ends_at, tz=UTC).strftime("%Y/%m/%d")
        path = f"/results/{day}/{task.id}_sample.{task.format}"
        return self.signer.url(self.addresses.delivery, path, self.expires_at(task), f"image/{task.format}")

    def _notify_later(self, task: Task, url: str, secret: str | None) -> None:
        if not math.isinf(task.timeline.ends_at) and (self.options.allow_remote or is_loopback(url)):
            telling = asyncio.create_task(self._notify(task, url, secret))
            self._webhooks.add(telling)
            telling.add_done_callback(self._webhooks.discard)

    async def _notify(self, task: Task, url: str, secret: str | None) -> None:
        """POST the end of a task once, best effort. The API's own payload is not documented: a mere hint."""
        await asyncio.sleep(max(task.timeline.ends_at - self.clock(), 0.0))
        await self.poll(task)
        body = task.body(max(self.clock(), task.timeline.ends_at), task.sample)
        headers = {} if secret is None else {"X-Webhook-Secret": secret}
        timeout = aiohttp.ClientTimeout(total=WEBHOOK_S)
        with suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with self._http().post(
                url, json={"task_id": task.id, **body}, headers=headers, timeout=timeout, allow_redirects=False
            ):
                pass

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return self._session

    async def close(self) -> None:
        """Stop what is under way and let go of files and threads."""
        for telling in self._webhooks:
            telling.cancel()
        await asyncio.gather(*self._webhooks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        await asyncio.to_thread(self.results.close)
        if self._ledger is not None:
            self._ledger.close()


def _content(model: Model, asked: Asked, pictures: list[Picture | None]) -> str:
    identities = [
        found.sha256 if found is not None else sha256(text.encode()).hexdigest()
        for found, text in zip(pictures, asked.pictures, strict=True)
    ]
    what = [model.name, asked.prompt, dict(asked.params), identities]
    return sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def _expanded(model: Model, asked: Asked) -> str:
    """Return the prompt that the result names: the API rewrites it unless told not to."""
    if "disable_pup" in model.fields:
        rewritten = not asked.params.get("disable_pup")
    else:
        upsampling = model.fields.get("prompt_upsampling")
        rewritten = upsampling is not None and asked.params.get(upsampling.name, upsampling.default) is True
    return f"{asked.prompt}, in fine natural detail" if rewritten else asked.prompt
