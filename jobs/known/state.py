"""The state of a batch name in the bucket: a line for each row that is known, in shards by the hash of its output.

An index names the shards. Its key carries a number that is taken by a conditional write, so of two that finish at
once one comes second and merges again, and whoever reads sees one index or the next, never a mix. Shards are never
written over: what no index names any more is removed, and a reader that misses one starts again from the newest
index.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import secrets
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket
from jobs.errors import NotFound, PreconditionFailed, Refused, StorageError
from jobs.job import Result
from jobs.known.line import Known

VERSION = 1
LINES_PER_SHARD = 8_192
"""Lines that are in memory at once while a state is written: about 8 MB."""
_MOST_BITS = 16
_TRIES = 20
_WAITING = 4_096
_INDEX = re.compile(r"index-(\d{10})\.json")
_SHARD = re.compile(r"(\d{10})-[0-9a-f]+-[0-9a-f]+\.jsonl\.gz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """What one index says: 2^`bits` shards, each a file name (empty: no line) and its number of lines."""

    generation: int = 0
    bits: int = 0
    shards: tuple[tuple[str, int], ...] = (("", 0),)

    @property
    def rows(self) -> int:
        """How many lines there are."""
        return sum(rows for _, rows in self.shards)

    def as_json(self, name: str) -> bytes:
        """Return the index as it is written."""
        data = {"version": VERSION, "name": name, "rows": self.rows, "bits": self.bits, "shards": self.shards}
        return json.dumps(data, indent=1).encode()

    @classmethod
    def from_json(cls, generation: int, data: bytes) -> Self:
        """Return the index that `as_json` wrote; one that cannot be understood knows nothing."""
        with suppress(ValueError, KeyError, TypeError):
            found = json.loads(data)
            shards = tuple((str(name), int(rows)) for name, rows in found["shards"])
            if found["version"] == VERSION and len(shards) == 1 << found["bits"]:
                return cls(generation=generation, bits=found["bits"], shards=shards)
        return cls(generation=generation)


def shard_of(output: str, bits: int) -> int:
    """Return the shard, of 2^bits, in which the line of an output stands."""
    return place(output) >> (63 - bits)


def place(output: str) -> int:
    """Return 63 bits of an output's hash: lines are in the order of these."""
    return int.from_bytes(hashlib.sha256(output.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1


class NameState:
    """The state of one batch name.

    Raises:
        StorageError: from any method.
    """

    def __init__(self, name: str, bucket: Bucket, layout: Layout) -> None:
        self._name = name
        self._bucket = bucket
        self._layout = layout

    def index(self) -> Index:
        """Return the newest index; one that knows nothing where there is none."""
        for _ in range(_TRIES):
            numbers = [int(found[1]) for file in self._files("index-") if (found := _INDEX.fullmatch(file))]
            if not numbers:
                return Index()
            with suppress(NotFound):  # a newer one has come meanwhile
                return Index.from_json(max(numbers), self._bucket.get(self._key(_index_file(max(numbers)))))
        return Index()

    def lines(self) -> Iterator[Known]:
        """Yield every line. One may come twice, the later of them being newer, where the state changed meanwhile."""
        index = self.index()
        shard = 0
        while shard < 1 << index.bits:
            try:
                found = self._shard(index, shard, index.bits)
            except NotFound:
                newest = self.index()
                if newest.generation != index.generation:
                    index, shard = newest, 0
                    continue
                found = {}  # lost: what it knew is learnt again
            yield from found.values()
            shard += 1

    def write(self, changes: Changes) -> Index:
        """Merge what a batch has taught into the state, and return its new index.

        Raises:
            StorageError: it was not written; the state is what it was.
        """
        for _ in range(_TRIES):
            index = self.index()
            bits = max(index.bits, changes.bits, bits_for(index.rows + changes.lines))
            generation = index.generation + 1
            made = Index(generation=generation, bits=bits, shards=tuple(self._merged(index, changes, bits)))
            try:
                self._take(made)
            except PreconditionFailed:  # another batch of this name has ended at the same time
                continue
            self._sweep(made)
            return made
        raise Refused(f"what is known of {self._name} changed {_TRIES} times while it was written")

    def _merged(self, index: Index, changes: Changes, bits: int) -> Iterator[tuple[str, int]]:
        for shard in range(1 << bits):
            new = changes.of(shard, bits)
            if bits == index.bits and not new:
                yield index.shards[shard]
                continue
            try:
                lines = self._shard(index, shard, bits)
            except NotFound:  # lost: what it knew is learnt again
                lines = {}
            for change in new:
                change.apply(lines)
            yield self._put_shard(index.generation + 1, shard, lines)

    def _shard(self, index: Index, shard: int, bits: int) -> dict[str, Known]:
        """Return the lines of one of 2^bits shards, by output; `bits` may be more than the index has."""
        file, rows = index.shards[shard >> (bits - index.bits)]
        if not rows:
            return {}
        found: dict[str, Known] = {}
        data = self._bucket.get(self._key(file))
        # What somebody has damaged is not known any more; it must not keep a batch from its end.
        with suppress(OSError, EOFError, zlib.error, ValueError, KeyError, TypeError):
            for line in gzip.decompress(data).decode("ascii").split("\n"):
                if line:
                    known = Known.from_line(line)
                    if bits == index.bits or shard_of(known.output, bits) == shard:
                        found[known.output] = known
        return found

    def _put_shard(self, generation: int, shard: int, lines: Mapping[str, Known]) -> tuple[str, int]:
        if not lines:
            return "", 0
        file = f"{generation:010d}-{shard:04x}-{secrets.token_hex(4)}.jsonl.gz"
        text = "".join(f"{lines[output].as_line()}\n" for output in sorted(lines, key=place))
        self._bucket.put(self._key(file), gzip.compress(text.encode("ascii"), 4), content_type="application/gzip")
        return file, len(lines)

    def _take(self, made: Index) -> None:
        """Make an index the newest one.

        Raises:
            PreconditionFailed: somebody else has taken its number.
        """
        key, data = self._key(_index_file(made.generation)), made.as_json(self._name)
        try:
            self._bucket.put(key, data, content_type="application/json", if_absent=True)
        except PreconditionFailed:
            if self._bucket.get(key) != data:  # else it was this very call, whose answer was lost
                raise
        except Refused:  # by a store that knows no conditions: then by looking, which is nearly as good
            if self._bucket.head(key) is not None:
                raise PreconditionFailed(key) from None
            self._bucket.put(key, data, content_type="application/json")

    def _sweep(self, made: Index) -> None:
        """Remove what no index names any more. What was written for a later index than ours is left alone."""
        wanted = {file for file, _ in made.shards} | {_index_file(made.generation)}
        for file in list(self._files()):
            found = _INDEX.fullmatch(file) or _SHARD.fullmatch(file)
            if found is not None and int(found[1]) <= made.generation and file not in wanted:
                with suppress(StorageError):  # it costs a little room until the next batch ends
                    self._bucket.delete(self._key(file))

    def _files(self, begin: str = "") -> Iterator[str]:
        folder = self._key("")
        return (head.key.removeprefix(folder) for head in self._bucket.keys(folder + begin))

    def _key(self, file: str) -> str:
        return self._layout.name(self._name, file)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change to a state: a line that was learnt, or (without one) that `etag` lay at its output no more `at` (epoch
    seconds).
    """

    output: str
    known: Known | None = None
    etag: str = ""
    at: float = 0.0

    def apply(self, lines: dict[str, Known]) -> None:
        """Carry it out on the lines of a shard."""
        before = lines.get(self.output)
        if self.known is not None:
            lines[self.output] = self.known.over(before)
        elif before is not None and before.result is not None and self._is_that(before, before.result):
            del lines[self.output]

    def _is_that(self, before: Known, result: Result) -> bool:
        return result.etag == self.etag and before.at < self.at


class Changes:
    """Changes that wait on disk, by shard, so that memory does not grow with the batch. Of no use after its `with`."""

    def __init__(self, folder: Path, rows: int) -> None:
        """Take about `rows` changes; `folder` is an existing one, in which files are made."""
        self.bits = bits_for(rows)
        self.lines = 0
        self._folder = folder
        self._waiting: dict[int, list[str]] = {}
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.clear()
        for shard in range(1 << self.bits):
            self._file(shard).unlink(missing_ok=True)

    def add(self, known: Known) -> None:
        """Take a line that was learnt."""
        self.lines += 1
        self._put(known.output, f"+{known.as_line()}")

    def gone(self, output: str, etag: str, at: float) -> None:
        """Take that what was published with this ETag before `at` lay at its key no more by then."""
        self._put(output, f"-{json.dumps([output, etag, at])}")

    def of(self, shard: int, bits: int) -> list[Change]:
        """Return the changes of one of 2^bits shards, in the order in which they came."""
        self._spill()
        path = self._file(shard >> (bits - self.bits))
        if not path.exists():
            return []
        with path.open(encoding="ascii", newline="\n") as file:
            found = (_change(line) for line in file)
            return [change for change in found if shard_of(change.output, bits) == shard]

    def _put(self, output: str, line: str) -> None:
        self._waiting.setdefault(shard_of(output, self.bits), []).append(f"{line}\n")
        self._count += 1
        if self._count >= _WAITING:
            self._spill()

    def _spill(self) -> None:
        for shard, lines in self._waiting.items():
            with self._file(shard).open("a", encoding="ascii", newline="\n") as file:
                file.writelines(lines)
        self._waiting.clear()
        self._count = 0

    def _file(self, shard: int) -> Path:
        return self._folder / f"changes-{shard:04x}.spilled"


def bits_for(rows: int) -> int:
    """Return into how many shards, as a power of two, so many lines go."""
    return min(max(-(-rows // LINES_PER_SHARD) - 1, 0).bit_length(), _MOST_BITS)


def _change(line: str) -> Change:
    if line.startswith("+"):
        known = Known.from_line(line[1:])
        return Change(output=known.output, known=known)
    output, etag, at = json.loads(line[1:])
    return Change(output=output, etag=etag, at=at)


def _index_file(generation: int) -> str:
    return f"index-{generation:010d}.json"
