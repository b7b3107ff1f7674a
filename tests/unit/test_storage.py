"""Whether storage answers: found out at once, told to all threads, and asked again by one."""

from __future__ import annotations

import threading

import pytest

from jobs.bucket.layout import Layout
from jobs.errors import NotFound, Refused, StorageError, Unavailable
from tests.fakes import FakeBucket
from tests.unit.desks import Clock
from workers.storage import FAILURES, HANGS_S, Storage, WatchedBucket


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def inner() -> FakeBucket:
    found = FakeBucket()
    found.lay("a", b"x")
    return found


@pytest.fixture
def storage(clock: Clock) -> Storage:
    return Storage(clock)


@pytest.fixture
def bucket(inner: FakeBucket, storage: Storage) -> WatchedBucket:
    return WatchedBucket(inner, storage, Layout())


def fail(bucket: WatchedBucket, times: int) -> None:
    for _ in range(times):
        with pytest.raises(Unavailable):
            bucket.get("a")


def test_storage_that_answers_is_not_away(bucket: WatchedBucket, storage: Storage) -> None:
    assert bucket.get("a") == b"x"
    assert storage.trouble == ""


def test_a_few_failures_in_a_row_and_nobody_asks_any_more(
    bucket: WatchedBucket, inner: FakeBucket, storage: Storage
) -> None:
    inner.failing["get"] = Unavailable("no answer")
    fail(bucket, FAILURES)
    asked = len(inner.calls)

    with pytest.raises(Unavailable, match="storage is away: no answer"):
        bucket.head("a")

    assert storage.trouble == "no answer"
    assert len(inner.calls) == asked


def test_a_failure_between_answers_is_no_outage(bucket: WatchedBucket, inner: FakeBucket, storage: Storage) -> None:
    for _ in range(5):
        inner.failing["get"] = Unavailable("no answer")
        fail(bucket, FAILURES - 1)
        inner.failing.clear()
        bucket.get("a")

    assert storage.trouble == ""


@pytest.mark.parametrize("error", [Refused("no"), NotFound("none")])
def test_a_refusal_is_an_answer(
    bucket: WatchedBucket, inner: FakeBucket, storage: Storage, error: StorageError
) -> None:
    inner.failing["get"] = Unavailable("no answer")
    fail(bucket, FAILURES - 1)
    inner.failing["get"] = error
    with pytest.raises(type(error)):
        bucket.get("a")
    inner.failing["get"] = Unavailable("no answer")
    fail(bucket, 1)

    assert storage.trouble == ""


def test_another_bucket_that_is_away_says_nothing_about_ours(
    bucket: WatchedBucket, inner: FakeBucket, storage: Storage
) -> None:
    inner.failing["get"] = Unavailable("no answer")
    for _ in range(9):
        with pytest.raises(Unavailable):
            bucket.get("a", bucket="theirs")

    assert storage.trouble == ""


def test_storage_is_back_when_it_can_be_written(bucket: WatchedBucket, inner: FakeBucket, storage: Storage) -> None:
    inner.failing["get"] = inner.failing["put"] = Unavailable("no answer")
    fail(bucket, FAILURES)

    still_away = storage.look()
    inner.failing.clear()
    back = storage.look()

    assert (still_away, back) == (False, True)
    assert bucket.get("a") == b"x"


def test_a_call_that_hangs_while_no_other_comes_back_means_away(
    bucket: WatchedBucket, storage: Storage, clock: Clock
) -> None:
    with storage.asking():
        clock.advance(HANGS_S + 0.1)
        with pytest.raises(Unavailable, match="no answer for 5 s"):
            bucket.head("a")


def test_a_call_that_takes_long_while_others_come_back_does_not(
    bucket: WatchedBucket, storage: Storage, clock: Clock
) -> None:
    with storage.asking():
        for _ in range(9):
            clock.advance(HANGS_S - 1)
            bucket.head("a")

    assert storage.trouble == ""


def test_a_large_file_may_take_its_time(bucket: WatchedBucket, storage: Storage, clock: Clock) -> None:
    with storage.asking(lasts=True):
        clock.advance(60)
        bucket.head("a")

    assert storage.trouble == ""


def test_a_store_that_was_not_asked_for_long_is_not_away(bucket: WatchedBucket, storage: Storage, clock: Clock) -> None:
    clock.advance(3600)

    with storage.asking():
        clock.advance(HANGS_S - 1)
        bucket.head("a")

    assert storage.trouble == ""


def test_every_method_is_watched(bucket: WatchedBucket, inner: FakeBucket, tmp_path: object) -> None:
    inner.failing["get"] = Unavailable("no answer")
    fail(bucket, FAILURES)
    asked = len(inner.calls)

    for call in (
        lambda: bucket.get("a"),
        lambda: bucket.read("a"),
        lambda: bucket.head("a"),
        lambda: bucket.put("a", b""),
        lambda: bucket.put_file("a", tmp_path),  # type: ignore[arg-type]
        lambda: bucket.download("a", tmp_path),  # type: ignore[arg-type]
        lambda: bucket.copy("a", "b"),
        lambda: list(bucket.keys("")),
        lambda: bucket.delete("a"),
    ):
        with pytest.raises(Unavailable, match="storage is away"):
            call()

    assert len(inner.calls) == asked


def test_threads_that_fail_together_agree(bucket: WatchedBucket, inner: FakeBucket, storage: Storage) -> None:
    inner.failing["get"] = Unavailable("no answer")
    threads = [threading.Thread(target=fail, args=(bucket, 3)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert storage.trouble == "no answer"
    assert FAILURES <= len(inner.calls) <= FAILURES + 8
