"""Fetching over TLS: the connection goes to the judged address, the certificate is checked for the name."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import certificate_for
from workers.web import FetchError, Web

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\npicture"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate_for("DNS:cam.test", tmp_path_factory.mktemp("tls"))


class Site:
    """A server that gives one answer to everybody; it remembers which names it was called by."""

    def __init__(self, listener: socket.socket, certificate: Path) -> None:
        self.names: list[str | None] = []
        self.answered = 0
        self._listener = listener
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._context.sni_callback = lambda _socket, name, _context: self.names.append(name)
        self.port = int(listener.getsockname()[1])

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with (
                contextlib.suppress(OSError),
                connection,
                self._context.wrap_socket(connection, server_side=True) as stream,
            ):
                stream.recv(4096)
                self.answered += 1
                stream.sendall(ANSWER)


@pytest.fixture
def site(certificate: Path) -> Iterator[Site]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        site = Site(listener, certificate)
        thread = threading.Thread(target=site.serve)
        thread.start()
        yield site
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def web(certificate: Path | None) -> Web:
    tls = None if certificate is None else ssl.create_default_context(cafile=certificate)
    return Web(trusted_hosts=["cam.test", "other.test"], resolver=lambda _host, _port: ["127.0.0.1"], tls=tls)


def test_tls_is_spoken_to_the_judged_address_in_the_host_s_name(site: Site, certificate: Path) -> None:
    assert web(certificate).fetch(f"https://cam.test:{site.port}/") == b"picture"
    assert site.names == ["cam.test"]


def test_a_certificate_for_another_name_is_refused_for_good(site: Site, certificate: Path) -> None:
    with pytest.raises(FetchError, match="certificate") as caught:
        web(certificate).fetch(f"https://other.test:{site.port}/")

    assert (caught.value.code, caught.value.transient) == ("url_unreachable", False)
    assert site.answered == 0


def test_a_certificate_that_nobody_vouches_for_is_refused_for_good(site: Site) -> None:
    with pytest.raises(FetchError, match="certificate") as caught:
        web(None).fetch(f"https://cam.test:{site.port}/")

    assert (caught.value.code, caught.value.transient) == ("url_unreachable", False)
    assert site.answered == 0
