"""Choosing ports for the local stack, on the real loopback address."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from producers.stack.ports import HOST, PARTNER, NoFreePortsError, are_free, choose_ports


@contextmanager
def listening(port: int) -> Iterator[None]:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((HOST, port))
        taken.listen(1)
        yield


def test_every_port_of_a_run_and_its_partner_can_be_listened_on() -> None:
    first = choose_ports({"storage": 5})["storage"]

    for port in range(first, first + 5):
        assert port < 55_536
        with listening(port), listening(port + PARTNER):
            pass


def test_runs_that_are_chosen_together_do_not_overlap() -> None:
    spans = {f"part-{number}": 18 for number in range(20)}

    firsts = choose_ports(spans)

    used = [port for first in firsts.values() for port in range(first, first + 18)]
    assert len(set(used)) == len(used)


def test_a_preferred_port_is_kept_while_it_is_free() -> None:
    before = choose_ports({"redis": 1, "storage": 5})

    again = choose_ports({"redis": 1, "storage": 5}, preferred=before)

    assert again == before


def test_a_preferred_run_is_given_up_when_a_port_inside_it_is_taken() -> None:
    before = choose_ports({"storage": 5})

    with listening(before["storage"] + 3):
        again = choose_ports({"storage": 5}, preferred=before)

    assert again != before


def test_a_run_is_not_free_when_only_a_partner_is_taken() -> None:
    firsts = choose_ports({"redis": 1})

    with listening(firsts["redis"] + PARTNER):
        assert not are_free({"redis": 1}, firsts)
    assert are_free({"redis": 1}, firsts)


@pytest.mark.parametrize("port", [80, 55_536, 70_000])
def test_a_preferred_port_without_room_for_a_partner_is_not_used(port: int) -> None:
    assert choose_ports({"redis": 1}, preferred={"redis": port})["redis"] != port


def test_more_ports_than_there_are_is_an_error_that_says_so() -> None:
    with pytest.raises(NoFreePortsError, match="free ports in a row"):
        choose_ports({"everything": 40_000})
