"""A body that is sent ahead of its slot, against real sockets: what is there when the gate is asked, and what the API
may do while the last part is held back."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from jobs.errors import Superseded
from running.programs import eventually
from tests.contract.raw import Conn, Server, answer, reset, serving
from tests.servers import certificate_for
from workers.api import client as clients
from workers.api.client import LAST, Api, Heard, Key, NotSent
from workers.api.line import Line
from workers.api.protocol import Accepted, KeyRefused, RefusedForGood, SubmitAnswer, Throttled

KEY = Key.of(SecretStr("CANARYKEY-of-a-test"))
PRO = "/v1/flux-2-pro"
BODY = b'{"prompt":"' + b"x" * 1000 + b'"}'
LARGE = b"x" * 300_000
"""More than a server takes that reads nothing, and less than this side keeps for it."""
ACCEPTED = b'{"id":"t1","polling_url":"http://127.0.0.1/x","cost":4.5}'


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificate_for("IP:127.0.0.1", tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext | None:
    """What the server secures its connections with; the client trusts it."""
    if request.param == "plain":
        return None
    certificate = request.getfixturevalue("certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@contextmanager
def api(base_url: str) -> Iterator[Api]:
    made = Api(base_url=base_url, timeout_s=5.0)
    try:
        yield made
    finally:
        made.close()


def rest(conn: Conn, body: bytearray, until: int) -> None:
    """Read on, until so much of the body is there or the client has gone."""
    while len(body) < until and (got := conn.recv(65536)):
        body += got


class Calls:
    """What was called on the way of a submission."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def mark(self) -> None:
        self.names.append("mark")

    def gate(self, _: Heard) -> None:
        self.names.append("gate")


def until_heard(heard: Heard) -> None:
    """Stand at the gate until the API says something."""
    eventually(heard, 10, "the API is heard")


# -- what is there when the gate is asked


def test_the_gate_is_asked_when_the_api_has_all_but_the_last_part(
    tls: ssl.SSLContext | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, reading = threading.Event(), threading.Event()
    seen: list[bool] = []
    real = Line._on_the_way

    def looked(line: Line) -> int:
        written.set()
        return real(line)

    def handle(server: Server, conn: Conn) -> None:
        body = bytearray(server.head(conn))
        written.wait(5)
        reading.set()
        rest(conn, body, len(LARGE))
        answer(conn, "200 OK", ACCEPTED)

    monkeypatch.setattr(Line, "_on_the_way", looked)
    with serving(handle, tls=tls) as server, api(server.base_url) as found:
        said = found.submit(PRO, LARGE, KEY, Calls().mark, gate=lambda _: seen.append(reading.is_set()))

    assert isinstance(said, Accepted)
    assert seen == [True]


def test_a_body_that_does_not_get_through_is_given_up_before_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "MARK_TO_LAST_S", 0.2)
    calls, over = Calls(), threading.Event()

    def handle(server: Server, conn: Conn) -> None:
        server.head(conn)
        over.wait(10)  # reads nothing more

    with serving(handle) as server, api(server.base_url) as found:
        with pytest.raises(NotSent, match="does not get through"):
            found.submit(PRO, LARGE, KEY, calls.mark, gate=calls.gate)
        over.set()

    assert calls.names == []


@pytest.mark.parametrize(("after", "leaves"), [("the first piece", 100_000), ("all pieces", len(LARGE) - LAST)])
def test_a_body_that_is_not_wanted_any_more_ends_on_its_way(
    after: str, leaves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "PIECE", 100_000)
    monkeypatch.setattr(clients, "MARK_TO_LAST_S", 60.0)
    calls, came, over = Calls(), bytearray(), threading.Event()
    wanted = iter([True] * (1 if after == "the first piece" else 3))

    def handle(server: Server, conn: Conn) -> None:
        came.extend(server.head(conn))
        headed.set()
        over.wait(10)
        rest(conn, came, len(LARGE))

    def is_wanted() -> bool:
        if came_first.is_set():
            assert headed.wait(10)  # or nobody would ever read it
        came_first.set()
        return next(wanted, False)

    headed, came_first = threading.Event(), threading.Event()
    with serving(handle) as server, api(server.base_url) as found:
        with pytest.raises(NotSent) as caught:
            found.submit(PRO, LARGE, KEY, calls.mark, gate=calls.gate, wanted=is_wanted)
        over.set()

    assert caught.value.by_us
    assert calls.names == []
    assert len(came) == leaves


# -- what the API does meanwhile


def held_back(
    tls: ssl.SSLContext | None, then: Callable[[Conn], object], *, gate: Callable[[Heard], object] = until_heard
) -> tuple[SubmitAnswer | NotSent | Superseded, list[str], bytes]:
    """Submit to a server that does something while it waits for the last part.

    Returns what came of it, what was called, and what of the body the server ever had.
    """
    calls, came, there = Calls(), bytearray(), threading.Event()
    said: SubmitAnswer | NotSent | Superseded

    def handle(server: Server, conn: Conn) -> None:
        came.extend(server.head(conn))
        rest(conn, came, len(BODY) - LAST)
        there.set()
        then(conn)
        rest(conn, came, len(BODY))

    def passed(heard: Heard) -> None:
        assert there.wait(10)
        calls.gate(heard)
        gate(heard)

    with serving(handle, tls=tls) as server, api(server.base_url) as found:
        try:
            said = found.submit(PRO, BODY, KEY, calls.mark, gate=passed)
        except (NotSent, Superseded) as error:
            said = error
    return said, calls.names, bytes(came)


