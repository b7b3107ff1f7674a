"""What the local stack waits for before it ends."""

from __future__ import annotations

from dataclasses import dataclass, field

from jobs.batch import BatchState
from producers.cli.drain import drain


@dataclass
class Counts:
    state: BatchState
    counts: dict[str, int]


@dataclass
class Books:
    """As much of a ledger as draining looks at; each look lets one edit end."""

    held: dict[str, Counts]
    moves: list[tuple[str, str]] = field(default_factory=list)

    def batches(self) -> list[str]:
        return list(self.held)

    def batch(self, batch: str) -> tuple[None, Counts]:
        return None, self.held[batch]

    def set_state(self, batch: str, state: BatchState, reason: str, *, only_from: tuple[BatchState, ...]) -> bool:
        if self.held[batch].state not in only_from:
            return False
        self.held[batch].state = state
        self.moves.append((batch, str(state)))
        return True

    def end_one(self, _seconds: float) -> None:
        for entry in self.held.values():
            entry.counts["running"] = max(entry.counts.get("running", 0) - 1, 0)


def drained(books: Books, *, seconds: float = 60.0, stuck: bool = False) -> tuple[int, list[str]]:
    said: list[str] = []
    time = [0.0]

    def sleep(wait: float) -> None:
        time[0] += wait
        if not stuck:
            books.end_one(wait)

    left = drain(books, said.append, seconds=seconds, clock=lambda: time[0], sleep=sleep)  # type: ignore[arg-type]
    return left, said


def test_open_batches_are_paused_until_their_edits_are_home_then_opened_again() -> None:
    books = Books({"a": Counts(BatchState.OPEN, {"running": 3}), "b": Counts(BatchState.OPEN, {})})

    left, said = drained(books)

    assert left == 0
    assert books.moves == [("a", "paused"), ("b", "paused"), ("a", "open"), ("b", "open")]
    assert "3 edits" in said[0]


def test_a_batch_that_was_paused_by_hand_stays_paused() -> None:
    books = Books({"a": Counts(BatchState.PAUSED, {"running": 1})})

    drained(books)

    assert books.moves == []


def test_where_nothing_is_in_flight_nothing_is_said() -> None:
    books = Books({"a": Counts(BatchState.OPEN, {"queued": 9})})

    left, said = drained(books)

    assert (left, said, books.moves) == (0, [], [])


def test_an_edit_that_never_ends_does_not_keep_the_stack() -> None:
    books = Books({"a": Counts(BatchState.OPEN, {"running": 1})})

    left, _ = drained(books, seconds=5.0, stuck=True)

    assert left == 1
    assert books.held["a"].state == BatchState.OPEN
