"""The HTTP shell around `workers.api.protocol`: one POST, one poll, one download.

Redirects are off and no POST is ever repeated by the transport. The key goes to the API's own hosts only, never to
a result's host; nothing raised from here carries a URL's query, which may be a signature.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import httpcore
import httpx
from pydantic import SecretStr

from config.settings import REFUSED_STATUSES
from jobs.accounts import MAIN, key_name
from jobs.connections import AGENT, Answer, Connections, TooSlow, Unanswered
from jobs.crashpoints import crashpoint
from jobs.job import Receipt
from workers.api import protocol
from workers.api.line import AnswerWithin, Line, OneRequestEach, body_of, tls_context
from workers.api.protocol import NoAnswer, PollAnswer, SubmitAnswer
from workers.hosts import Target, api_target, key_allowed

PIECE = 256 * 1024
LAST = 64
"""Bytes of the body that are held back until the submission may count."""

MARK_TO_LAST_S = 5.0
"""More than this between the `sent` mark and the last byte aborts: the lease might have lapsed meanwhile."""

HELD_S = 8.0
"""For so long a body that was sent ahead waits for its last part: servers end requests that stand still."""

CONNECT_S = 10.0
TIMEOUTS_AN_ANSWER = 2.0
"""The timeout bounds a silence; an answer has so many of them in all, or a byte now and then would hold the thread."""

LARGEST_ANSWER = 1024 * 1024
"""No answer but a result is longer."""

LARGEST_RESULT = 64 * 1024 * 1024
DOWNLOAD_S = 300.0
"""A result that has not come whole by then is asked for again."""


class NotSent(Exception):
    """The last part of the body never left, so nothing was submitted. `by_us`: it was held back on this side."""

    def __init__(self, detail: str, *, by_us: bool = False) -> None:
        super().__init__(detail)
        self.by_us = by_us


Heard = Callable[[], bool]
"""Says whether the API has said something before the body was whole, or has hung up."""


def _open(heard: Heard) -> None:
    """Let the last part leave as soon as the rest has."""


def _always() -> bool:
    return True


class DownloadFailed(Exception):
    """The result could not be fetched. `expired`: its URL is dead; `transient`: another try may succeed."""

    def __init__(self, detail: str, *, expired: bool = False, transient: bool = True) -> None:
        super().__init__(detail)
        self.expired = expired
        self.transient = transient


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An API key and the name under which it may be spoken of."""

    id: str
    secret: SecretStr
    account: str = MAIN
    """Whose places its tasks take; empty where nobody can know: then nothing is submitted with it."""

    @classmethod
    def of(cls, secret: SecretStr, account_of: Callable[[str], str] = lambda _: MAIN) -> Self:
        """Return the key with its name, and the account that its name has."""
        id_ = key_name(secret.get_secret_value())
        return cls(id=id_, secret=secret, account=account_of(id_))


CREDITS = "/v1/credits"


