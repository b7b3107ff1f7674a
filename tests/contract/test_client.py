"""The HTTP client against real sockets: what leaves when, what an answer that never came means, where the key goes.

The simulator answers what the API would; a raw server does what no API should.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest
from pydantic import SecretStr

from config.catalogue import shipped_catalogue
from jobs.errors import Superseded
from jobs.job import Receipt
from jobs.request import Request
from simulator.faults import Faults
from simulator.options import Options
from simulator.service import Addresses
from simulator.threaded import running
from tests.contract.raw import Conn, Server, answer, reset, serving
from workers.api import client as clients
from workers.api.client import LAST, Api, DownloadFailed, Key, NotSent
from workers.api.protocol import (
    Accepted,
    KeyRefused,
    NoAnswer,
    RefusedForGood,
    RefusedForNow,
    ResultReady,
    StillRunning,
    TaskNotFound,
    Throttled,
    Unknown,
    build,
)

KEY = Key.of(SecretStr("CANARYKEY-of-a-test"))
SECRET = "sig=CANARYSIG"
BODY = b'{"prompt":"' + b"x" * 1000 + b'"}'
PRO = "/v1/flux-2-pro"


def nothing() -> None:
    """Stand for a mark that is written."""


@contextmanager
def api(base_url: str, *trusted: str, timeout_s: float = 5.0) -> Iterator[Api]:
    made = Api(base_url=base_url, trusted_hosts=trusted, timeout_s=timeout_s)
    try:
        yield made
    finally:
        made.close()


def task(url: str) -> Receipt:
    return Receipt(task_id="1", polling_url=url)


ACCEPTED = b'{"id":"t1","polling_url":"http://127.0.0.1/x","cost":4.5}'


# -- the sent mark


def test_the_last_bytes_of_the_body_leave_only_after_the_mark() -> None:
    order: list[str] = []
    first_came, marked = threading.Event(), threading.Event()

    def handle(server: Server, conn: Conn) -> None:
        body = server.head(conn)
        while len(body) < len(BODY) - LAST:
            body += conn.recv(65536)
        order.append(f"first {len(body)}")
        conn.setblocking(False)
        first_came.set()
        assert marked.wait(5)
        conn.settimeout(10)
        while len(body) < len(BODY):
            body += conn.recv(65536)
        order.append(f"last {len(body)}")
        answer(conn, "200 OK", ACCEPTED)

    def mark() -> None:
        assert first_came.wait(5)
        order.append("mark")
        marked.set()

    with serving(handle) as server, api(server.base_url) as found:
        said = found.submit(PRO, BODY, KEY, mark)

    assert isinstance(said, Accepted)
    assert order == [f"first {len(BODY) - LAST}", "mark", f"last {len(BODY)}"]


def kept_back(body: bytes, mark: Callable[[], None]) -> tuple[BaseException, bytes]:
    """Submit with a mark that is called once the server has the head; return what was raised and what had left."""
    came = bytearray()
    headed = threading.Event()

    def handle(server: Server, conn: Conn) -> None:
        came.extend(server.head(conn))
        headed.set()
        while got := conn.recv(65536):
            came.extend(got)

    def waited() -> None:
        assert headed.wait(5)
        mark()

    with serving(handle) as server, api(server.base_url) as found, pytest.raises((NotSent, Superseded)) as caught:
        found.submit(PRO, body, KEY, waited)
    return caught.value, bytes(came)


def refused() -> None:
    raise Superseded("somebody else has it")


def test_a_mark_that_is_refused_keeps_the_last_part_back_and_the_error_passes() -> None:
    error, came = kept_back(BODY, refused)

    assert isinstance(error, Superseded)
    assert came == BODY[:-LAST]


def test_a_body_smaller_than_its_last_part_leaves_nothing_before_the_mark() -> None:
    _, came = kept_back(b'{"prompt":"p"}', refused)

    assert came == b""


def test_a_mark_that_took_too_long_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    error, came = kept_back(BODY, lambda: monkeypatch.setattr(clients, "MARK_TO_LAST_S", 0.0))

    assert isinstance(error, NotSent)
    assert came == BODY[:-LAST]


def test_an_upload_that_stalls_before_the_mark_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "MARK_TO_LAST_S", 0.2)
    marks: list[int] = []
    over = threading.Event()

    def handle(server: Server, conn: Conn) -> None:
        server.head(conn)
        over.wait(10)  # reads nothing more

    with serving(handle) as server, api(server.base_url) as found:
        with pytest.raises(NotSent, match="WriteTimeout"):
            found.submit(PRO, b"x" * 40_000_000, KEY, lambda: marks.append(1))
        over.set()

    assert marks == []


# -- refused, accepted, unknown


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("400 Bad Request", RefusedForGood),
        ("413 Too Large", RefusedForGood),
        ("402 Payment Required", KeyRefused),
        ("429 Too Many Requests", Throttled),
        ("503 Service Unavailable", RefusedForNow),
    ],
)
def test_a_refusal_that_comes_before_the_body_is_whole_is_read(status: str, kind: type) -> None:
    body = b"x" * 8_000_000

    def handle(server: Server, conn: Conn) -> None:
        server.head(conn)
        answer(conn, status, b'{"detail":"no"}')
        conn.shutdown(socket.SHUT_WR)
        while conn.recv(1 << 20):
            pass

    with serving(handle) as server, api(server.base_url) as found:
        said = found.submit(PRO, body, KEY, nothing)

    assert isinstance(said, kind)


def test_an_answer_that_proves_nothing_before_the_last_part_left_is_not_sent() -> None:
    def handle(server: Server, conn: Conn) -> None:
        server.head(conn)
        answer(conn, "502 Bad Gateway")
        reset(conn)

    def mark() -> None:
        raise AssertionError("the connection was gone")

    with serving(handle) as server, api(server.base_url) as found, pytest.raises((NotSent, AssertionError)) as caught:
        found.submit(PRO, b"x" * 40_000_000, KEY, mark)

    assert isinstance(caught.value, NotSent)


def test_a_reset_before_the_last_part_is_not_sent() -> None:
    def handle(server: Server, conn: Conn) -> None:
        server.head(conn)
        reset(conn)

    with serving(handle) as server, api(server.base_url) as found, pytest.raises(NotSent):
        found.submit(PRO, b"x" * 40_000_000, KEY, nothing)


@pytest.mark.parametrize("how", ["reset", "eof", "half an answer"])
def test_a_connection_that_breaks_after_the_last_part_is_unknown(how: str) -> None:
    def handle(server: Server, conn: Conn) -> None:
        server.whole(conn, len(BODY))
        if how == "half an answer":
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{")
        if how == "reset":
            reset(conn)

    with serving(handle) as server, api(server.base_url) as found:
        said = found.submit(PRO, BODY, KEY, nothing)

    assert isinstance(said, Unknown)


def test_an_answer_that_does_not_come_is_unknown() -> None:
    over = threading.Event()

    def handle(server: Server, conn: Conn) -> None:
        server.whole(conn, len(BODY))
        over.wait(10)

    with serving(handle) as server, api(server.base_url, timeout_s=0.2) as found:
        said = found.submit(PRO, BODY, KEY, nothing)
        over.set()

    assert said == Unknown(detail="ReadTimeout")


def test_nobody_there_is_not_sent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    with api(f"http://127.0.0.1:{port}") as found, pytest.raises(NotSent):
        found.submit(PRO, BODY, KEY, nothing)


def test_a_submission_is_sent_once_whatever_happens_and_each_on_its_own_connection() -> None:
    def handle(server: Server, conn: Conn) -> None:
        server.whole(conn, len(BODY))
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        server.whole(conn, len(BODY))  # a kept connection would be used here

    with serving(handle) as server, api(server.base_url) as found:
        said = [found.submit(PRO, BODY, KEY, nothing) for _ in range(3)]

        assert all(isinstance(one, Unknown) for one in said)
        assert len(server.heads) == 3


# -- redirects, keys, hosts


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
def test_a_redirect_is_never_followed(status: str) -> None:
    def elsewhere(server: Server, conn: Conn) -> None:
        server.head(conn)
        answer(conn, "200 OK", ACCEPTED)

    with serving(elsewhere) as other:

        def handle(server: Server, conn: Conn) -> None:
            server.whole(conn, len(BODY) if not server.heads else 0)
            answer(conn, status, b"", f"Location: {other.base_url}/x?{SECRET}")

        with serving(handle) as server, api(server.base_url, f"127.0.0.1:{other.port}") as found:
            submitted = found.submit(PRO, BODY, KEY, nothing)
            polled = found.poll(task(f"{server.base_url}/v1/get_result?id=1"), KEY)
            with pytest.raises(DownloadFailed):
                found.download(f"{server.base_url}/r.png?{SECRET}")

        assert isinstance(submitted, Unknown)
        assert isinstance(polled, NoAnswer)
        assert other.heads == []


def test_the_key_is_sent_to_the_api_and_never_with_a_download() -> None:
    def handle(server: Server, conn: Conn) -> None:
        server.whole(conn, 0)
        answer(conn, "200 OK", b"{}")

    with serving(handle) as server, api(server.base_url) as found:
        found.poll(task(f"{server.base_url}/v1/get_result?id=1"), KEY)
        found.download(f"{server.base_url}/r.png?{SECRET}")

        assert [b"CANARYKEY" in head for head in server.heads] == [True, False]


def test_a_cookie_that_a_host_sets_is_never_sent_back() -> None:
    def handle(server: Server, conn: Conn) -> None:
        server.whole(conn, 0)
        answer(conn, "200 OK", b"{}", "Set-Cookie: known=you; Path=/")

    with serving(handle) as server, api(server.base_url) as found:
        for _ in range(2):
            found.poll(task(f"{server.base_url}/v1/get_result?id=1"), KEY)

        assert [b"known=you" in head for head in server.heads] == [False, False]


def test_a_foreign_host_is_neither_polled_nor_downloaded_from() -> None:
    def handle(server: Server, conn: Conn) -> None:
        server.whole(conn, 0)
        answer(conn, "200 OK", b"{}")

    with serving(handle) as server, api("https://api.bfl.ai") as found:
        polled = found.poll(task(f"{server.base_url}/v1/get_result?{SECRET}"), KEY)
        with pytest.raises(DownloadFailed) as caught:
            found.download(f"{server.base_url}/r.png?{SECRET}")

        assert server.heads == []
    assert isinstance(polled, NoAnswer)
    assert not caught.value.transient
    assert "CANARY" not in polled.detail + str(caught.value)


def test_a_compressed_answer_is_not_asked_for() -> None:
    def handle(server: Server, conn: Conn) -> None:
        server.whole(conn, 0)
        answer(conn, "200 OK", b"bytes")

    with serving(handle) as server, api(server.base_url) as found:
        assert found.download(f"{server.base_url}/r.png") == (b"bytes", 5)
        assert b"accept-encoding: identity" in server.heads[0].lower()


# -- polls and downloads that fail


def test_a_poll_never_raises_for_what_the_network_does() -> None:
    def handle(server: Server, conn: Conn) -> None:
        server.whole(conn, 0)
        reset(conn)

    with serving(handle) as server, api(server.base_url) as found:
        assert isinstance(found.poll(task(f"{server.base_url}/v1/get_result?id=1"), KEY), NoAnswer)


def test_an_answer_about_another_task_is_none_and_nothing_more_is_asked_where_it_came_from() -> None:
    def handle(server: Server, conn: Conn) -> None:
        name = "another" if not server.heads else "1"
        server.head(conn)
        body = b'{"id":"%s","status":"Ready","result":{"sample":"https://x/y"}}' % name.encode()
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        asked_more.append(conn.recv(1))

    asked_more: list[bytes] = []
    with serving(handle) as server, api(server.base_url) as found:
        first, second = (found.poll(task(f"{server.base_url}/v1/get_result?id=1"), KEY) for _ in range(2))

    assert isinstance(first, NoAnswer)
    assert isinstance(second, ResultReady)
    assert asked_more == [b"", b""]


@pytest.mark.parametrize(
    ("status", "expired"), [("403 Forbidden", True), ("404 Not Found", True), ("410 Gone", True), ("500 Oh", False)]
)
def test_a_download_says_whether_its_url_is_dead(status: str, expired: bool) -> None:
    def handle(server: Server, conn: Conn) -> None:
        server.whole(conn, 0)
        answer(conn, status, b"<Error/>")

    with (
        serving(handle) as server,
        api(server.base_url) as found,
        pytest.raises(DownloadFailed) as caught,
    ):
        found.download(f"{server.base_url}/r.png?{SECRET}")

    assert (caught.value.expired, caught.value.transient) == (expired, True)


def test_a_download_that_breaks_off_may_be_tried_again() -> None:
    def handle(server: Server, conn: Conn) -> None:
        server.whole(conn, 0)
        conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhalf")

    with serving(handle) as server, api(server.base_url) as found, pytest.raises(DownloadFailed) as caught:
        found.download(f"{server.base_url}/r.png?{SECRET}")

    assert (caught.value.expired, caught.value.transient) == (False, True)


@pytest.mark.parametrize("length", ["\xb2", "9" * 5000], ids=["no digit", "more digits than are read"])
def test_a_length_that_cannot_be_read_says_nothing_of_a_download(length: str) -> None:
    def handle(server: Server, conn: Conn) -> None:
        server.whole(conn, 0)
        conn.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nbytes".encode("latin-1"))

    with serving(handle) as server, api(server.base_url) as found:
        assert found.download(f"{server.base_url}/r.png") == (b"bytes", None)


def test_a_download_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "LARGEST_RESULT", 10_000)

    def handle(server: Server, conn: Conn) -> None:
        server.whole(conn, 0)
        conn.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            conn.sendall(b"x" * 4096)  # without an end

    with serving(handle) as server, api(server.base_url) as found, pytest.raises(DownloadFailed) as caught:
        found.download(f"{server.base_url}/r.png")

    assert not caught.value.transient


@pytest.mark.parametrize("level", ["DEBUG", "INFO"])
def test_neither_a_signature_nor_a_key_stands_in_what_is_raised_or_in_our_own_log(
    level: str, caplog: pytest.LogCaptureFixture
) -> None:
    def handle(server: Server, conn: Conn) -> None:
        server.whole(conn, 0)
        reset(conn)

    said: list[str] = []
    for name in ("httpx", "httpcore"):  # as config.logs sets them; they would print whole URLs
        caplog.set_level(logging.WARNING, name)
    caplog.set_level(level)
    with serving(handle) as server, api(server.base_url) as found:
        said.append(repr(found.poll(task(f"{server.base_url}/v1/get_result?{SECRET}"), KEY)))
        try:
            found.submit(f"{PRO}?{SECRET}", b"x" * 8_000_000, KEY, nothing)
        except NotSent as error:
            said.append(f"{error!r} {error.__cause__!r}")
        try:
            found.download(f"{server.base_url}/r.png?{SECRET}")
        except DownloadFailed as error:
            said.append(f"{error!r} {error.__cause__!r}")

    assert len(said) == 3
    assert "CANARY" not in " ".join([*said, caplog.text, repr(KEY)])


# -- against the simulator


@contextmanager
def simulated(**faults: float) -> Iterator[tuple[Addresses, Api]]:
    options = Options(port=0, latency=0.0, result_size=(64, 64), faults=Faults(**faults))  # type: ignore[arg-type]
    with running(options) as at, api(at.base_url, *at.trusted_hosts) as found:
        yield at, found


def body() -> bytes:
    model = shipped_catalogue().models["flux-2-pro"]
    return build(model, Request(model="flux-2-pro", prompt="Stühle", inputs=()), [])


def tasks(at: Addresses) -> object:
    return httpx.get(f"{at.base_url}/admin/ledger?summary=1", trust_env=False).json()["tasks"]


def test_an_edit_is_submitted_polled_and_downloaded() -> None:
    with simulated() as (at, found):
        said = found.submit(PRO, body(), KEY, nothing)
        assert isinstance(said, Accepted)
        polled = found.poll(said.receipt, KEY)
        assert isinstance(polled, ResultReady)
        data, length = found.download(polled.url)

        assert tasks(at) == 1
    assert data.startswith(b"\xff\xd8")
    assert length == len(data)
    assert said.receipt.cost == 30_000


def test_a_mark_that_is_refused_makes_no_task_at_the_api() -> None:
    with simulated() as (at, found):
        with pytest.raises(Superseded):
            found.submit(PRO, body(), KEY, refused)

        assert tasks(at) == 0


def test_a_lost_answer_is_unknown_although_the_task_exists() -> None:
    with simulated(lose_answer=1.0) as (at, found):
        said = found.submit(PRO, body(), KEY, nothing)

        assert tasks(at) == 1
    assert isinstance(said, Unknown)


def test_the_apis_refusals_are_refusals() -> None:
    short = Key.of(SecretStr("x"))
    with simulated(rate_limit=1.0) as (at, found):
        throttled = found.submit(PRO, body(), KEY, nothing)
        bad_key = found.submit(PRO, body(), short, nothing)
        missing = found.submit("/v1/no-such-model", body(), KEY, nothing)

        assert tasks(at) == 0
    assert isinstance(throttled, Throttled)
    assert throttled.after == 1.0
    assert isinstance(bad_key, KeyRefused)
    assert isinstance(missing, RefusedForGood)


def test_a_task_that_another_region_runs_is_not_found_here() -> None:
    with simulated() as (at, found):
        assert isinstance(found.poll(task(f"{at.base_url}/v1/get_result?id=nobody"), KEY), TaskNotFound | StillRunning)
