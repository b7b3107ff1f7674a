"""Fetches input pictures from the web without ever talking to a host that is not on the public internet.

A name is resolved once, every address it has is judged, and the connection goes to a judged address, while TLS and
the Host header keep the name: a name that answers differently the second time gains nothing. Redirects are walked
here, each hop judged anew. httpx is used for parsing only; httpcore fetches, because it knows no proxies from the
environment, no cookies, no redirects and no decompression.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from typing import Any

import httpcore
import httpx

from jobs.addresses import literal_address, refused_address
from workers.hosts import (
    FetchError,
    Target,
    api_target,
    check_url,
    key_allowed,
)
from workers.streams import Timed, within

__all__ = ["FetchError", "Target", "Web", "api_target", "check_url", "key_allowed", "resolve"]

MAX_BYTES = 20_000_000
"""The API takes inputs of up to 20 MB (docs)."""
TIMEOUT_S = 30.0
MAX_REDIRECTS = 3
CONNECT_S = 5.0
"""One address out of several may be dead; this is all that it can take from the others."""

Resolver = Callable[[str, int], Sequence[str]]
Clock = Callable[[], float]

_SAID_HEADERS = [
    (b"User-Agent", b"retouch"),
    (b"Accept", b"image/*, */*;q=0.5"),
    (b"Accept-Encoding", b"identity"),  # a compressed answer could unpack to anything
]


def resolve(host: str, port: int) -> list[str]:
    """Return every address of `host`, as the system's resolver orders them.

    Raises:
        OSError: the name cannot be resolved.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class Web:
    """Fetches pictures. One object serves all threads; it keeps nothing between two fetches."""

    def __init__(
        self,
        *,
        trusted_hosts: Sequence[str] = (),
        resolver: Resolver = resolve,
        timeout_s: float = TIMEOUT_S,
        max_bytes: int = MAX_BYTES,
        clock: Clock = time.monotonic,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Take the rules; `tls` defaults to the certificates that httpx trusts (SSL_CERT_FILE is heard)."""
        self._trusted = tuple(trusted_hosts)
        self._resolver = resolver
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._clock = clock
        self._tls = httpx.create_ssl_context() if tls is None else tls

    def fetch(self, url: str) -> bytes:
        """Return what `url` answers, after at most 3 redirects, within `timeout_s` in all.

        Raises:
            FetchError: see its codes; `transient` ones may be tried again.
        """
        deadline = self._clock() + self._timeout_s
        first = target = check_url(url, self._trusted)
        for _ in range(MAX_REDIRECTS + 1):
            answer = self._get(target, deadline)
            if isinstance(answer, bytes):
                return answer
            target = self._next(target, answer)
        raise FetchError("url_redirects", f"{first.shown} redirects more than {MAX_REDIRECTS} times")

    def _get(self, target: Target, deadline: float) -> bytes | str:
        """Return the body, or where the answer redirects to."""
        backend = _Pinned(self._addresses(target, deadline), lambda: deadline - self._clock())
        url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
        headers = [(b"Host", target.authority.encode("ascii")), *_SAID_HEADERS]
        try:
            with (
                httpcore.ConnectionPool(ssl_context=self._tls, network_backend=backend) as pool,
                pool.stream("GET", url, headers=headers) as response,
            ):
                return self._read(target, response)
        except httpcore.TimeoutException:
            raise FetchError(
                "url_unreachable", f"{target.shown} took more than {self._timeout_s:g} s", transient=True
            ) from None
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            if isinstance(error.__context__, ssl.SSLCertVerificationError):
                raise FetchError("url_unreachable", f"{target.shown} has no valid certificate") from None
            raise FetchError(
                "url_unreachable", f"{target.shown} cannot be reached, or broke off", transient=True
            ) from None

    def _read(self, target: Target, response: httpcore.Response) -> bytes | str:
        said = {name.lower(): value for name, value in response.headers}
        if 300 <= response.status < 400 and b"location" in said:
            return said[b"location"].decode("utf-8", "replace")
        if response.status != 200:
            raise _refusal(target, response.status)
        if said.get(b"content-encoding", b"identity").strip().lower() != b"identity":
            raise FetchError("url_refused", f"{target.shown} answers compressed although asked not to")
        too_large = FetchError("url_too_large", f"{target.shown} is over {self._max_bytes / 1e6:g} MB; shrink it")
        length = said.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._max_bytes:
            raise too_large
        body = bytearray()
        for block in response.iter_stream():
            body += block
            if len(body) > self._max_bytes:
                raise too_large
        return bytes(body)

    def _next(self, target: Target, location: str) -> Target:
        try:
            url = str(httpx.URL(f"{target.scheme}://{target.authority}").copy_with(raw_path=target.path).join(location))
        except (httpx.InvalidURL, ValueError):
            raise FetchError("url_refused", f"{target.shown} redirects to what is no URL") from None
        try:
            return check_url(url, self._trusted)
        except FetchError as error:
            raise FetchError("url_refused", f"{target.shown} redirects, and {error}") from None

    def _addresses(self, target: Target, deadline: float) -> list[str]:
        """Return the addresses of the target, each of them judged; one bad one is enough to refuse the name."""
        found = [target.host] if literal_address(target.host) is not None else self._resolved(target, deadline)
        reasons = () if target.trusted else map(refused_address, found)
        if (why := next(filter(None, reasons), None)) is not None:
            raise FetchError("url_refused", f"{target.shown} leads to {why}; give a public URL")
        return found

    def _resolved(self, target: Target, deadline: float) -> list[str]:
        answer: Future[list[str]] = Future()

        def ask() -> None:
            try:
                answer.set_result(list(self._resolver(target.host, target.port)))
            except Exception as error:  # noqa: BLE001 - it is raised again where it is waited for
                answer.set_exception(error)

        # A resolver takes no timeout, and with three dead name servers it needs a minute.
        threading.Thread(target=ask, name="resolve", daemon=True).start()
        try:
            found = answer.result(timeout=max(0.0, deadline - self._clock()))
        except (OSError, ValueError):
            found = []
        if not found:
            raise FetchError("url_unreachable", f"the name in {target.shown} is not found", transient=True)
        return found


def _refusal(target: Target, status: int) -> FetchError:
    answers = f"{target.shown} answers {status}"
    if status in (404, 410):
        return FetchError("url_not_found", f"{answers}: there is nothing; correct the URL")
    if status in (408, 425, 429) or status >= 500:
        return FetchError("url_unreachable", answers, transient=True)
    if 300 <= status < 400:
        return FetchError("url_redirects", f"{answers} and does not say where to")
    if status in (401, 403):
        return FetchError("url_forbidden", f"{answers}: give a URL that needs no login, or a fresh signature")
    return FetchError("url_unreachable", f"{answers} instead of a picture")


class _Pinned(httpcore.NetworkBackend):
    """Connects to the judged addresses, in turn, whatever name it is asked for, and watches the time left."""

    def __init__(self, addresses: Sequence[str], left: Callable[[], float]) -> None:
        self._addresses = addresses
        self._left = left
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: httpcore.NetworkError | httpcore.TimeoutException = httpcore.ConnectError()
        for address in self._addresses:
            try:
                stream = self._sockets.connect_tcp(
                    address, port, within(CONNECT_S, self._left()), local_address, socket_options
                )
            except (httpcore.NetworkError, httpcore.TimeoutException) as error:
                failure = error
            else:
                return Timed(stream, self._left)
        raise failure
