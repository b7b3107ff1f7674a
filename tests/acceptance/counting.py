"""A way to the S3 store on which every request is counted."""

from __future__ import annotations

import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

_REQUEST = re.compile(rb"(GET|HEAD|PUT|POST|DELETE) (/[^ \r\n]*) HTTP/1\.1\r\n")


class Counted:
    """Requests that have passed, as `GET key`, `LIST prefix` and so on; `url` leads through."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 80)
        self._lock = threading.Lock()
        self._seen: list[tuple[str, str]] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def requests(self) -> list[tuple[str, str]]:
        """Return what has passed so far: verb and path; listings are `LIST`."""
        with self._lock:
            return list(self._seen)

    def verbs(self) -> Counter[str]:
        """Return how often each verb has passed."""
        return Counter(verb for verb, _ in self.requests())

    def clear(self) -> None:
        """Forget what has passed."""
        with self._lock:
            self._seen.clear()

    def close(self) -> None:
        """Take no more connections."""
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            store = socket.create_connection(self._target)
            threading.Thread(target=self._pass, args=(client, store, True), daemon=True).start()
            threading.Thread(target=self._pass, args=(store, client, False), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, count: bool) -> None:
        kept = b""
        with suppress(OSError), source, target:
            while data := source.recv(1 << 16):
                if count:
                    kept += data
                    self._count(kept)
                    kept = kept[kept.rfind(b"\n") + 1 :][-4096:]
                target.sendall(data)

    def _count(self, data: bytes) -> None:
        for verb, path in _REQUEST.findall(data):
            kind = "LIST" if b"list-type=2" in path else verb.decode()
            with self._lock:
                self._seen.append((kind, path.decode()))


@contextmanager
def counted(target: str) -> Iterator[Counted]:
    """Count the requests to the store at `target`, for as long as the body runs."""
    found = Counted(target)
    try:
        yield found
    finally:
        found.close()
