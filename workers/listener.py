"""Hears of freed slots for one process, from one thread.

It ends with the process, and not when a shutdown begins: the jobs that end meanwhile still free slots, and nobody else
is told of those (`Gate.freed`).
"""

from __future__ import annotations

import threading

from workers.desk import Desk


class Listener:
    """Tells the gate of its process the news, until it is closed."""

    def __init__(self, desk: Desk) -> None:
        self._closed = threading.Event()
        told = (desk.owner, desk.gate.freed, self._closed.is_set)
        self._thread = threading.Thread(target=desk.ledger.listen, args=told, name="freed-slots", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def close(self) -> None:
        """Stop, with the next news at the latest; nobody waits for that."""
        self._closed.set()
