"""A request has a connection to itself, and leaves it to the next one to the same host."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from workers.api.connections import IDLE_S, Connections


class Wire(httpx.BaseTransport):
    """A connection that notes what becomes of it."""

    def __init__(self, made: list[Wire]) -> None:
        made.append(self)
        self.carried: list[str] = []
        self.closed = False
        self.busy = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert not self.busy, "another request has it"
        assert not self.closed
        if request.url.path == "/reset":
            raise httpx.ReadError("reset")
        self.carried.append(request.url.path)
        return httpx.Response(200, stream=httpx.ByteStream(b"body"))

    def close(self) -> None:
        self.closed = True


Opened = Callable[..., httpx.Client]


@pytest.fixture
def made() -> list[Wire]:
    return []


@pytest.fixture
def clock() -> list[float]:
    return [0.0]


@pytest.fixture
def opened(made: list[Wire], clock: list[float]) -> Opened:
    def client(*, keep: bool = True) -> httpx.Client:
        return httpx.Client(transport=Connections(lambda: Wire(made), keep=keep, monotonic=lambda: clock[0]))

    return client


def test_one_request_after_another_uses_one_connection(opened: Opened, made: list[Wire]) -> None:
    client = opened()

    texts = [client.get(f"https://api.bfl.ai/{n}").text for n in range(3)]

    assert texts == ["body"] * 3
    assert [wire.carried for wire in made] == [["/0", "/1", "/2"]]


def test_requests_at_once_have_a_connection_each_and_the_last_that_ended_is_used_first(
    opened: Opened, made: list[Wire]
) -> None:
    client = opened()
    with client.stream("GET", "https://api.bfl.ai/first"), client.stream("GET", "https://api.bfl.ai/second"):
        pass

    client.get("https://api.bfl.ai/third")

    assert [wire.carried for wire in made] == [["/first", "/third"], ["/second"]]


def test_a_connection_serves_one_host_only(opened: Opened, made: list[Wire]) -> None:
    client = opened()

    for host in ("api.bfl.ai", "delivery.bfl.ai", "api.bfl.ai:8443", "api.bfl.ai"):
        client.get(f"https://{host}/{host}")

    assert [wire.carried for wire in made] == [["/api.bfl.ai"] * 2, ["/delivery.bfl.ai"], ["/api.bfl.ai:8443"]]


def test_a_connection_that_failed_is_closed_and_not_used_again(opened: Opened, made: list[Wire]) -> None:
    client = opened()
    client.get("https://api.bfl.ai/a")

    with pytest.raises(httpx.ReadError):
        client.get("https://api.bfl.ai/reset")
    client.get("https://api.bfl.ai/b")

    assert [(wire.carried, wire.closed) for wire in made] == [(["/a"], True), (["/b"], False)]


def test_a_submission_has_a_connection_that_nobody_had_and_nobody_gets(opened: Opened, made: list[Wire]) -> None:
    client = opened(keep=False)

    client.post("https://api.bfl.ai/a")
    client.post("https://api.bfl.ai/b")

    assert [(wire.carried, wire.closed) for wire in made] == [(["/a"], True), (["/b"], True)]


def test_connections_that_nobody_took_for_long_are_closed(opened: Opened, made: list[Wire], clock: list[float]) -> None:
    client = opened()
    with client.stream("GET", "https://api.bfl.ai/first"), client.stream("GET", "https://api.bfl.ai/second"):
        pass

    clock[0] = IDLE_S + 1
    client.get("https://api.bfl.ai/third")

    assert [wire.closed for wire in made] == [False, True]


def test_the_end_closes_what_is_idle(opened: Opened, made: list[Wire]) -> None:
    client = opened()
    client.get("https://api.bfl.ai/a")

    client.close()

    assert [wire.closed for wire in made] == [True]
