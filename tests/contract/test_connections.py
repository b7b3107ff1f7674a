"""Connections that are kept, over real sockets: which of them carries what, and what a broken answer is."""

from __future__ import annotations

import select
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from jobs.connections import FRESH_S, IDLE_S, Answer, Connections, TooSlow, Unanswered
from tests.contract.raw import DRIPS, Conn, Server, dripping, reset, serving
from tests.servers import certificate_for

MOST = 1000
WITHIN_S = 60.0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate_for("IP:127.0.0.1", tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    """What a server secures its connections with; nobody vouches for it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


class Clock:
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


@contextmanager
def keeping(clock: Callable[[], float] = Clock(), *, silence_s: float = 5.0) -> Iterator[Connections]:  # noqa: B008
    kept = Connections(httpx.create_ssl_context(), connect_s=5.0, silence_s=silence_s, monotonic=clock)
    try:
        yield kept
    finally:
        kept.close()


def read(kept: Connections, server: Server, path: str = "/", *, within_s: float = WITHIN_S) -> bytes:
    with asking(kept, server, path, within_s=within_s) as found:
        return found.body(MOST)


def asking(
    kept: Connections,
    server: Server,
    path: str = "/",
    *,
    method: str = "GET",
    body: bytes = b"",
    within_s: float = WITHIN_S,
) -> AbstractContextManager[Answer]:
    return kept.asking(method, (server.scheme, "127.0.0.1", server.port), path, {}, body, within_s=within_s)


def say(conn: Conn, body: bytes, *headers: str) -> None:
    head = "\r\n".join(["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers])
    conn.sendall(head.encode() + b"\r\n\r\n" + body)


class Carried:
    """A server that tells which connection a request came on."""

    def __init__(self) -> None:
        self.connections = 0

    def __call__(self, server: Server, conn: Conn) -> None:
        self.connections += 1
        own = self.connections
        while True:
            asked = len(server.heads)
            server.head(conn)
            if len(server.heads) == asked:
                return
            say(conn, str(own).encode())


def test_one_request_after_another_uses_one_connection() -> None:
    with serving(Carried()) as server, keeping() as kept:
        assert [read(kept, server) for _ in range(3)] == [b"1"] * 3


def test_requests_at_once_have_a_connection_each_and_the_last_that_ended_is_used_first() -> None:
    with serving(Carried()) as server, keeping() as kept, ExitStack() as stack:
        first, second = (stack.enter_context(asking(kept, server)) for _ in range(2))
        said = [first.body(MOST), second.body(MOST)]
        stack.close()  # the second ends first

        assert said == [b"1", b"2"]
        assert read(kept, server) == b"1"


def test_a_connection_serves_one_host_only() -> None:
    with serving(Carried()) as one, serving(Carried()) as other, keeping() as kept:
        assert [read(kept, each) for each in (one, other, one)] == [b"1"] * 3


def test_a_connection_that_was_idle_for_long_is_not_taken_any_more() -> None:
    clock = Clock()
    with serving(Carried()) as server, keeping(clock) as kept:
        read(kept, server)
        clock.at = FRESH_S + 1

        assert read(kept, server) == b"2"


def test_connections_that_nobody_took_for_long_are_closed() -> None:
    clock, hung_up = Clock(), threading.Event()
    carried = Carried()

    def handle(server: Server, conn: Conn) -> None:
        first = carried.connections == 0
        carried(server, conn)
        if first:
            hung_up.set()

    with serving(handle) as server, keeping(clock) as kept, ExitStack() as stack:
        for found in [stack.enter_context(asking(kept, server)) for _ in range(2)]:
            found.body(MOST)
        second_then_first = stack.pop_all()
        second_then_first.close()
        clock.at = 1.0
        read(kept, server)  # on the first, which is put back anew; the second lies below it
        clock.at = IDLE_S + 0.5
        with asking(kept, server) as found:
            found.body(MOST)

        assert hung_up.wait(10)


def test_a_get_whose_kept_connection_has_ended_is_said_again_on_another() -> None:
    def handle(server: Server, conn: Conn) -> None:
        server.head(conn)
        say(conn, b"whole")
        if len(server.heads) == 1:
            server.head(conn)  # takes the second request, and hangs up on it

    with serving(handle) as server, keeping() as kept:
        assert [read(kept, server) for _ in range(2)] == [b"whole"] * 2
        assert len(server.heads) == 3


def test_a_new_connection_that_is_hung_up_on_is_no_answer() -> None:
    def handle(server: Server, conn: Conn) -> None:
        server.head(conn)
        reset(conn)

    with serving(handle) as server, keeping() as kept:
        with pytest.raises(Unanswered):
            read(kept, server)

        assert len(server.heads) == 1


def test_a_connection_that_the_other_side_wants_closed_is_not_kept() -> None:
    def handle(server: Server, conn: Conn) -> None:
        server.head(conn)
        say(conn, b"whole", "Connection: close")

    with serving(handle) as server, keeping() as kept:
        assert [read(kept, server) for _ in range(2)] == [b"whole"] * 2


def test_what_is_said_unasked_on_a_kept_connection_answers_nothing() -> None:
    unasked = threading.Event()

    def handle(server: Server, conn: Conn) -> None:
        server.head(conn)
        say(conn, b"first")
        if len(server.heads) == 1:
            say(conn, b"nobody asked")
            unasked.set()
            conn.recv(1)

    with serving(handle) as server, keeping() as kept:
        read(kept, server)
        unasked.wait(10)

        assert read(kept, server) == b"first"


@pytest.mark.parametrize("interim", [b"102 Processing", b"103 Early Hints\r\nLink: </x>"])
def test_after_an_interim_answer_each_request_has_the_answer_that_is_its_own(interim: bytes) -> None:
    def handle(server: Server, conn: Conn) -> None:
        for _ in range(2):
            server.head(conn)
            asked = server.heads[-1].split()[1]
            conn.sendall(b"HTTP/1.1 " + interim + b"\r\n\r\n")
            select.select([conn], [], [], 0.1)  # whoever takes it for the answer asks for the next thing now
            say(conn, asked)

    with serving(handle) as server, keeping() as kept:
        assert [read(kept, server, path) for path in ("/1", "/2")] == [b"/1", b"/2"]


@pytest.mark.parametrize("interim", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
def test_interim_answers_without_end_are_no_answer(interim: bytes) -> None:
    def handle(server: Server, conn: Conn) -> None:
        server.head(conn)
        while True:
            conn.sendall(b"HTTP/1.1 " + interim + b"\r\n\r\n")

    with serving(handle) as server, keeping() as kept, pytest.raises(Unanswered, match="BadStatusLine"):
        read(kept, server)


def test_a_connection_on_which_the_other_side_changes_the_protocol_is_not_kept() -> None:
    asked_more: list[bytes] = []

    def handle(server: Server, conn: Conn) -> None:
        server.head(conn)
        if len(server.heads) > 1:
            say(conn, b"whole")
        else:
            conn.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")
            asked_more.append(conn.recv(1))

    with serving(handle) as server, keeping() as kept:
        said = [read(kept, server) for _ in range(2)]

    assert said == [b"", b"whole"]
    assert asked_more == [b""]


def test_a_body_that_breaks_off_is_no_answer_and_its_connection_is_not_kept() -> None:
    def handle(server: Server, conn: Conn) -> None:
        server.head(conn)
        if len(server.heads) == 1:
            conn.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nhalf")
        else:
            say(conn, b"whole")

    with serving(handle) as server, keeping() as kept:
        with pytest.raises(Unanswered, match="IncompleteRead"):
            read(kept, server)

        assert read(kept, server) == b"whole"


@pytest.mark.parametrize("how", ["whole", "in pieces"])
def test_a_body_that_cannot_come_is_not_waited_for_and_its_connection_is_not_kept(how: str) -> None:
    asked_more: list[bytes] = []

    def handle(server: Server, conn: Conn) -> None:
        server.head(conn)
        conn.sendall(b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n")
        asked_more.append(conn.recv(1))

    with serving(handle) as server, keeping() as kept:
        for _ in range(2):
            with asking(kept, server) as found:
                said = found.body(MOST) if how == "whole" else b"".join(found.pieces())
            assert said == b""

    assert asked_more == [b"", b""]


@pytest.mark.parametrize("head", [b"Content-Length: 2000", b"Connection: close"])
def test_a_body_that_is_too_long_is_not_read_to_its_end(head: bytes) -> None:
    def handle(server: Server, conn: Conn) -> None:
        server.head(conn)
        conn.sendall(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + b"x" * (MOST + 1))
        conn.recv(1)  # until the other side has had enough

    with serving(handle) as server, keeping() as kept, pytest.raises(Unanswered, match="TooLarge"):
        read(kept, server)


@pytest.mark.parametrize("announced", [500, 10**13])
def test_a_body_that_is_shorter_than_was_announced_is_none_however_long_that_is(announced: int) -> None:
    def handle(server: Server, conn: Conn) -> None:
        server.head(conn)
        conn.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {announced}\r\n\r\nhalf".encode())

    with (
        serving(handle) as server,
        keeping() as kept,
        pytest.raises(Unanswered, match="IncompleteRead"),
        asking(kept, server) as found,
    ):
        found.body(10**14)


@pytest.mark.parametrize("said", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 200 + b"\r\n"])
def test_what_is_no_http_is_no_answer(said: bytes) -> None:
    def handle(server: Server, conn: Conn) -> None:
        server.head(conn)
        conn.sendall(said)

    with serving(handle) as server, keeping() as kept, pytest.raises(Unanswered):
        read(kept, server)


def test_silence_is_no_answer() -> None:
    over = threading.Event()

    def handle(server: Server, conn: Conn) -> None:
        server.head(conn)
        over.wait(10)

    with serving(handle) as server, keeping(silence_s=0.1) as kept:
        with pytest.raises(Unanswered, match="TimeoutError"):
            read(kept, server)
        over.set()


def test_an_answer_that_drips_has_a_time_in_all() -> None:
    with serving(dripping(*DRIPS["body"])) as server, keeping(time.monotonic) as kept, pytest.raises(TooSlow):
        read(kept, server, within_s=0.1)


def test_a_request_that_is_taken_drop_by_drop_has_a_time_in_all() -> None:
    over = threading.Event()

    def handle(server: Server, conn: Conn) -> None:
        server.head(conn)
        while conn.recv(4096) and not over.wait(0.02):
            pass

    with serving(handle) as server, keeping(time.monotonic) as kept:
        with pytest.raises(TooSlow), asking(kept, server, method="PUT", body=b"x" * 40_000_000, within_s=0.2):
            pass
        over.set()


def test_each_request_on_a_kept_connection_has_its_whole_time_anew() -> None:
    clock, said = Clock(), []

    with serving(Carried()) as server, keeping(clock) as kept:
        for _ in range(3):
            said.append(read(kept, server, within_s=4.0))
            clock.at += 3.0

    assert said == [b"1"] * 3


def test_a_request_with_little_time_does_not_take_the_patience_of_the_next_one() -> None:
    def handle(server: Server, conn: Conn) -> None:
        server.head(conn)
        say(conn, b"at once")
        server.head(conn)
        select.select([conn], [], [], 2.1)  # says nothing for longer than the first request had in all
        say(conn, b"later")

    with serving(handle) as server, keeping(time.monotonic) as kept:
        assert [read(kept, server, within_s=within) for within in (2.0, WITHIN_S)] == [b"at once", b"later"]


def test_a_certificate_that_nobody_vouches_for_is_refused(tls: ssl.SSLContext) -> None:
    with serving(Carried(), tls=tls) as server, keeping() as kept, pytest.raises(Unanswered, match="SSLCert"):
        read(kept, server)


def test_over_tls_a_connection_is_kept_too(
    tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    with serving(Carried(), tls=tls) as server, keeping() as kept:
        assert [read(kept, server) for _ in range(2)] == [b"1"] * 2


def test_who_forgets_to_close_them_leaves_no_sockets_behind() -> None:
    hung_up = threading.Event()

    def handle(server: Server, conn: Conn) -> None:
        Carried()(server, conn)
        hung_up.set()

    with serving(handle) as server:
        kept = Connections(None, connect_s=5.0, silence_s=5.0)
        read(kept, server)
        del kept

        assert hung_up.wait(10)


def test_the_end_closes_what_is_idle() -> None:
    hung_up = threading.Event()

    def handle(server: Server, conn: Conn) -> None:
        Carried()(server, conn)
        hung_up.set()

    with serving(handle) as server:
        with keeping() as kept:
            read(kept, server)

        assert hung_up.wait(10)