class Api:
    """Speaks to the API. One object serves all threads of a process."""

    def __init__(
        self,
        *,
        base_url: str,
        trusted_hosts: Sequence[str] = (),
        timeout_s: float = 30.0,
        now: Callable[[], float] = time.time,
        refused: Collection[int] = REFUSED_STATUSES,
    ) -> None:
        self._base_url = base_url
        self._refused = frozenset(refused)
        self._trusted = tuple(trusted_hosts)
        self._now = now
        tls = tls_context()
        # A POST gets a connection of its own: on a kept one, a reset could mean either that the server was just
        # closing it or that it took the task.
        self._answer_s = TIMEOUTS_AN_ANSWER * timeout_s
        self._submitter: httpx.BaseTransport = OneRequestEach(lambda: AnswerWithin(tls, self._answer_s))
        self._timeout = httpx.Timeout(timeout_s, connect=CONNECT_S, write=MARK_TO_LAST_S).as_dict()
        self._kept = Connections(tls, connect_s=CONNECT_S, silence_s=timeout_s)
        self._question = lru_cache(maxsize=2048)(self._question_of)

    def close(self) -> None:
        """Close every connection."""
        self._submitter.close()
        self._kept.close()

    def submit(
        self,
        path: str,
        body: bytes,
        key: Key,
        before_last: Callable[[], None],
        *,
        gate: Callable[[Heard], None] = _open,
        wanted: Callable[[], bool] = _always,
    ) -> SubmitAnswer:
        """Send a submission, its last part only after the gate and the mark.

        Args:
            path: of the endpoint.
            body: the whole of it.
            key: to submit with.
            before_last: called right before the last part of the body leaves, to write the mark; may raise.
            gate: called when everything before the last part has reached the API; it may wait, and raise.
            wanted: whether a body that is still travelling is of use.

        Raises:
            NotSent: the last part never left. Whatever `gate` and `before_last` raise passes through.
        """
        released = False
        line = Line()

        def pieces() -> Iterator[bytes]:
            nonlocal released
            end = max(len(body) - LAST, 0)
            for start in range(0, end, PIECE):
                if not wanted():
                    raise NotSent("not wanted any more", by_us=True)
                yield body[start : min(start + PIECE, end)]
            if not line.travelled(stalls_s=MARK_TO_LAST_S, wanted=wanted):
                self._hear(line)
                raise NotSent("the body does not get through", by_us=not wanted())
            crashpoint("body-begun")
            ahead = time.monotonic()
            gate(line.heard)
            self._hear(line)
            if time.monotonic() - ahead > HELD_S:
                raise NotSent("the last part was held back for too long", by_us=True)
            asked = time.monotonic()
            before_last()
            crashpoint("sent")
            if time.monotonic() - asked > MARK_TO_LAST_S:
                raise NotSent("writing down the intent took too long", by_us=True)
            self._hear(line)
            released = True
            yield body[end:]
            crashpoint("last-bytes-sent")

        headers = {
            "accept": "application/json",
            "accept-encoding": "identity",  # a compressed answer could unpack to anything
            "user-agent": AGENT,
            "x-key": key.secret.get_secret_value(),
            "content-type": "application/json",
            "content-length": str(len(body)),
        }
        try:
            # Past the client, whose redirects, cookies and authentication have no part in this.
            more = {"trace": line.follow, "timeout": self._timeout}
            request = httpx.Request("POST", self._base_url + path, content=pieces(), headers=headers, extensions=more)
            with closing(self._submitter.handle_request(request)) as response:
                said = body_of(response, LARGEST_ANSWER)
        except httpx.HTTPError as error:
            if not released:
                raise NotSent(_named(error)) from None
            return protocol.Unknown(detail=_named(error))
        answer = protocol.decipher_submit(
            response.status_code,
            response.headers,
            said,
            base_url=self._base_url,
            at=self._now(),
            refused=self._refused,
        )
        if isinstance(answer, protocol.Unknown) and not released:
            raise NotSent(answer.detail)
        return answer

    @staticmethod
    def _hear(line: Line) -> None:
        """Let no more of the body leave if the API has spoken: what it says is read, as after a write that failed."""
        if line.heard():
            raise httpcore.WriteError("the API has spoken before the body was whole")

    def poll(self, receipt: Receipt, key: Key | None) -> PollAnswer:
        """Ask how a task stands. Never raises for what the network or the API does."""
        target, headers = self._question(receipt.polling_url, key)
        if target is None:
            return NoAnswer(detail="the polling URL is on a host that is not trusted (RETOUCH_API__TRUSTED_HOSTS)")
        try:
            with self._kept.asking("GET", target.origin, target.asked, headers, within_s=self._answer_s) as answer:
                body = answer.body(LARGEST_ANSWER)
                said = protocol.decipher_poll(answer.status, answer.headers, body, task=receipt.task_id, at=self._now())
                answer.ours = said is not protocol.NOT_OURS
        except Unanswered as error:
            return NoAnswer(detail=str(error))
        return said

    def _question_of(self, url: str, key: Key | None) -> tuple[Target | None, Mapping[str, str]]:
        """Return where a poll goes and what it says; it is made again and again."""
        target = api_target(url, base_url=self._base_url, trusted_hosts=self._trusted)
        headers = {"accept": "application/json"}
        if key is not None and key_allowed(url, base_url=self._base_url, trusted_hosts=self._trusted):
            headers["x-key"] = key.secret.get_secret_value()
        return target, headers

    def credits(self, key: Key) -> protocol.KeyWorks | protocol.KeyRefused | None:
        """Ask what a key is good for; None where no answer says so. Costs nothing and never raises."""
        target, headers = self._question(self._base_url + CREDITS, key)
        if target is None:
            return None
        try:
            with self._kept.asking("GET", target.origin, target.asked, headers, within_s=self._answer_s) as answer:
                body = answer.body(LARGEST_ANSWER)
        except Unanswered:
            return None
        return protocol.decipher_credits(answer.status, body)

    def download(self, url: str) -> tuple[bytes, int | None]:
        """Return a result's bytes and the length that the server announced.

        Raises:
            DownloadFailed: with `expired` where the URL is dead.
        """
        target = api_target(url, base_url=self._base_url, trusted_hosts=self._trusted, use="delivery")
        if target is None:
            raise DownloadFailed("the result lies on a host that is not trusted", transient=False)
        try:
            with self._kept.asking("GET", target.origin, target.asked, {}, within_s=DOWNLOAD_S) as answer:
                return self._delivered(answer)
        except TooSlow:
            raise DownloadFailed(f"the result did not come whole in {DOWNLOAD_S:g} s") from None
        except Unanswered as error:
            raise DownloadFailed(str(error)) from None

    @staticmethod
    def _delivered(answer: Answer) -> tuple[bytes, int | None]:
        if answer.status in (401, 403, 404, 410):
            raise DownloadFailed(f"HTTP {answer.status}", expired=True)
        if answer.status != 200:
            raise DownloadFailed(f"HTTP {answer.status}")
        data = bytearray()
        for piece in answer.pieces(PIECE):
            data += piece
            crashpoint("downloading")
            if len(data) > LARGEST_RESULT:
                raise DownloadFailed("the result is larger than any picture of the API", transient=False)
        return bytes(data), answer.announced


def _named(error: httpx.HTTPError) -> str:
    """Say what went wrong without its text, which may contain a URL."""
    return type(error).__name__
