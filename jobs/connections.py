"""HTTP over connections that are kept: for what is asked again and again, of the store and of the API.

It is the standard library's, which takes half of the CPU that urllib3 takes for a request, and a third of what httpx
takes. It follows no redirects and knows no cookies, no proxies and no decompression. The connections are a stack for
each host: a request takes the one that was used last, or a new one, and puts it back, whatever their number.
"""

from __future__ import annotations

import http.client
import io
import math
import select
import socket
import ssl
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

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


class TooSlow(Unanswered):
    """What had come was not yet the whole answer when its time was over."""


class _Late(TimeoutError):
    """The time of a request is over."""


class Answer:
    """The beginning of an answer, with names of headers in lower case; its body is read by whoever asked."""

    __slots__ = ("_response", "announced", "headers", "ours", "status")

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self.status = response.status
        self.announced: int | None = response.length
        """How long the body is said to be, if that can be read and is binding."""
        self.ours = True
        """Set it to False for the answer to somebody else's question: its connection is not kept."""
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}

    def pieces(self, size: int = _BLOCK) -> Iterator[bytes]:
        """Yield the body as it comes, in pieces of at most `size` bytes.

        Raises:
            Unanswered: it broke off, or took too long.
        """
        if self.announced == 0:  # a 204 may say `chunked` all the same: nothing comes that could be waited for
            return
        try:
            while piece := self._response.read1(size):
                yield piece
        except (OSError, http.client.HTTPException) as error:
            raise _unanswered(error) from None
        if self._response.length:
            raise Unanswered("IncompleteRead")

    def body(self, most: int) -> bytes:
        """Return the whole body.

        Raises:
            Unanswered: it broke off, took too long, or is longer than `most` bytes.
        """
        if self.announced is not None and self.announced > most:
            raise Unanswered("TooLarge")
        if self.announced is not None and 0 < self.announced <= _AT_ONCE:
            return self._whole(self.announced)
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
            raise _unanswered(error) from None
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


class _Timed:
    """A connection's socket, each of whose waits ends with the time of its request: who drips bytes gains nothing."""

    def __init__(self, below: socket.socket, silence_s: float, now: Callable[[], float]) -> None:
        self._below = below
        self._silence_s = silence_s
        self._now = now
        self._patience = math.nan
        self._is_read = self._is_closed = False
        self.until = math.inf

    def sendall(self, data: bytes) -> None:
        """Send, in pieces: over TLS, each record of what is sent at once has a wait of its own."""
        whole = memoryview(data)
        for start in range(0, len(whole), _BLOCK):
            self._be_patient()
            try:
                self._below.sendall(whole[start : start + _BLOCK])
            except TimeoutError:
                self._be_patient()
                raise

    def recv_into(self, buffer: WriteableBuffer) -> int:
        """Receive what has come, or wait for something."""
        self._be_patient()
        try:
            return self._below.recv_into(buffer)
        except TimeoutError:
            self._be_patient()
            raise

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return what an answer is read from; until that is closed, the socket stays open."""
        self._is_read = True
        return io.BufferedReader(_Reader(self))

    def read_out(self) -> None:
        """Note that the answer has been read."""
        self._is_read = False
        if self._is_closed:
            self._below.close()

    def fileno(self) -> int:
        """Return the number of the socket, for who looks whether there is news."""
        return self._below.fileno()

    def close(self) -> None:
        """Close the socket, but let an answer be read from it to its end."""
        self._is_closed = True
        if not self._is_read:
            self._below.close()

    def _be_patient(self) -> None:
        """Let the socket wait as long as it may, or raise `_Late`."""
        left = self.until - self._now()
        if left <= 0:
            raise _Late
        patience = min(self._silence_s, left)
        if patience != self._patience:
            self._below.settimeout(patience)
            self._patience = patience


class _Reader(io.RawIOBase):
    """What comes on a socket."""

    def __init__(self, timed: _Timed) -> None:
        self._timed = timed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        return self._timed.recv_into(buffer)

    def close(self) -> None:
        if not self.closed:
            self._timed.read_out()
        super().close()


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
        self,
        method: str,
        origin: Origin,
        path: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        within_s: float,
    ) -> Iterator[Answer]:
        """Send a request, and give the answer as it begins; its connection is free when the block ends.

        A GET is sent again where a kept connection turns out to have ended, and nothing else ever is.

        Args:
            method: of HTTP.
            origin: whom to ask.
            path: percent-encoded, with the query.
            headers: all of them but the host, unless it is among them.
            body: what is sent.
            within_s: how many seconds the request and its whole answer may take.

        Raises:
            Unanswered: no answer began.
        """
        until = self._now() + within_s
        connection, response = self._asked(method, origin, path, headers, body, until)
        whole = False
        try:
            answer = Answer(response)
            yield answer
            # what says `chunked` and has no body may send the end of one later
            ended = response.isclosed() or (response.length == 0 and not response.chunked)
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
        self, method: str, origin: Origin, path: str, headers: Mapping[str, str], body: bytes, until: float
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        kept = self._taken(origin)
        if kept is not None:
            try:
                return kept, _answered(kept, method, path, headers, body, until)
            except (OSError, http.client.HTTPException, ValueError) as error:
                kept.close()
                if method != "GET" or not isinstance(error, ConnectionError | http.client.BadStatusLine):
                    raise _unanswered(error) from None
        made = self._made(origin)
        try:
            made.connect()
            made.sock = cast(socket.socket, _Timed(made.sock, self._silence_s, self._now))
            return made, _answered(made, method, path, headers, body, until)
        except (OSError, http.client.HTTPException, ValueError) as error:
            made.close()
            raise _unanswered(error) from None

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
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    until: float,
) -> http.client.HTTPResponse:
    cast(_Timed, connection.sock).until = until
    connection.putrequest(method, path, skip_host="host" in headers, skip_accept_encoding=True)
    connection.putheader("accept-encoding", "identity")  # a compressed answer could unpack to anything
    connection.putheader("user-agent", AGENT)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders(body or None)
    return connection.getresponse()


def _unanswered(error: Exception) -> Unanswered:
    return TooSlow("TooSlow") if isinstance(error, _Late) else Unanswered(type(error).__name__)


def _has_news(connection: http.client.HTTPConnection) -> bool:
    """Whether the other side has said something unasked, or has hung up."""
    if connection.sock is None:
        return True
    looks = select.poll()
    looks.register(connection.sock, select.POLLIN)
    return bool(looks.poll(0))
