"""A worker to whom names are answered as somebody hostile would: `python -m tests.acceptance.misled FILE` is one.

FILE is JSON: `names` gives for each host the answers of the resolver in turn (the last one stays), `canary` the port
to which every connection to port 443 is led whose address is not public, and `log` where each of them is written
down. A connection to a public address is refused, since nothing may leave this machine.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from workers.__main__ import main

HTTPS = 443


def mislead(said: dict[str, Any]) -> None:
    """Put our answers before the system's."""
    names: dict[str, list[list[str]]] = said["names"]
    log = Path(said["log"])
    lock = threading.Lock()
    look_up, connect = socket.getaddrinfo, socket.create_connection

    def getaddrinfo(host: Any, port: Any, *args: Any, **named: Any) -> Any:
        if host not in names:
            return look_up(host, port, *args, **named)
        with lock:
            answer = names[host].pop(0) if len(names[host]) > 1 else names[host][0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answer]

    def create_connection(address: tuple[str, int], *args: Any, **named: Any) -> socket.socket:
        host, port = address
        if port != HTTPS:
            return connect(address, *args, **named)
        found = getaddrinfo(host, port)[0][4][0]
        with lock, log.open("a") as file:
            file.write(f"{found}\n")
        if ipaddress.ip_address(found).is_global:
            raise ConnectionRefusedError(found)
        return connect(("127.0.0.1", said["canary"]), *args, **named)

    socket.getaddrinfo = getaddrinfo
    socket.create_connection = create_connection  # type: ignore[assignment]


if __name__ == "__main__":
    mislead(json.loads(Path(sys.argv[1]).read_text()))
    main([])
