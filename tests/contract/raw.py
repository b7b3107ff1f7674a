"""A listening socket that does what a test tells it, as no API should."""

from __future__ import annotations

import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

Conn = socket.socket
_LINGER_NONE = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Server:
    """A listening socket whose every connection is handled by a function, in a thread of its own."""

    port: int
    scheme: str = "http"
    heads: list[bytes] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def head(self, conn: Conn) -> bytes:
        """Read a request up to its body; return what of the body came along."""
        data = b""
        while b"\r\n\r\n" not in data:
            got = conn.recv(65536)
            if not got:
                return b""
            data += got
        head, _, rest = data.partition(b"\r\n\r\n")
        self.heads.append(head)
        return rest

    def whole(self, conn: Conn, length: int) -> bytes:
        """Read a request with its body; return the body."""
        body = self.head(conn)
        while len(body) < length and (got := conn.recv(65536)):
            body += got
        return body


def answer(conn: Conn, status: str, body: bytes = b"", *headers: str) -> None:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    conn.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def dripping(start: bytes, drop: bytes, *, body: int = 0) -> Callable[[Server, Conn], None]:
    """Return what answers a request (with a body so long) with a start and then drop by drop: for a few seconds, or
    until the client hangs up."""

    def handle(server: Server, conn: Conn) -> None:
        server.whole(conn, body)
        conn.sendall(start)
        for _ in range(250):
            if select.select([conn], [], [], 0.02)[0]:
                return
            conn.sendall(drop)

    return handle


DRIPS = {
    "head": (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "interim head": (b"HTTP/1.1 103 Early Hints\r\nX: ", b"x"),
    "body": (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
    "announced body": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x"),
    "chunk extension": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;", b"x"),
    "trailer": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n", b"x: y\r\n"),
}
"""How an answer begins and goes on that drips, by where it does."""


def reset(conn: Conn) -> None:
    conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NONE)
    conn.close()


@contextmanager
def serving(handle: Callable[[Server, Conn], None], *, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Serve until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(listener.getsockname()[1], "https" if tls else "http")
    ended = threading.Event()
    threads: list[threading.Thread] = []

    def one(conn: Conn) -> None:
        with conn:
            conn.settimeout(10)
            try:
                if tls is not None:
                    with tls.wrap_socket(conn, server_side=True) as secured:
                        handle(server, secured)
                else:
                    handle(server, conn)
            except OSError:
                return  # the client left, which is what some tests are about

    def accept() -> None:
        while not ended.is_set():
            try:
                conn, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=one, args=(conn,), daemon=True))
            threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield server
    finally:
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in [acceptor, *threads]:
            thread.join(10)
