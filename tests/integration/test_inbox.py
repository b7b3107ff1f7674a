"""The inbox on a real store: what is dropped while another version is being moved away is never lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.bucket.s3 import S3Bucket, open_bucket
from jobs.errors import PreconditionFailed
from producers.inbox.place import inbox_of, uploads
from producers.inbox.take import take
from tests.unit.intaking import HEADER, Clock, batches, desk, lines


@pytest.fixture
def bucket(s3_keywords: dict[str, Any]) -> S3Bucket:
    return open_bucket(**s3_keywords)


def test_only_the_version_that_is_meant_is_read_or_removed(bucket: S3Bucket) -> None:
    key = "inbox-conditions/a.csv"
    bucket.put(key, b"one")
    old = next(bucket.keys(key)).etag
    bucket.put(key, b"two")
    new = next(bucket.keys(key)).etag

    with pytest.raises(PreconditionFailed):
        bucket.delete(key, if_match=old)
    with pytest.raises(PreconditionFailed):
        bucket.download(key, Path("/nowhere/a.csv"), if_match=old)

    assert bucket.get(key) == b"two"
    bucket.delete(key, if_match=new)
    assert bucket.head(key) is None


def test_a_version_that_comes_between_the_receipt_and_the_move_is_the_next_upload(
    bucket: S3Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = desk(tmp_path, Clock(), bucket=bucket)
    key = f"{inbox_of(place.layout)}race/autumn.csv"
    later = (HEADER + lines(5)).encode()
    bucket.put(key, (HEADER + lines(3)).encode())
    first = next(upload for upload in uploads(bucket, inbox_of(place.layout)) if upload.key == key)
    real = S3Bucket.put_file

    def replaced_meanwhile(self: S3Bucket, *said: Any, **more: Any) -> None:
        real(self, *said, **more)
        bucket.put(key, later)

    with monkeypatch.context() as racing:
        racing.setattr(S3Bucket, "put_file", replaced_meanwhile)
        receipt = take(first.key, first.etag, place)

    assert receipt is not None
    assert receipt["rows"] == 3
    assert bucket.get(key) == later
    second = next(upload for upload in uploads(bucket, inbox_of(place.layout)) if upload.key == key)
    again = take(second.key, second.etag, place)
    assert again is not None
    assert again["rows"] == 5
    assert bucket.head(key) is None
    assert len(batches(place)) == 2
