"""Each submission has a connection that nobody had before, and that nobody gets."""

from __future__ import annotations

import httpx
import pytest

from workers.api.line import OneRequestEach


class Wire(httpx.BaseTransport):
    """A connection that notes what becomes of it."""

    def __init__(self, made: list[Wire]) -> None:
        made.append(self)
        self.carried: list[str] = []
        self.closed = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert not self.closed
        if request.url.path == "/reset":
            raise httpx.ReadError("reset")
        self.carried.append(request.url.path)
        return httpx.Response(200, stream=httpx.ByteStream(b"body"))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def made() -> list[Wire]:
    return []


@pytest.fixture
def client(made: list[Wire]) -> httpx.Client:
    return httpx.Client(transport=OneRequestEach(lambda: Wire(made)))


def test_each_request_has_a_connection_of_its_own_that_is_closed_with_its_answer(
    client: httpx.Client, made: list[Wire]
) -> None:
    texts = [client.post(f"https://api.bfl.ai/{n}").text for n in range(2)]

    assert texts == ["body"] * 2
    assert [(wire.carried, wire.closed) for wire in made] == [(["/0"], True), (["/1"], True)]


def test_it_is_open_while_the_answer_is_read(client: httpx.Client, made: list[Wire]) -> None:
    with client.stream("POST", "https://api.bfl.ai/a"):
        assert [wire.closed for wire in made] == [False]

    assert [wire.closed for wire in made] == [True]


def test_a_connection_that_failed_is_closed(client: httpx.Client, made: list[Wire]) -> None:
    with pytest.raises(httpx.ReadError):
        client.post("https://api.bfl.ai/reset")

    assert [wire.closed for wire in made] == [True]
