"""The state of a batch name: what two that write at once, a crash, and a damaged file leave behind."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.bucket.layout import Layout
from jobs.errors import StorageError, Unavailable
from jobs.job import Result
from jobs.known import state as module
from jobs.known.line import Known
from jobs.known.state import Changes, Index, NameState, bits_for, shard_of
from tests.fakes import Conditional, FakeBucket

LAYOUT = Layout()


def known(number: int, *, at: float = 1.0, etag: str = "e1", made: bool = True) -> Known:
    result = Result(key=f"autumn/{number}.png", sha256="ab", bytes=9, format="png", width=1, height=1, etag=etag)
    return Known(output=f"autumn/{number}.{{ext}}", id=f"r{number}", at=at, result=result if made else None)


def state_in(bucket: FakeBucket, name: str = "autumn") -> NameState:
    return NameState(name, bucket, LAYOUT)


def write(bucket: FakeBucket, lines: Iterable[Known], folder: Path, *, rows: int = 1) -> Index:
    with Changes(folder, rows) as changes:
        for line in lines:
            changes.add(line)
        return state_in(bucket).write(changes)


def lines_in(bucket: FakeBucket) -> list[Known]:
    return sorted(state_in(bucket).lines(), key=lambda line: int(line.id[1:]))


def files(bucket: FakeBucket) -> list[str]:
    return [head.key.removeprefix(LAYOUT.name("autumn")) for head in bucket.keys(LAYOUT.name("autumn"))]


def test_what_was_learnt_is_read_back(tmp_path: Path) -> None:
    bucket = FakeBucket()
    write(bucket, [known(1), known(2, made=False)], tmp_path)

    assert lines_in(bucket) == [known(1), known(2, made=False)]


def test_nothing_is_known_of_a_name_that_never_ran() -> None:
    assert list(state_in(FakeBucket()).lines()) == []


def test_rows_of_another_batch_of_the_name_stay_known(tmp_path: Path) -> None:
    bucket = FakeBucket()
    write(bucket, [known(1), known(2)], tmp_path)

    write(bucket, [known(2, at=2.0, etag="e2"), known(3)], tmp_path)

    assert [(line.id, line.result and line.result.etag) for line in lines_in(bucket)] == [
        ("r1", "e1"),
        ("r2", "e2"),
        ("r3", "e1"),
    ]


def test_a_row_that_failed_today_keeps_what_it_published_before(tmp_path: Path) -> None:
    bucket = FakeBucket()
    write(bucket, [known(1)], tmp_path)

    write(bucket, [known(1, at=2.0, made=False)], tmp_path)

    assert lines_in(bucket) == [known(1)]


def test_the_report_of_an_old_batch_that_is_written_again_takes_nothing_back(tmp_path: Path) -> None:
    bucket = FakeBucket()
    write(bucket, [known(1, at=2.0, etag="e2")], tmp_path)

    write(bucket, [known(1, at=1.0, etag="e1")], tmp_path)

    assert lines_in(bucket) == [known(1, at=2.0, etag="e2")]


def test_an_output_that_is_gone_is_forgotten_unless_it_was_published_again(tmp_path: Path) -> None:
    bucket = FakeBucket()
    write(bucket, [known(1), known(2), known(3), known(4)], tmp_path)

    with Changes(tmp_path, 3) as changes:
        for number in (1, 2):
            changes.gone(known(number).output, "e1", at=1.5)
        changes.add(known(2, at=2.0, etag="e2"))
        changes.gone(known(3).output, "an etag that it no longer has", at=1.5)
        changes.gone(known(4).output, "e1", at=0.5)
        state_in(bucket).write(changes)

    assert lines_in(bucket) == [known(2, at=2.0, etag="e2"), known(3), known(4)]


def test_two_batches_that_end_at_once_are_both_remembered(tmp_path: Path) -> None:
    class Overtaken(FakeBucket):
        """Another batch writes its state right before our index is."""

        def put(self, key: str, data: bytes, **said: object) -> str:
            if "index-" in key and not self.done:
                self.done = True
                (tmp_path / "other").mkdir()
                write(self, [known(2)], tmp_path / "other")
            return super().put(key, data, **said)  # type: ignore[arg-type]

        done = False

    bucket = Overtaken()
    write(bucket, [known(1)], tmp_path)

    assert lines_in(bucket) == [known(1), known(2)]
    assert len(files(bucket)) == 2


@pytest.mark.parametrize("conditional", ["ignored", "refused"])
def test_a_store_that_knows_no_conditions_remembers_too(tmp_path: Path, conditional: Conditional) -> None:
    bucket = FakeBucket(conditional=conditional)
    write(bucket, [known(1)], tmp_path)
    write(bucket, [known(2)], tmp_path)

    assert lines_in(bucket) == [known(1), known(2)]


@pytest.mark.parametrize("puts", [0, 1, 2, 3, 4])
def test_a_crash_at_any_write_leaves_the_old_state_or_the_new_one(
    tmp_path: Path, puts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINES_PER_SHARD", 4)

    class Crashing(FakeBucket):
        left = 1_000

        def put(self, key: str, data: bytes, **said: object) -> str:
            self.left -= 1
            if self.left < 0:
                raise Unavailable("the power is gone")
            return super().put(key, data, **said)  # type: ignore[arg-type]

    bucket = Crashing()
    old = [known(n) for n in range(12)]
    new = [known(n, at=2.0, etag="e2") for n in range(12)]
    write(bucket, old, tmp_path, rows=12)
    assert len(files(bucket)) == 5

    bucket.left = puts
    try:
        write(bucket, new, tmp_path, rows=12)
    except StorageError:
        assert lines_in(bucket) == old
    else:
        assert lines_in(bucket) == new
    bucket.left = 1_000
    write(bucket, new, tmp_path, rows=12)

    assert lines_in(bucket) == new
    index = state_in(bucket).index()
    named = {file for file, _ in index.shards if file}
    assert len(files(bucket)) == len(named) + 1, "what a crash left behind goes with the next batch"


def test_a_reader_that_is_overtaken_starts_again_from_the_newest_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINES_PER_SHARD", 16)
    bucket = FakeBucket()
    write(bucket, [known(n) for n in range(64)], tmp_path, rows=64)
    reading = state_in(bucket).lines()
    first = next(reading)

    write(bucket, [known(n, at=2.0, etag="e2") for n in range(64)], tmp_path, rows=64)
    newest = {line.output: line for line in [first, *reading]}

    assert len(newest) == 64
    assert sum(line.at == 2.0 for line in newest.values()) >= 48, "only the shard that was open is the old one's"


def test_a_batch_that_touches_few_rows_writes_few_shards_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINES_PER_SHARD", 16)
    bucket = FakeBucket()
    write(bucket, [known(n) for n in range(120)], tmp_path, rows=120)
    before = set(files(bucket))

    write(bucket, [known(7, at=2.0)], tmp_path, rows=1)

    assert len(before) == 9
    assert len(before & set(files(bucket))) == 7, "all but one shard and the index"


@pytest.mark.parametrize("damage", ["gone", "no gzip", "half", "no json"])
def test_a_damaged_shard_is_forgotten_and_learnt_again(tmp_path: Path, damage: str) -> None:
    bucket = FakeBucket()
    write(bucket, [known(1)], tmp_path)
    shard = LAYOUT.name("autumn", next(file for file in files(bucket) if file.endswith("gz")))
    whole = bucket.get(shard)
    spoilt = {"no gzip": b"words", "half": whole[: len(whole) // 2], "no json": gzip.compress(b"words\n")}
    if damage == "gone":
        bucket.delete(shard)
    else:
        bucket.lay(shard, spoilt[damage])

    assert lines_in(bucket) == []
    write(bucket, [known(1, at=2.0)], tmp_path)
    assert lines_in(bucket) == [known(1, at=2.0)]


@pytest.mark.parametrize("data", [b"words", b"{}", b'{"version": 2, "bits": 0, "shards": [["a", 1]]}'])
def test_an_index_of_another_release_or_of_nobody_knows_nothing(data: bytes) -> None:
    assert Index.from_json(4, data) == Index(generation=4)


@given(st.lists(st.integers(0, 60), max_size=40), st.integers(0, 6), st.integers(0, 6))
def test_every_line_stands_in_one_shard_however_many_there_are(numbers: list[int], few: int, more: int) -> None:
    outputs = {known(number).output for number in numbers}
    low, high = sorted((few, more))

    for output in outputs:
        assert shard_of(output, high) >> (high - low) == shard_of(output, low)
        assert 0 <= shard_of(output, high) < 1 << high


@pytest.mark.parametrize(("rows", "bits"), [(0, 0), (8_192, 0), (8_193, 1), (16_385, 2), (1_000_000, 7)])
def test_shards_double_so_that_each_stays_small(rows: int, bits: int) -> None:
    assert bits_for(rows) == bits


def test_lines_of_a_later_release_are_read_for_what_is_understood() -> None:
    line = known(1).as_line().replace('"id"', '"colour":"red","id"').replace('"key"', '"colour":"red","key"')

    assert Known.from_line(line) == known(1)


def test_the_later_of_two_results_stands() -> None:
    early, late = known(1), replace(known(1), at=2.0)

    assert late.over(early) is late
    assert early.over(late) is late
    assert early.over(None) is early
