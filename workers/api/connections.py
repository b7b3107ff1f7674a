"""Connections to the API and to the hosts of its results: a stack of them for each host.

httpcore's own pool looks at every connection it holds, and asks the kernel about each idle one, whenever a request
begins or ends: with a thousand tasks in flight that was most of what a poll cost. Here a request takes the connection
that was used last, or a new one, and puts it back, whatever their number.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import cast

import httpx

IDLE_S = 30.0
"""A connection that nobody took for so long is closed. (One that was idle for 5 s is renewed by httpx when it is.)"""

Make = Callable[[], httpx.BaseTransport]
Origin = tuple[str, str, int | None]


class Connections(httpx.BaseTransport):
    """A transport that any number of threads may use; each request has one of `make`'s to itself."""

    def __init__(self, make: Make, *, keep: bool, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Make connections as they are needed.

        Args:
            make: makes a transport that is used by one request at a time, all to one host.
            keep: whether a connection may serve another request afterwards.
            monotonic: a clock in seconds.
        """
        self._make = make
        self._keep = keep
        self._now = monotonic
        self._lock = threading.Lock()
        self._idle: dict[Origin, deque[tuple[httpx.BaseTransport, float]]] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Its connection is free when the response is closed."""
        origin = (request.url.scheme, request.url.host, request.url.port)
        transport = self._taken(origin)
        try:
            response = transport.handle_request(request)
        except BaseException:
            transport.close()
            raise
        response.stream = _Lent(cast(httpx.SyncByteStream, response.stream), lambda: self._put_back(origin, transport))
        return response

    def close(self) -> None:
        """Close every idle connection."""
        with self._lock:
            idle = [transport for stack in self._idle.values() for transport, _ in stack]
            self._idle.clear()
        for transport in idle:
            transport.close()

    def _taken(self, origin: Origin) -> httpx.BaseTransport:
        with self._lock:
            stack = self._idle.get(origin)
            if stack:
                return stack.pop()[0]
        return self._make()

    def _put_back(self, origin: Origin, transport: httpx.BaseTransport) -> None:
        if not self._keep:
            transport.close()
            return
        now, stale = self._now(), []
        with self._lock:
            stack = self._idle.setdefault(origin, deque())
            stack.append((transport, now))
            while stack[0][1] < now - IDLE_S:
                stale.append(stack.popleft()[0])
        for each in stale:
            each.close()


class _Lent(httpx.SyncByteStream):
    """A response's body, whose end frees its connection."""

    def __init__(self, stream: httpx.SyncByteStream, free: Callable[[], None]) -> None:
        self._stream = stream
        self._free = free

    def __iter__(self) -> Iterator[bytes]:
        yield from self._stream

    def close(self) -> None:
        """Free the connection, once."""
        free, self._free = self._free, _nothing
        try:
            self._stream.close()
        finally:
            free()


def _nothing() -> None:
    """There is nothing left to free."""
