"""Fetching over real sockets: redirects, caps, and a canary that must never be reached."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from workers.web import FetchError, Web

Answer = Callable[[BaseHTTPRequestHandler], None]


class Site:
    """A small web site on 127.0.0.1 whose pages are functions; it remembers what it was asked."""

    def __init__(self) -> None:
        self.pages: dict[str, Answer] = {}
        self.asked: list[dict[str, str]] = []
        self.closing = threading.Event()
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.asked.append({name.lower(): value for name, value in self.headers.items()})
                self.close_connection = True
                site.pages[self.path.partition("?")[0]](self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that hangs up is what these tests are about."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = int(self.server.server_address[1])
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    thread = threading.Thread(target=site.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    site.closing.set()
    site.server.shutdown()
    site.server.server_close()
    thread.join()


@pytest.fixture
def canary() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


def untouched(canary: socket.socket) -> bool:
    """Say whether nobody connected: the kernel completes a connection before anybody accepts it."""
    try:
        connection, _ = canary.accept()
    except BlockingIOError:
        return True
    connection.close()
    return False


def page(body: bytes = b"picture", status: int = 200, **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in {"content_length": str(len(body)), **headers}.items():
            request.send_header(name.replace("_", "-"), value)
        request.end_headers()
        request.wfile.write(body)

    return answer


def moved(to: str, status: int = 302) -> Answer:
    return page(b"", status, location=to, set_cookie="session=1; Path=/")


def test_a_picture_is_fetched_from_a_trusted_host(site: Site) -> None:
    site.pages["/a.jpg"] = page(b"picture")

    assert Web(trusted_hosts=[site.host]).fetch(f"{site.url}/a.jpg?size=full") == b"picture"


def test_a_chunked_answer_is_fetched_whole(site: Site) -> None:
    def chunked(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        request.wfile.write(b"4\r\npict\r\n3\r\nure\r\n0\r\n\r\n")

    site.pages["/"] = chunked

    assert Web(trusted_hosts=[site.host]).fetch(f"{site.url}/") == b"picture"


def test_a_name_is_resolved_once_and_asked_for_by_name(site: Site) -> None:
    asked: list[tuple[str, int]] = []

    def resolver(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["127.0.0.1"]

    site.pages["/"] = page()

    Web(trusted_hosts=["cam.test"], resolver=resolver).fetch(f"http://cam.test:{site.port}/")

    assert asked == [("cam.test", site.port)]
    assert site.asked[0]["host"] == f"cam.test:{site.port}"


def test_a_second_answer_of_the_name_server_changes_nothing(
    canary: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([["93.184.216.34"], ["127.0.0.1"]])
    connected: list[tuple[str, int]] = []

    def refuse(address: tuple[str, int], *_args: object, **_kwargs: object) -> socket.socket:
        connected.append(address)  # nothing leaves this machine in a test
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", refuse)

    with pytest.raises(FetchError) as caught:
        Web(resolver=lambda _host, _port: next(answers)).fetch("https://rebind.example/")

    assert caught.value.code == "url_unreachable"
    assert connected == [("93.184.216.34", 443)]
    assert next(answers) == ["127.0.0.1"]
    assert untouched(canary)


def test_a_dead_address_is_passed_over_for_the_next(site: Site) -> None:
    site.pages["/"] = page()
    web = Web(trusted_hosts=["cam.test"], resolver=lambda _host, _port: ["127.0.0.2", "127.0.0.1"])

    assert web.fetch(f"http://cam.test:{site.port}/") == b"picture"


def test_only_what_is_needed_is_said_and_cookies_are_forgotten(site: Site) -> None:
    site.pages |= {"/": moved("/a.jpg"), "/a.jpg": page()}

    Web(trusted_hosts=[site.host]).fetch(f"{site.url}/")

    assert len(site.asked) == 2
    assert all(set(headers) == {"host", "user-agent", "accept", "accept-encoding"} for headers in site.asked)
    assert site.asked[1]["accept-encoding"] == "identity"


def test_no_proxy_of_the_environment_is_used(
    site: Site, canary: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.pages["/"] = page()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary.getsockname()[1]}")

    assert Web(trusted_hosts=[site.host]).fetch(f"{site.url}/") == b"picture"
    assert untouched(canary)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("to", ["/b.jpg", "b.jpg", "{url}/b.jpg", "//{host}/b.jpg"])
def test_a_redirect_is_followed(site: Site, status: int, to: str) -> None:
    site.pages |= {"/a.jpg": moved(to.format(url=site.url, host=site.host), status), "/b.jpg": page(b"other")}

    assert Web(trusted_hosts=[site.host]).fetch(f"{site.url}/a.jpg") == b"other"


@pytest.mark.parametrize(
    "to",
    [
        "http://169.254.169.254/latest/meta-data/",
        "https://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1:{canary}/",
        "https://127.0.0.1:{canary}/",
        "https://inside.test:{canary}/",
        "https://inside.test/",
        "https://user@inside.test/",
        "file:///etc/passwd",
        "//127.0.0.1:{canary}/",
        "http://[::1",
    ],
)
def test_a_redirect_to_the_inside_is_refused_without_a_connection(site: Site, canary: socket.socket, to: str) -> None:
    site.pages["/"] = moved(to.format(canary=canary.getsockname()[1]))
    web = Web(trusted_hosts=[site.host], resolver=lambda _host, _port: ["127.0.0.1"])

    with pytest.raises(FetchError) as caught:
        web.fetch(f"{site.url}/")

    assert caught.value.code == "url_refused"
    assert untouched(canary)


def test_three_redirects_are_followed_and_a_fourth_is_not(site: Site) -> None:
    site.pages |= {f"/{n}": moved(f"/{n - 1}") for n in range(1, 5)} | {"/0": page()}
    web = Web(trusted_hosts=[site.host])

    assert web.fetch(f"{site.url}/3") == b"picture"
    with pytest.raises(FetchError) as caught:
        web.fetch(f"{site.url}/4")

    assert caught.value.code == "url_redirects"


@pytest.mark.parametrize(
    ("status", "code", "transient"),
    [
        (404, "url_not_found", False),
        (410, "url_not_found", False),
        (401, "url_forbidden", False),
        (403, "url_forbidden", False),
        (408, "url_unreachable", True),
        (429, "url_unreachable", True),
        (500, "url_unreachable", True),
        (503, "url_unreachable", True),
        (400, "url_unreachable", False),
        (206, "url_unreachable", False),
        (302, "url_redirects", False),
    ],
)
def test_a_status_says_whether_trying_again_helps(site: Site, status: int, code: str, transient: bool) -> None:
    site.pages["/a.jpg"] = page(b"", status)

    with pytest.raises(FetchError) as caught:
        Web(trusted_hosts=[site.host]).fetch(f"{site.url}/a.jpg?sig=CANARY")

    assert (caught.value.code, caught.value.transient) == (code, transient)
    assert "CANARY" not in str(caught.value)


def test_an_announced_size_over_the_cap_is_refused_before_the_body(site: Site) -> None:
    def announce(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1001")
        request.end_headers()
        site.closing.wait()  # there is no body to wait for

    site.pages["/"] = announce

    with pytest.raises(FetchError) as caught:
        Web(trusted_hosts=[site.host], max_bytes=1000).fetch(f"{site.url}/")

    assert caught.value.code == "url_too_large"


def test_an_endless_body_ends_at_the_cap(site: Site) -> None:
    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while not site.closing.is_set():
            request.wfile.write(bytes(10_000))

    site.pages["/"] = endless

    with pytest.raises(FetchError) as caught:
        Web(trusted_hosts=[site.host], max_bytes=100_000).fetch(f"{site.url}/")

    assert caught.value.code == "url_too_large"


def test_a_body_of_exactly_the_cap_is_fetched(site: Site) -> None:
    site.pages["/"] = page(bytes(1000))

    assert len(Web(trusted_hosts=[site.host], max_bytes=1000).fetch(f"{site.url}/")) == 1000


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n", b""])
def test_a_server_that_drips_bytes_gains_no_time(site: Site, start: bytes) -> None:
    def drip(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(start)
        for _ in range(500):
            if site.closing.wait(0.01):
                break
            request.wfile.write(b"x" if start else b"")

    site.pages["/"] = drip
    began = time.monotonic()

    with pytest.raises(FetchError) as caught:
        Web(trusted_hosts=[site.host], timeout_s=0.3).fetch(f"{site.url}/")

    assert (caught.value.code, caught.value.transient) == ("url_unreachable", True)
    assert 0.25 < time.monotonic() - began < 5


def test_redirects_share_one_time(site: Site) -> None:
    now = [0.0]

    def late(request: BaseHTTPRequestHandler) -> None:
        now[0] += 20
        moved("/")(request)

    site.pages["/"] = late

    with pytest.raises(FetchError) as caught:
        Web(trusted_hosts=[site.host], timeout_s=30, clock=lambda: now[0]).fetch(f"{site.url}/")

    assert (caught.value.code, len(site.asked)) == ("url_unreachable", 2)


def test_a_resolver_that_hangs_is_waited_for_no_longer_than_the_fetch(site: Site) -> None:
    def hang(_host: str, _port: int) -> list[str]:
        site.closing.wait()
        return []

    with pytest.raises(FetchError) as caught:
        Web(resolver=hang, timeout_s=0.1).fetch("https://slow.example/")

    assert (caught.value.code, caught.value.transient) == ("url_unreachable", True)


@pytest.mark.parametrize("found", [socket.gaierror(-2, "unknown"), UnicodeError("label")])
def test_a_name_that_is_not_found_may_be_tried_again(found: Exception) -> None:
    def resolver(_host: str, _port: int) -> list[str]:
        raise found

    with pytest.raises(FetchError) as caught:
        Web(resolver=resolver).fetch("https://gone.example/a.jpg?sig=CANARY")

    assert (caught.value.code, caught.value.transient) == ("url_unreachable", True)
    assert "CANARY" not in str(caught.value)


def test_a_body_that_ends_early_may_be_tried_again(site: Site) -> None:
    site.pages["/"] = page(b"half", content_length="8")

    with pytest.raises(FetchError) as caught:
        Web(trusted_hosts=[site.host]).fetch(f"{site.url}/")

    assert (caught.value.code, caught.value.transient) == ("url_unreachable", True)


def test_what_is_not_http_may_be_tried_again(site: Site) -> None:
    site.pages["/"] = lambda request: (request.wfile.write(b"SSH-2.0-OpenSSH\r\n"), None)[1]

    with pytest.raises(FetchError) as caught:
        Web(trusted_hosts=[site.host]).fetch(f"{site.url}/")

    assert (caught.value.code, caught.value.transient) == ("url_unreachable", True)


def test_a_compressed_answer_is_refused(site: Site) -> None:
    site.pages["/"] = page(b"\x1f\x8b", content_encoding="gzip")

    with pytest.raises(FetchError) as caught:
        Web(trusted_hosts=[site.host]).fetch(f"{site.url}/")

    assert caught.value.code == "url_refused"
