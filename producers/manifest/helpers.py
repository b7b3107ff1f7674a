"""Judges the rows of a long manifest in several processes; what comes of it is what one process would say.

This process reads the manifest, keeps rows apart from each other, and judges blocks itself whenever no helper has room,
so a helper that is slow, or dies, costs time and nothing else. A helper gets blocks on its stdin and answers on its
stdout, each a length and as many bytes; it knows neither the bucket nor a setting, and ends with its stdin.
"""

from __future__ import annotations

import marshal
import os
import pickle
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from queue import SimpleQueue
from typing import IO, Any

from producers.manifest.judging import Judge
from producers.manifest.learnt import Terms
from producers.manifest.plain import Kind, Plain, PlainVerdict
from producers.manifest.problems import RowProblem
from producers.manifest.rows import AnyRow, RawRow

ROWS_PER_BLOCK = 250
MOST_HELPERS = 3
"""Reading, and keeping rows apart, is a third of the work and one process's."""
_AHEAD = 3
"""Blocks that a helper has not answered."""
_MOST_BLOCKS = 12
"""Blocks that are in memory at once."""
_PIPE_BYTES = 1 << 20
_LENGTH = 4
_KINDS = 4_096

Told = tuple[tuple[str, str, str, str], ...]
"""Problems, each as column, code, message and remedy."""

Wrong = tuple[str, str, str, tuple[tuple[str, str], ...], None, str, Told, Told]
"""What a row with a problem by itself comes to: the values of a `PlainVerdict`, of which there is no kind, and what is
wrong before and after its id."""
Verdict = PlainVerdict | Wrong
"""What a row by itself comes to, as it travels between processes: `Judged`, in nothing but plain values."""
Verdicts = list[Verdict]


class Bench:
    """Makes verdicts of rows, in this process."""

    def __init__(self, judge: Judge, *, lines: bool) -> None:
        self._judge = judge
        self._plain = Plain(judge, lines=lines)
        self._lines = lines
        self._kinds: dict[Kind, Kind] = {}

    def verdicts(self, rows: Iterable[tuple[Any, ...]]) -> Verdicts:
        """Return a verdict for each row, which is a `RawRow` or as plain a tuple."""
        plain, judged = self._plain.verdict, self._verdict
        if not self._plain.any:
            return [judged(RawRow(*raw)) for raw in rows]
        return [plain(raw) or judged(RawRow(*raw)) for raw in rows]

    def _verdict(self, raw: RawRow) -> Verdict:
        _, row, id_, key, place, pictures, before, after = self._judge.judge(raw)
        if row is None:
            return id_, key, place, pictures, None, "", _plain(before), _plain(after)
        request = row.request
        inputs = len(request.inputs) - 1
        kind = row.limit_group, request.model, inputs, row.megapixels, row.expected, row.at_most, row.local
        if len(self._kinds) > _KINDS:
            self._kinds.clear()
        kind = self._kinds.setdefault(kind, kind)  # the same tuple is written once in a block
        return id_, key, place, pictures, kind, row.as_line() if self._lines else ""


def problems(told: Told) -> tuple[RowProblem, ...]:
    """Return the problems of a verdict; their line is filled in later."""
    return tuple(RowProblem(line=0, column=c, code=code, message=m, remedy=r) for c, code, m, r in told)