def nothing(_: object) -> None:
    """Do nothing."""


def refused(_: Heard) -> None:
    """Let nobody pass the gate."""
    raise Superseded("somebody else has it")


def test_the_gate_comes_before_the_mark_and_what_it_raises_passes() -> None:
    said, called, came = held_back(None, nothing, gate=refused)

    assert isinstance(said, Superseded)
    assert called == ["gate"]
    assert came == BODY[:-LAST]


def test_a_body_that_was_held_back_for_too_long_is_given_up_before_the_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "HELD_S", 0.0)

    said, called, came = held_back(None, nothing, gate=nothing)

    assert isinstance(said, NotSent)
    assert said.by_us
    assert called == ["gate"]
    assert came == BODY[:-LAST]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("401 Unauthorized", KeyRefused),
        ("402 Payment Required", KeyRefused),
        ("413 Too Large", RefusedForGood),
        ("429 Too Many Requests", Throttled),
        ("200 OK", Accepted),
    ],
)
def test_what_the_api_says_while_the_last_part_is_held_back_is_read_and_the_last_part_stays(
    status: str, kind: type, tls: ssl.SSLContext | None
) -> None:
    body = ACCEPTED if status == "200 OK" else b'{"detail":"no"}'

    said, called, came = held_back(tls, lambda conn: answer(conn, status, body))

    assert isinstance(said, kind)
    assert "mark" not in called
    assert came == BODY[:-LAST]


@pytest.mark.parametrize("how", ["408", "500", "nothing"])
def test_an_api_that_hangs_up_while_the_last_part_is_held_back_has_taken_nothing(
    how: str, tls: ssl.SSLContext | None
) -> None:
    def hang_up(conn: Conn) -> None:
        if how != "nothing":
            answer(conn, f"{how} Oh", b"")
        socket.socket.shutdown(conn, socket.SHUT_WR)  # of TLS, too, the lower half: it still reads

    said, called, came = held_back(tls, hang_up)

    assert isinstance(said, NotSent)
    assert not said.by_us
    assert "mark" not in called
    assert came == BODY[:-LAST]


def test_a_reset_while_the_last_part_is_held_back_has_taken_nothing(tls: ssl.SSLContext | None) -> None:
    said, called, _ = held_back(tls, reset)

    assert isinstance(said, NotSent)
    assert "mark" not in called


def test_what_the_api_says_while_the_mark_is_written_keeps_the_last_part_back(tls: ssl.SSLContext | None) -> None:
    marking, seen = threading.Event(), bytearray()
    line: list[Heard] = []

    def mark() -> None:
        marking.set()
        until_heard(line[0])

    def handle(server: Server, conn: Conn) -> None:
        seen.extend(server.head(conn))
        rest(conn, seen, len(BODY) - LAST)
        assert marking.wait(10)
        answer(conn, "429 Too Many Requests", b'{"detail":"no"}')
        rest(conn, seen, len(BODY))

    with serving(handle, tls=tls) as server, api(server.base_url) as found:
        said = found.submit(PRO, BODY, KEY, mark, gate=line.append)

    assert isinstance(said, Throttled)
    assert seen == BODY[:-LAST]


def test_an_interim_answer_that_nobody_asked_for_is_no_news(tls: ssl.SSLContext | None) -> None:
    sent = threading.Event()
    seen: list[bool] = []

    def handle(server: Server, conn: Conn) -> None:
        body = bytearray(server.head(conn))
        rest(conn, body, len(BODY) - LAST)
        conn.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        sent.set()
        rest(conn, body, len(BODY))
        answer(conn, "200 OK", ACCEPTED)

    def gate(heard: Heard) -> None:
        assert sent.wait(10)
        seen.extend([heard(), heard()])

    with serving(handle, tls=tls) as server, api(server.base_url) as found:
        said = found.submit(PRO, BODY, KEY, Calls().mark, gate=gate)

    assert isinstance(said, Accepted)
    assert seen == [False, False]


def test_a_session_ticket_is_no_news(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    lines: list[Line] = []
    seen: list[tuple[bool, bool]] = []

    class Noted(Line):
        def __init__(self) -> None:
            super().__init__()
            lines.append(self)

    def gate(heard: Heard) -> None:
        sock: Any = lines[0]._socket
        readable = bool(select.select([sock], [], [], 10)[0])
        seen.append((readable, heard()))

    def handle(server: Server, conn: Conn) -> None:
        server.whole(conn, len(BODY))
        answer(conn, "200 OK", ACCEPTED)

    monkeypatch.setattr(clients, "Line", Noted)
    monkeypatch.setattr(Line, "_on_the_way", lambda _: 0)  # nobody looks before the gate does
    with serving(handle, tls=context) as server, api(server.base_url) as found:
        said = found.submit(PRO, BODY, KEY, Calls().mark, gate=gate)

    assert isinstance(said, Accepted)
    assert seen == [(True, False)]
