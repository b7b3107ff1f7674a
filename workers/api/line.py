"""The connection of one submission: whether its body has travelled, and whether the API has said anything yet.

A submission is primed: all of its body but the last part is sent ahead, before its slot is there. Meanwhile the API may
answer early or hang up, and then the last part must not leave.
"""

from __future__ import annotations

import fcntl
import socket
import ssl
import struct
import termios
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import httpcore
import httpx

from workers.streams import Answering

_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.001, 0.02

_INTERIM = b"HTTP/1.1 1"
"""How an interim answer begins (100 Continue, which some send unasked): the answer proper is still to come."""

_EITHER, _BARE = 32 + zlib.MAX_WBITS, -zlib.MAX_WBITS
"""zlib's names for its own and gzip's form, and for `deflate` as some servers have it: without either's head."""


class ListeningSocket(ssl.SSLSocket):
    """A TLS socket that tells whether the other side has said anything but TLS's own messages.

    A session ticket makes the socket below readable and is no news, so only TLS itself can tell. It cannot look
    without taking; what it takes is given back to whoever reads next.
    """

    _taken = b""

    def heard(self) -> bool:
        """Whether there is something to read: the start of an answer, an end, or an error. Does not wait."""
        if self._taken:
            return self._taken != _INTERIM
        patience = self.gettimeout()
        self.settimeout(0.0)
        try:
            self._taken = super().recv(len(_INTERIM))
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError:
            return True
        finally:
            self.settimeout(patience)
        return self._taken != _INTERIM

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """Read, what was taken by `heard` first."""
        taken, self._taken = self._taken[:buflen], self._taken[buflen:]
        return taken or super().recv(buflen, flags)


def tls_context() -> ssl.SSLContext:
    """Return httpx's own way to trust, over sockets that can be listened to."""
    context = httpx.create_ssl_context()
    context.sslsocket_class = ListeningSocket
    return context


class AnswerWithin(httpx.HTTPTransport):
    """A transport whose answers take so many seconds at most."""

    def __init__(self, tls: ssl.SSLContext, seconds: float) -> None:
        super().__init__(verify=tls, retries=0, trust_env=False)
        # httpx lets nobody choose how connections are made, and its own timeouts begin anew with every byte
        self._pool = httpcore.ConnectionPool(ssl_context=tls, network_backend=Answering(seconds))


class OneRequestEach(httpx.BaseTransport):
    """A transport that makes another one for each request. Any number of threads may use it at once.

    A pool of httpcore's looks at all its connections with each request, which may be hundreds that wait for a slot.
    """

    def __init__(self, make: Callable[[], httpx.BaseTransport]) -> None:
        self._make = make

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Its connection is closed with the response."""
        transport = self._make()
        try:
            response = transport.handle_request(request)
        except BaseException:
            transport.close()
            raise
        response.stream = _Closing(cast(httpx.SyncByteStream, response.stream), transport)
        return response


class _Closing(httpx.SyncByteStream):
    """A response's body, whose end closes its connection."""

    def __init__(self, stream: httpx.SyncByteStream, transport: httpx.BaseTransport) -> None:
        self._stream = stream
        self._transport = transport

    def __iter__(self) -> Iterator[bytes]:
        yield from self._stream

    def close(self) -> None:
        """Close the body, then the connection."""
        try:
            self._stream.close()
        finally:
            self._transport.close()


class TooLarge(httpx.TransportError):
    """The answer is longer than any of the API's."""


def body_of(response: httpx.Response, most: int) -> bytes:
    """Return the body of an answer, unpacked where a proxy packed it although nobody asked for that.

    Neither of what comes nor of what it unpacks to more than `most` bytes are held: httpx bounds nothing.

    Raises:
        httpx.HTTPError: it broke off, is not what its encoding says, or longer than that.
    """
    data = bytearray()
    for piece in cast(httpx.SyncByteStream, response.stream):
        data += piece
        if len(data) > most:
            raise TooLarge("")
    coding = response.headers.get("content-encoding", "").strip().lower()
    if coding not in ("gzip", "x-gzip", "deflate"):
        return bytes(data)
    try:
        return _unpacked(data, _EITHER, most)
    except zlib.error:
        pass
    try:
        return _unpacked(data, _BARE, most)
    except zlib.error:
        raise httpx.DecodingError("") from None


def _unpacked(data: bytes | bytearray, form: int, most: int) -> bytes:
    found = zlib.decompressobj(form).decompress(data, most + 1)
    if len(found) > most:
        raise TooLarge("")
    return found


class Line:
    """The connection of one submission. Its `follow` is what httpx calls a trace."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def follow(self, event: str, about: Mapping[str, Any]) -> None:
        """Take note of the connection once it is made."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._socket = about["return_value"].get_extra_info("socket")

    def heard(self) -> bool:
        """Whether the API has said something, or has hung up. Does not wait."""
        found = self._socket
        if found is None:
            return False
        if isinstance(found, ListeningSocket):
            return found.heard()
        patience = found.gettimeout()
        found.settimeout(0.0)
        try:
            return found.recv(len(_INTERIM), socket.MSG_PEEK) != _INTERIM
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            found.settimeout(patience)

    def travelled(self, *, stalls_s: float, wanted: Callable[[], bool]) -> bool:
        """Wait until the other side has all that was written; return whether it has.

        It has not where the API says something meanwhile, where nothing moves for `stalls_s` seconds, or where nobody
        has `wanted` it any more. What a system does not tell of counts as there.
        """
        look_s, least, moved = _FIRST_LOOK_S, self._on_the_way(), time.monotonic()
        while least:
            if self.heard() or not wanted() or time.monotonic() - moved > stalls_s:
                return False
            time.sleep(look_s)
            look_s = min(look_s * 1.5, _LONGEST_LOOK_S)
            if (left := self._on_the_way()) < least:
                least, moved = left, time.monotonic()
        return True

    def _on_the_way(self) -> int:
        """Return the bytes that were written and that the other side has not acknowledged."""
        if self._socket is None:
            return 0
        try:
            told = fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, bytes(4))
        except OSError:
            return 0
        return int(struct.unpack("i", told)[0])
