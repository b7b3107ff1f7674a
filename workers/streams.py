"""Streams of httpcore that end in time. Its own timeouts begin anew with every byte: who drips them has for ever."""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpcore


class Timed(httpcore.NetworkStream):
    """A stream each of whose waits ends when `left` says that no seconds are left."""

    def __init__(self, stream: httpcore.NetworkStream, left: Callable[[], float]) -> None:
        self._stream = stream
        self._left = left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read, or raise `ReadTimeout`."""
        return self._stream.read(max_bytes, within(timeout, self._left()))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write, or raise a timeout."""
        self._stream.write(buffer, within(timeout, self._left()))

    def close(self) -> None:
        """Close the stream below."""
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        """Return the secured stream, for which the same time is left."""
        return Timed(
            self._stream.start_tls(ssl_context, server_hostname, within(timeout, self._left())),
            self._left,
        )

    def get_extra_info(self, info: str) -> Any:
        """Return what the stream below does."""
        return self._stream.get_extra_info(info)


class Answering(httpcore.NetworkBackend):
    """Makes connections on which an answer takes so many seconds at most, from the first wait for it on.

    What is sent before that is bounded by httpcore's timeouts only.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect."""
        return _Answered(
            self._sockets.connect_tcp(host, port, timeout, local_address, socket_options),
            self._seconds,
        )


class _Answered(Timed):
    def __init__(self, stream: httpcore.NetworkStream, seconds: float) -> None:
        super().__init__(stream, lambda: self._until - time.monotonic())
        self._seconds = seconds
        self._until = math.inf

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._until == math.inf:
            self._until = time.monotonic() + self._seconds
        return super().read(max_bytes, timeout)

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return _Answered(self._stream.start_tls(ssl_context, server_hostname, timeout), self._seconds)


def within(timeout: float | None, left: float) -> float | None:
    """Return how long a wait may take: what is left, but no longer than its own timeout.

    Raises:
        httpcore.ReadTimeout: nothing is left.
    """
    if left <= 0:
        raise httpcore.ReadTimeout
    if timeout is None:
        return None if left == math.inf else left
    return min(timeout, left)