def helpers_here() -> int:
    """Return how many helpers are worth starting: this process has a core of its own."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores - 1, MOST_HELPERS)


class _Helper:
    """One other process."""

    def __init__(self, terms: Terms, *, lines: bool, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(env),
            pipesize=_PIPE_BYTES,
            start_new_session=True,  # Ctrl-C is for whoever started it
        )
        assert self._process.stdin is not None  # noqa: S101
        assert self._process.stdout is not None  # noqa: S101
        self._to: IO[bytes] = self._process.stdin
        self._answers: SimpleQueue[bytes | None] = SimpleQueue()
        self._sent = self._answered = 0
        self._begun = self._ended = False
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), name="helper", daemon=True)
        self._reader.start()
        self._write(pickle.dumps((terms, lines)))

    @property
    def room(self) -> bool:
        return self._begun and not self._ended and self._sent - self._answered < _AHEAD

    @property
    def answered(self) -> bool:
        """Whether `answer` returns at once."""
        return self._ended or not self._answers.empty()

    def send(self, rows: Sequence[RawRow]) -> bool:
        """Hand over a block; False if the helper is gone."""
        self._sent += 1
        return self._write(marshal.dumps(list(map(tuple, rows))))

    def answer(self) -> Verdicts | None:
        """Return the verdicts of the oldest block that is not answered; None if the helper is gone."""
        found = self._answers.get()
        if found is None:
            self._answers.put(None)  # for the blocks after it
            return None
        told: Verdicts = marshal.loads(found)  # noqa: S302 - our own process wrote it
        return told

    def end(self) -> None:
        self._process.kill()
        with suppress(OSError):
            self._to.close()
        self._process.wait()
        self._reader.join()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _write(self, data: bytes) -> bool:
        try:
            _write_frame(self._to, data)
        except OSError:
            self._ended = True
        return not self._ended

    def _read(self, stdout: IO[bytes]) -> None:
        frames = _frames(stdout)
        self._begun = next(frames, None) is not None
        for frame in frames:
            self._answered += 1
            self._answers.put(frame)
        self._ended = True
        self._answers.put(None)


Block = tuple[Sequence[AnyRow], Sequence[Verdict | None]]
"""Rows that follow each other, and the verdict of each; None of what is no row to judge."""


class _Block:
    """Rows whose verdicts may be on their way."""

    def __init__(self, rows: Sequence[AnyRow], bench: Bench, helper: _Helper | None) -> None:
        self._rows = rows
        self._bench = bench
        self._raw = [row for row in rows if isinstance(row, RawRow)]
        self._helper = helper if helper is not None and helper.send(self._raw) else None
        self._verdicts = bench.verdicts(self._raw) if self._helper is None else None

    @property
    def ready(self) -> bool:
        return self._helper is None or self._helper.answered

    def judged(self) -> Block:
        verdicts = self._verdicts
        if verdicts is None and self._helper is not None:
            verdicts = self._helper.answer()
        if verdicts is None:
            verdicts = self._bench.verdicts(self._raw)
        if len(verdicts) == len(self._rows):
            return self._rows, verdicts
        found = iter(verdicts)
        return self._rows, [next(found) if isinstance(row, RawRow) else None for row in self._rows]


@contextmanager
def judged_by_many(
    rows: Iterable[AnyRow], bench: Bench, terms: Terms, *, lines: bool, helpers: int, env: Mapping[str, str]
) -> Iterator[Iterator[Block]]:
    """Yield every row in order, in blocks, with its verdict, while helpers judge most of them.

    Args:
        rows: some of a manifest.
        bench: this process's own.
        terms: what the judges are made of; the columns have to be known.
        lines: whether the rows' lines of the plan are wanted.
        helpers: how many other processes to start.
        env: their environment.

    Raises:
        ManifestError: from the iterator, where the manifest breaks.
    """
    with ExitStack() as stack:
        started = []
        for _ in range(helpers):
            started.append(_Helper(terms, lines=lines, env=env))
            stack.callback(started[-1].end)
        yield _in_order(iter(rows), bench, started)


def _in_order(rows: Iterator[AnyRow], bench: Bench, helpers: Sequence[_Helper]) -> Iterator[Block]:
    waiting: deque[_Block] = deque()
    while some := list(islice(rows, ROWS_PER_BLOCK)):
        helper = next((one for one in helpers if one.room), None)
        waiting.append(_Block(some, bench, helper))
        while waiting and (waiting[0].ready or len(waiting) >= _MOST_BLOCKS):
            yield waiting.popleft().judged()
    while waiting:
        yield waiting.popleft().judged()


def _plain(found: Iterable[RowProblem]) -> tuple[tuple[str, str, str, str], ...]:
    return tuple((one.column, one.code, one.message, one.remedy) for one in found)


def _write_frame(stream: IO[bytes], data: bytes) -> None:
    stream.write(len(data).to_bytes(_LENGTH, "big") + data)
    stream.flush()


def _frames(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield what comes, until it ends or is cut off."""
    while len(head := stream.read(_LENGTH)) == _LENGTH:
        data = stream.read(size := int.from_bytes(head, "big"))
        if len(data) < size:
            return
        yield data


def main(stdin: IO[bytes], stdout: IO[bytes]) -> None:
    """Be a helper: judge what comes on stdin until it ends."""
    frames = _frames(stdin)
    terms, lines = pickle.loads(next(frames))  # noqa: S301 - whoever started us wrote it
    bench = Bench(Judge(terms), lines=lines)
    _write_frame(stdout, b"")  # ready: whoever started us judges alone until then
    for frame in frames:
        _write_frame(stdout, marshal.dumps(bench.verdicts(marshal.loads(frame))))  # noqa: S302 - as above


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
