"""The body of the answer to a submission: bounded, whatever comes and whatever it unpacks to."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from contextlib import closing

import pytest
from pydantic import SecretStr

from running.programs import eventually
from tests.contract.raw import Conn, Server, answer, serving
from workers.api.client import LARGEST_ANSWER, Api, Heard, Key, NotSent
from workers.api.protocol import Accepted, SubmitAnswer, Unknown

KEY = Key.of(SecretStr("CANARYKEY-of-a-test"))
PRO = "/v1/flux-2-pro"
BODY = b'{"prompt":"' + b"x" * 1000 + b'"}'
ACCEPTED = b'{"id":"t1","polling_url":"http://127.0.0.1/x","cost":4.5}'
BOMB = gzip.compress(bytes(64_000_000))
BARE = zlib.compressobj(wbits=-zlib.MAX_WBITS)
FORMS = {
    "gzip": gzip.compress(ACCEPTED),
    "deflate": zlib.compress(ACCEPTED),
    "Deflate": BARE.compress(ACCEPTED) + BARE.flush(),
}


def api_of(server: Server) -> closing[Api]:
    return closing(Api(base_url=server.base_url, timeout_s=5.0))


def submitted(body: bytes, *headers: str) -> tuple[SubmitAnswer, bytes]:
    """Return what an answer means, and the head of the request."""

    def handle(server: Server, conn: Conn) -> None:
        server.whole(conn, len(BODY))
        answer(conn, "200 OK", body, *headers)

    with serving(handle) as server, api_of(server) as api:
        return api.submit(PRO, BODY, KEY, lambda: None), server.heads[0]


def until_heard(heard: Heard) -> None:
    eventually(heard, 10, "the API is heard")


def endless(server: Server, conn: Conn) -> None:
    conn.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        conn.sendall(b" " * 65536)


def test_an_answer_is_asked_for_as_it_is() -> None:
    said, head = submitted(ACCEPTED)

    assert isinstance(said, Accepted)
    assert head.lower().count(b"accept-encoding: identity") == 1


@pytest.mark.parametrize("form", FORMS)
def test_an_answer_that_a_proxy_packed_all_the_same_is_read(form: str) -> None:
    said, _ = submitted(FORMS[form], f"Content-Encoding: {form}")

    assert isinstance(said, Accepted)


def test_an_answer_that_is_not_what_its_encoding_says_may_be_a_purchase() -> None:
    said, _ = submitted(ACCEPTED, "Content-Encoding: gzip")

    assert said == Unknown(detail="DecodingError")


def test_an_answer_that_unpacks_to_far_too_much_is_not_unpacked_and_may_be_a_purchase() -> None:
    tracemalloc.start()
    try:
        said, _ = submitted(BOMB, "Content-Encoding: gzip")
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert said == Unknown(detail="TooLarge")
    assert most < 8 * LARGEST_ANSWER


def test_an_answer_without_an_end_is_not_read_on_and_may_be_a_purchase() -> None:
    def handle(server: Server, conn: Conn) -> None:
        server.whole(conn, len(BODY))
        endless(server, conn)

    with serving(handle) as server, api_of(server) as api:
        said = api.submit(PRO, BODY, KEY, lambda: None)

    assert said == Unknown(detail="TooLarge")


def test_an_answer_without_an_end_before_the_last_part_left_is_no_purchase() -> None:
    def handle(server: Server, conn: Conn) -> None:
        server.head(conn)
        endless(server, conn)

    with serving(handle) as server, api_of(server) as api, pytest.raises(NotSent, match="TooLarge"):
        api.submit(PRO, BODY, KEY, lambda: None, gate=until_heard)
