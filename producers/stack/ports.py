"""Finds free loopback ports for the parts of the local stack.

SeaweedFS listens on every port of its own and on that port + 10,000, so a port counts as free only together
with its partner. Ports are asked for in runs (`storage` needs five in a row) and the ones of the last time are
preferred: an address that stays the same lets a command take over from one that ended.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Mapping
from contextlib import ExitStack

from producers.stack.errors import StackError

HOST = "127.0.0.1"
PARTNER = 10_000
"""SeaweedFS's gRPC listener is this far above its HTTP one (docs)."""
_QUIET = (10_240, 22_767)
"""Both halves lie under 32,768, where Linux begins to hand out ports for outgoing connections."""
_WIDE = (22_768, 55_535)
_TRIES = 200


class NoFreePortsError(StackError):
    """No run of free ports was found on the loopback address."""


def choose_ports(spans: Mapping[str, int], preferred: Mapping[str, int] | None = None) -> dict[str, int]:
    """Return the first port of a free run for every name in `spans`, each run as long as its span.

    `preferred` are first ports to keep where they are still free. The ports are free when this returns, not
    reserved.

    Raises:
        NoFreePortsError: there are not enough of them.
    """
    preferred = preferred or {}
    chosen: dict[str, int] = {}
    with ExitStack() as held:
        for name, span in spans.items():
            wish = preferred.get(name)
            if wish is not None and _hold(held, wish, span):
                chosen[name] = wish
            else:
                chosen[name] = _draw(held, span)
    return chosen


def are_free(spans: Mapping[str, int], firsts: Mapping[str, int]) -> bool:
    """Return whether every run that starts at `firsts` is free now, partners included."""
    with ExitStack() as held:
        return all(_hold(held, firsts[name], span) for name, span in spans.items() if name in firsts)


def _draw(held: ExitStack, span: int) -> int:
    for low, high in (_QUIET, _WIDE):
        for _ in range(_TRIES if span <= high - low else 0):
            first = random.randint(low, high - span + 1)
            if _hold(held, first, span):
                return first
    raise NoFreePortsError(f"no {span} free ports in a row were found on {HOST}: end a program that listens on many")


def _hold(held: ExitStack, first: int, span: int) -> bool:
    """Listen on the run and its partners until `held` is closed; False, and nothing held, where one is taken."""
    if not 1024 <= first <= 65_535 - PARTNER - span + 1:
        return False
    with ExitStack() as mine:
        for port in range(first, first + span):
            for number in (port, port + PARTNER):
                listener = mine.enter_context(socket.socket())
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is free
                try:
                    listener.bind((HOST, number))
                    listener.listen(1)  # two bound sockets may share a port until one listens
                except OSError:
                    return False
        held.enter_context(mine.pop_all())
    return True
