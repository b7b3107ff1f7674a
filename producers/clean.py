"""Removes staged pictures and filed results that are past their retention.

What was published is never touched: only `inputs/` and `results/` under our own prefix are listed. A staged picture
that an unfinished batch may still read stays, however old it is; a filed result that goes is bought again when it is
next asked for, so results are kept for ever unless a setting says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from jobs.batch import Batch, BatchState, Progress
from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket, Head
from jobs.errors import NotFound
from jobs.ledger.port import Ledger
from jobs.row import Row
from producers.staging import left

DAY_S = 86_400.0
DELETES = 8
EXAMPLES = 5
_AT_ONCE = 1_000
_ENDED = frozenset({BatchState.DONE, BatchState.CANCELLED})


@dataclass(slots=True, kw_only=True)
class Old:
    """Objects of one kind that are past their retention. `spared` are old ones that a batch may still read.

    `days` None: this kind is kept for ever. `why_not` says why none of the kind is removed now.
    """

    kind: str
    days: int | None
    objects: int = 0
    bytes: int = 0
    spared: int = 0
    why_not: str = ""
    examples: list[str] = field(default_factory=list)


class Cleaning:
    """One look at what is old, and its removal."""

    def __init__(
        self,
        *,
        bucket: Bucket,
        layout: Layout,
        ledger: Ledger,
        inputs_days: int | None,
        results_days: int | None,
    ) -> None:
        self._bucket = bucket
        self._layout = layout
        self._ledger = ledger
        self._days = {"inputs": inputs_days, "results": results_days}

    def look(self) -> list[Old]:
        """Return what would be removed; nothing is.

        Raises:
            LedgerError: it is not known which batches run.
            StorageError: the bucket cannot be listed.
        """
        return [self._go_through(kind, remove=False) for kind in self._days]

    def remove(self) -> list[Old]:
        """Remove what is old by now, and return it.

        Raises:
            LedgerError: it is not known which batches run; nothing is removed.
            StorageError: an object could not be removed; giving the command again goes on.
        """
        return [self._go_through(kind, remove=True) for kind in self._days]

    def _go_through(self, kind: str, *, remove: bool) -> Old:
        old = Old(kind=kind, days=self._days[kind])
        if old.days is None:
            return old
        before = self._ledger.now() - old.days * DAY_S
        wanted: set[str] = set()
        if kind == "inputs":
            old.why_not = self._uploading()
            if old.why_not:
                return old
            wanted = self._read_by_batches()
        found = self._older_than(f"{self._layout.prefix}{kind}/", before)
        with ThreadPoolExecutor(DELETES, thread_name_prefix="clean") as pool:
            for heads in _batched(self._spare(found, wanted, old), _AT_ONCE):
                if remove:
                    for _ in pool.map(lambda head: self._bucket.delete(head.key), heads):
                        pass
                old.objects += len(heads)
                old.bytes += sum(head.bytes for head in heads)
                old.examples += [head.key for head in heads[: EXAMPLES - len(old.examples)]]
        return old

    def _older_than(self, prefix: str, before: float) -> Iterator[Head]:
        """Yield what is known to be older; what the store gives no time for is taken for new."""
        return (head for head in self._bucket.keys(prefix) if 0 < head.modified < before)

    @staticmethod
    def _spare(heads: Iterable[Head], wanted: set[str], old: Old) -> Iterator[Head]:
        for head in heads:
            if head.key in wanted:
                old.spared += 1
            else:
                yield head

    def _unfinished(self) -> Iterator[tuple[Batch, Progress]]:
        for batch in self._ledger.batches():
            found = self._ledger.batch(batch)
            if found is not None and (found[1].state not in _ENDED or found[1].live or found[1].held):
                yield found

    def _uploading(self) -> str:
        """Return why no staged picture may go now: one that is uploaded already is used again as it lies there."""
        for batch, progress in self._unfinished():
            if batch.local and progress.state not in _ENDED and left(batch, progress):
                return f"{batch.id} still uploads local pictures, and may use old ones again"
        return ""

    def _read_by_batches(self) -> set[str]:
        """Return the staged pictures that unfinished batches name: jobs are fed from a plan that may be old."""
        own = f"s3://{self._bucket.name}/{self._layout.prefix}inputs/"
        return {
            uri.removeprefix(f"s3://{self._bucket.name}/")
            for batch, _ in self._unfinished()
            for row in self._rows(batch)
            for uri in row.request.inputs
            if uri.startswith(own)
        }

    def _rows(self, batch: Batch) -> Iterator[Row]:
        make = self._layout.staged_plan if batch.local else self._layout.plan
        for group, rows in batch.groups.items():
            for chunk in range(-(-rows // batch.chunk_rows)):
                with suppress(NotFound):  # a cancelled batch was not staged to its end
                    text = self._bucket.get(make(batch.id, batch.round, group, chunk)).decode()
                    yield from (Row.from_line(line) for line in text.split("\n") if line)


def _batched(heads: Iterable[Head], size: int) -> Iterator[list[Head]]:
    some: list[Head] = []
    for head in heads:
        some.append(head)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some
