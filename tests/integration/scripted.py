"""A store that answers by a script, over real HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from jobs.bucket.s3 import S3Bucket, open_bucket


@dataclass
class Script:
    """Answers every request alike and remembers them."""

    status: int = 200
    code: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    bucket: S3Bucket = field(init=False)

    def answer(self) -> bytes:
        if not self.code:
            return self.body
        return f"<Error><Code>{self.code}</Code><Message>sealed words</Message></Error>".encode()


@contextmanager
def scripted() -> Iterator[Script]:
    """Serve a script, and end the store behind it."""
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # an older one leaves the client waiting for its 100 Continue

        def handle_any(self) -> None:
            script.seen.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            data = script.answer()
            self.send_response(script.status)
            for name, value in {"Content-Length": str(len(data)), **script.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_any  # noqa: N815 - the library's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    script.bucket = open_bucket(
        bucket="shop",
        endpoint_url=f"http://127.0.0.1:{listener.server_port}",
        access_key_id="AKIDEXAMPLE",
        secret_access_key="wJalrXUtnFEMI",
    )
    yield script
    script.bucket.close()
    listener.shutdown()
    thread.join()
    listener.server_close()
