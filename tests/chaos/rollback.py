"""Takes a Redis that is down back to an earlier moment, by cutting whole transactions off its append-only file.

This is what a power cut leaves behind where Redis was not told to sync every write, and what a failover to a replica
that lagged looks like: Redis starts, says nothing, and has forgotten the last things that it had acknowledged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LEDGER = (b"retouch:job:", b"retouch:batch:")
"""Keys whose change is a step of a batch; locks, workers and leases come and go by themselves."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """Commands that Redis carried out together, and where in the file they begin."""

    starts_at: int
    words: tuple[bytes, ...]

    @property
    def moves(self) -> bool:
        """Whether it changed a job or a batch, and not merely who holds it."""
        return any(word.startswith(LEDGER) for word in self.words)


def transactions(data: bytes) -> Iterator[Transaction]:
    """Yield what an append-only file holds, in order."""
    at, begun = 0, -1
    words: list[bytes] = []
    while at < len(data):
        start, command, at = _command(data, at)
        if command[:1] == [b"SELECT"]:
            continue
        if command == [b"MULTI"]:
            begun, words = start, []
        elif command == [b"EXEC"]:
            yield Transaction(begun, tuple(words))
            begun = -1
        elif begun >= 0:
            words += command
        else:
            yield Transaction(start, tuple(command))


def roll_back(folder: Path, steps: int = 1) -> int:
    """Forget the last `steps` changes of jobs and batches, and all that came after them; return how many there were.

    Redis must not run. Fewer than `steps` leave it empty.
    """
    file = _newest(folder)
    data = file.read_bytes()
    moves = [transaction for transaction in transactions(data) if transaction.moves]
    cut = moves[-steps].starts_at if len(moves) >= steps else 0
    file.write_bytes(data[:cut])
    return min(len(moves), steps)


def _newest(folder: Path) -> Path:
    """Return the file that Redis was writing: 7 keeps a folder of them, 6.2 one."""
    parts = sorted((folder / "appendonlydir").glob("*.incr.aof"), key=lambda path: int(path.name.split(".")[-3]))
    return parts[-1] if parts else folder / "appendonly.aof"


def _command(data: bytes, at: int) -> tuple[int, list[bytes], int]:
    while data[at : at + 1] == b"#":  # a remark of Redis's own, such as the time
        at = data.index(b"\r\n", at) + 2
    start = at
    count, at = _number(data, at, b"*")
    command = []
    for _ in range(count):
        length, at = _number(data, at, b"$")
        command.append(data[at : at + length])
        at += length + 2
    return start, command, at


def _number(data: bytes, at: int, sign: bytes) -> tuple[int, int]:
    if data[at : at + 1] != sign:
        raise ValueError(f"not an append-only file at byte {at}")
    end = data.index(b"\r\n", at)
    return int(data[at + 1 : end]), end + 2
