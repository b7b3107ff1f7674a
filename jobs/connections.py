"""HTTP over connections that are kept: for what is asked again and again, of the store and of the API.

It is the standard library's, which takes half of the CPU that urllib3 takes for a request, and a third of what httpx
takes. It follows no redirects and knows no cookies, no proxies and no decompression. The connections are a stack for
each host: a request takes the one that was used last, or a new one, and puts it back, whatever their number.
"""

from __future__ import annotations

import http.client
import select
import ssl
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

IDLE_S = 30.0
"""A connection that nobody took for so long is closed."""

FRESH_S = 5.0
"""One that was idle for longer is not taken any more: servers hang up on those."""

AGENT = "retouch"
_INTERIM_ANSWERS = 8
"""More of them before an answer are a mistake of the other side, or malice."""

_BLOCK = 64 * 1024
_AT_ONCE = 64 * 1024 * 1024
"""Room for so much is made on the word of whoever announces it."""

Origin = tuple[str, str, int]
"""Scheme, host (IPv6 without brackets) and port."""

_Idle = dict[Origin, deque[tuple[http.client.HTTPConnection, float]]]


class Unanswered(Exception):
    """No whole answer came. The message names the kind of failure and nothing of the URL."""


class Answer:
    """The beginning of an answer, with names of headers in lower case; its body is read by whoever asked."""

    __slots__ = ("_response", "headers", "ours", "status")

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self.status = response.status
        self.ours = True
        """Set it to False for the answer to somebody else's question: its connection is not kept."""
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}

    def pieces(self, size: int = _BLOCK) -> Iterator[bytes]:
        """Yield the body as it comes, in pieces of at most `size` bytes.

        Raises:
            Unanswered: it broke off.
        """
        try:
            while piece := self._response.read1(size):
                yield piece
        except (OSError, http.client.HTTPException) as error:
            raise Unanswered(type(error).__name__) from None
        if self._response.length:
            raise Unanswered("IncompleteRead")

    def body(self, most: int) -> bytes:
        """Return the whole body.

        Raises:
            Unanswered: it broke off, or is longer than `most` bytes.
        """
        announced = self._response.length
        if announced is not None and announced > most:
            raise Unanswered("TooLarge")
        if announced is not None and announced <= _AT_ONCE:
            return self._whole(announced)
        data = bytearray()
        for piece in self.pieces():
            data += piece
            if len(data) > most:
                raise Unanswered("TooLarge")
        return bytes(data)

    def _whole(self, length: int) -> bytes:
        try:
            data = self._response.read(length)
        except (OSError, http.client.HTTPException) as error:
            raise Unanswered(type(error).__name__) from None
        if len(data) < length:
            raise Unanswered("IncompleteRead")
        return data


class _Response(http.client.HTTPResponse):
    """An answer past its interim ones. The standard library passes over `100 Continue` alone (and over any number of
    them), and takes a 102 or a 103 for the answer; the true one would then be read as that to the next request."""

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(_INTERIM_ANSWERS + 1):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if status >= 200 or status == 101:  # after a 101, whatever follows is not HTTP
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise http.client.BadStatusLine("interim answers without end")


class Connections:
    """Sends requests. Any number of threads may use it at once."""

    def __init__(
        self,
        tls: ssl.SSLContext | None,
        *,
        connect_s: float,
        silence_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make connections as they are needed.

        Args:
            tls: whom to trust; None where only plain HTTP is spoken.
            connect_s: how many seconds a connection may take.
            silence_s: how many seconds of silence count as no answer.
            monotonic: a clock in seconds.
        """
        self._tls = tls
        self._connect_s = connect_s
        self._silence_s = silence_s
        self._now = monotonic
        self._lock = threading.Lock()
        self._idle: _Idle = {}
        weakref.finalize(self, _close, self._idle)  # who forgets to close us leaves no sockets behind

    @contextmanager
    def asking(
        self, method: str, origin: Origin, path: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Iterator[Answer]:
        """Send a request, and give the answer as it begins; its connection is free when the block ends.

        A GET is sent again where a kept connection turns out to have ended, and nothing else ever is.

        Args:
            method: of HTTP.
            origin: whom to ask.
            path: percent-encoded, with the query.
            headers: all of them but the host, unless it is among them.
            body: what is sent.

        Raises:
            Unanswered: no answer began.
        """
        connection, response = self._asked(method, origin, path, headers, body)
        whole = False
        try:
            answer = Answer(response)
            yield answer
            ended = response.isclosed() or response.length == 0
            whole = ended and response.status >= 200 and answer.ours and not response.will_close
        finally:
            response.close()
            if whole:
                self._put_back(origin, connection)
            else:
                connection.close()

    def close(self) -> None:
        """Close every idle connection."""
        with self._lock:
            _close(self._idle)

    def _asked(
        self, method: str, origin: Origin, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        kept = self._taken(origin)
        if kept is not None:
            try:
                return kept, _answered(kept, method, path, headers, body)
            except (OSError, http.client.HTTPException, ValueError) as error:
                kept.close()
                if method != "GET" or not isinstance(error, ConnectionError | http.client.BadStatusLine):
                    raise Unanswered(type(error).__name__) from None
        made = self._made(origin)
        try:
            made.connect()
            made.sock.settimeout(self._silence_s)
            return made, _answered(made, method, path, headers, body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            made.close()
            raise Unanswered(type(error).__name__) from None

    def _made(self, origin: Origin) -> http.client.HTTPConnection:
        scheme, host, port = origin
        made = (
            http.client.HTTPSConnection(host, port, timeout=self._connect_s, context=self._tls)
            if scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=self._connect_s)
        )
        made.response_class = _Response
        return made

    def _taken(self, origin: Origin) -> http.client.HTTPConnection | None:
        """Return the connection that was used last, if it is fresh and nothing was said on it since."""
        with self._lock:
            stack = self._idle.get(origin)
            connection, since = stack.pop() if stack else (None, 0.0)
        if connection is None:
            return None
        if self._now() - since > FRESH_S or _has_news(connection):
            connection.close()
            return None
        return connection

    def _put_back(self, origin: Origin, connection: http.client.HTTPConnection) -> None:
        now, stale = self._now(), []
        with self._lock:
            stack = self._idle.setdefault(origin, deque())
            stack.append((connection, now))
            while stack[0][1] < now - IDLE_S:
                stale.append(stack.popleft()[0])
        for each in stale:
            each.close()


def _close(idle: _Idle) -> None:
    while idle:
        _, stack = idle.popitem()
        for connection, _ in stack:
            connection.close()


def _answered(
    connection: http.client.HTTPConnection, method: str, path: str, headers: Mapping[str, str], body: bytes
) -> http.client.HTTPResponse:
    connection.putrequest(method, path, skip_host="host" in headers, skip_accept_encoding=True)
    connection.putheader("accept-encoding", "identity")  # a compressed answer could unpack to anything
    connection.putheader("user-agent", AGENT)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders(body or None)
    return connection.getresponse()


def _has_news(connection: http.client.HTTPConnection) -> bool:
    """Whether the other side has said something unasked, or has hung up."""
    if connection.sock is None:
        return True
    looks = select.poll()
    looks.register(connection.sock, select.POLLIN)
    return bool(looks.poll(0))
