"""What every bucket does, over SeaweedFS and over the one in memory that stands in for it in unit tests."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.bucket.port import Bucket
from jobs.bucket.s3 import S3Bucket, open_bucket
from jobs.errors import NotFound, PreconditionFailed, Refused, Unavailable
from tests.fakes import FakeBucket

LARGE = 70 * 1024 * 1024
"""Over the size from which a file goes up in parts."""


@pytest.fixture(scope="module")
def store(s3_keywords: dict[str, Any]) -> Iterator[S3Bucket]:
    bucket = open_bucket(**s3_keywords)
    yield bucket
    bucket.close()


@pytest.fixture(params=["memory", "seaweed"])
def bucket(request: pytest.FixtureRequest) -> Bucket:
    if request.param == "memory":
        return FakeBucket()
    found: S3Bucket = request.getfixturevalue("store")
    return found


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as taken:  # bound and not listening: nobody else can come to listen there
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def folder() -> str:
    return f"{uuid.uuid4().hex}/"


def test_an_object_comes_back_as_it_was_put(bucket: Bucket, folder: str) -> None:
    data = bytes(range(256)) * 40

    bucket.put(folder + "a", data, content_type="image/png", metadata={"retouch-job": "b1.7"})

    head = bucket.head(folder + "a")
    assert bucket.get(folder + "a") == data
    assert head is not None
    assert (head.key, head.bytes, head.content_type) == (folder + "a", len(data), "image/png")
    assert dict(head.metadata) == {"retouch-job": "b1.7"}


@pytest.mark.parametrize("value", ["Stühle & Tische", "100 %", "%41", "two  spaces", " edges ", "椅子", "a+b=c"])
def test_any_text_survives_in_metadata(bucket: Bucket, folder: str, value: str) -> None:
    bucket.put(folder + "a", b"x", metadata={"note": value})

    head = bucket.head(folder + "a")
    assert head is not None
    assert head.metadata["note"] == value


@pytest.mark.parametrize("name", ["Stühle/größe 2+%20.png", "椅子.webp", "a&b?c#d.jpg", "it's (1).jpg"])
def test_any_text_is_a_key(bucket: Bucket, folder: str, name: str) -> None:
    bucket.put(folder + name, b"x")
    bucket.copy(folder + name, folder + "copy of " + name, metadata={"a": "b"})

    assert bucket.get(folder + "copy of " + name) == b"x"
    assert [head.key for head in bucket.keys(folder + name)] == [folder + name]


def test_nothing_at_a_key_is_not_found(bucket: Bucket, folder: str, tmp_path: Path) -> None:
    assert bucket.head(folder + "none") is None
    with pytest.raises(NotFound, match="none"):
        bucket.get(folder + "none")
    with pytest.raises(NotFound, match="none"):
        bucket.download(folder + "none", tmp_path / "none")
    with pytest.raises(NotFound, match="none"):
        bucket.copy(folder + "none", folder + "target")
    with pytest.raises(NotFound, match="none"):
        bucket.copy(folder + "none", folder + "target", content_type="image/png")
    assert list(tmp_path.iterdir()) == []


def test_deleting_nothing_is_no_error(bucket: Bucket, folder: str) -> None:
    bucket.put(folder + "a", b"x")

    bucket.delete(folder + "a")
    bucket.delete(folder + "a")

    assert bucket.head(folder + "a") is None


def test_an_object_at_the_limit_is_read_and_one_over_it_is_refused(bucket: Bucket, folder: str) -> None:
    bucket.put(folder + "a", b"12345")

    assert bucket.get(folder + "a", max_bytes=5) == b"12345"
    with pytest.raises(Refused, match="larger than the 4 bytes"):
        bucket.get(folder + "a", max_bytes=4)


def test_an_empty_object_is_an_object(bucket: Bucket, folder: str) -> None:
    bucket.put(folder + "a", b"")

    assert bucket.get(folder + "a", max_bytes=10) == b""


def test_a_conditional_put_keeps_what_lies_there(bucket: Bucket, folder: str) -> None:
    bucket.put(folder + "a", b"first", if_absent=True)

    with pytest.raises(PreconditionFailed):
        bucket.put(folder + "a", b"second", if_absent=True)

    assert bucket.get(folder + "a") == b"first"


def test_of_many_conditional_puts_at_once_exactly_one_wins(bucket: Bucket, folder: str) -> None:
    start, won = threading.Barrier(8), []

    def put(number: int) -> None:
        start.wait()
        try:
            bucket.put(folder + "a", str(number).encode(), if_absent=True)
        except PreconditionFailed:
            return
        won.append(number)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [str(number).encode() for number in won] == [bucket.get(folder + "a")]


def test_a_conditional_copy_keeps_what_lies_there(bucket: Bucket, folder: str) -> None:
    bucket.put(folder + "a", b"mine")
    bucket.copy(folder + "a", folder + "b", if_absent=True)
    bucket.put(folder + "b", b"theirs")

    with pytest.raises(PreconditionFailed):
        bucket.copy(folder + "a", folder + "b", if_absent=True)

    assert bucket.get(folder + "b") == b"theirs"


def test_a_copy_replaces_the_object_that_was_looked_at_and_no_other(bucket: Bucket, folder: str) -> None:
    bucket.put(folder + "a", b"mine")
    bucket.put(folder + "b", b"old")
    looked_at = bucket.head(folder + "b")
    assert looked_at is not None

    bucket.put(folder + "b", b"theirs")
    with pytest.raises(PreconditionFailed):
        bucket.copy(folder + "a", folder + "b", if_match=looked_at.etag)
    with pytest.raises(PreconditionFailed):
        bucket.copy(folder + "a", folder + "none", if_match=looked_at.etag)
    kept = bucket.get(folder + "b")
    now = bucket.head(folder + "b")
    assert now is not None
    bucket.copy(folder + "a", folder + "b", if_match=now.etag)

    assert kept == b"theirs"
    assert bucket.get(folder + "b") == b"mine"


def test_a_plain_copy_takes_metadata_and_type_along(bucket: Bucket, folder: str) -> None:
    bucket.put(folder + "a", b"x", content_type="image/webp", metadata={"one": "ü"})

    bucket.copy(folder + "a", folder + "b")

    head = bucket.head(folder + "b")
    assert head is not None
    assert (head.content_type, dict(head.metadata)) == ("image/webp", {"one": "ü"})


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"metadata": {"two": "2"}}, ("image/webp", {"two": "2"})),
        ({"content_type": "image/png"}, ("image/png", {"one": "1"})),
        ({"metadata": {"two": "2"}, "content_type": "image/png"}, ("image/png", {"two": "2"})),
    ],
)
def test_a_copy_changes_only_what_is_given(
    bucket: Bucket, folder: str, changes: dict[str, Any], expected: tuple[str, dict[str, str]]
) -> None:
    bucket.put(folder + "a", b"x", content_type="image/webp", metadata={"one": "1"})

    bucket.copy(folder + "a", folder + "b", **changes)

    head = bucket.head(folder + "b")
    assert head is not None
    assert (head.content_type, dict(head.metadata)) == expected


def test_an_object_can_be_copied_onto_itself_to_change_its_metadata(bucket: Bucket, folder: str) -> None:
    bucket.put(folder + "a", b"x", metadata={"one": "1"})

    bucket.copy(folder + "a", folder + "a", metadata={"two": "2"})

    head = bucket.head(folder + "a")
    assert head is not None
    assert dict(head.metadata) == {"two": "2"}
    assert bucket.get(folder + "a") == b"x"


def test_keys_lists_what_lies_under_a_prefix_and_nothing_else(bucket: Bucket, folder: str) -> None:
    for name in ("b.jpg", "a.jpg", "a.png", "a/earlier.jpg"):
        bucket.put(folder + name, name.encode())

    assert [head.key for head in bucket.keys(folder + "a.")] == [folder + "a.jpg", folder + "a.png"]
    assert [head.bytes for head in bucket.keys(folder + "a.")] == [5, 5]
    assert list(bucket.keys(folder + "c")) == []


def test_keys_stops_at_its_limit(bucket: Bucket, folder: str) -> None:
    for number in range(4):
        bucket.put(f"{folder}{number}", b"")

    assert [head.key for head in bucket.keys(folder, limit=2)] == [folder + "0", folder + "1"]
    assert list(bucket.keys(folder, limit=0)) == []


def test_keys_goes_on_over_pages(bucket: Bucket, folder: str) -> None:
    names = [f"{folder}ü{number:04d}" for number in range(1203)]
    for name in names:
        bucket.put(name, b"")

    assert [head.key for head in bucket.keys(folder)] == names
    assert [head.key for head in bucket.keys(folder, limit=1101)] == names[:1101]


def test_a_file_goes_up_and_comes_down(bucket: Bucket, folder: str, tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(b"some bytes")

    bucket.put_file(folder + "a", tmp_path / "up", content_type="text/csv")
    bucket.download(folder + "a", tmp_path / "down")

    head = bucket.head(folder + "a")
    assert head is not None
    assert head.content_type == "text/csv"
    assert (tmp_path / "down").read_bytes() == b"some bytes"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["down", "up"]


def test_a_file_that_needs_several_parts_goes_up_whole(store: S3Bucket, folder: str, tmp_path: Path) -> None:
    with (tmp_path / "up").open("wb") as file:
        file.truncate(LARGE)

    store.put_file(folder + "large", tmp_path / "up")
    store.download(folder + "large", tmp_path / "down")

    assert (tmp_path / "down").stat().st_size == LARGE
    store.delete(folder + "large")


def test_a_picture_in_another_bucket_can_be_read(s3_keywords: dict[str, Any], store: S3Bucket, folder: str) -> None:
    other = open_bucket(**s3_keywords | {"bucket": "shop-photos"})
    other.put(folder + "a", b"theirs")  # the store makes the bucket

    head = store.head(folder + "a", bucket="shop-photos")
    assert head is not None
    assert head.bytes == 6
    assert store.get(folder + "a", bucket="shop-photos") == b"theirs"
    assert store.head(folder + "a") is None
    other.close()


def test_a_missing_bucket_is_refused_with_what_to_do(store: S3Bucket) -> None:
    with pytest.raises(Refused, match="create it or correct RETOUCH_S3__BUCKET"):
        store.get("a", bucket="nowhere")


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        ({"access_key_id": "stranger"}, "RETOUCH_S3__ACCESS_KEY_ID"),
        ({"secret_access_key": "not-the-secret"}, "RETOUCH_S3__SECRET_ACCESS_KEY"),
    ],
)
def test_wrong_credentials_are_refused_and_not_shown(
    s3_keywords: dict[str, Any], wrong: dict[str, str], remedy: str
) -> None:
    bucket = open_bucket(**s3_keywords | wrong)

    with pytest.raises(Refused, match=remedy) as caught:
        bucket.get("a")

    told = f"{caught.value} {caught.value.__cause__} {bucket!r}"
    assert not [name for name in ("access_key_id", "secret_access_key") if (s3_keywords | wrong)[name] in told]
    bucket.close()


def test_a_name_that_s3_does_not_take_is_refused(store: S3Bucket) -> None:
    with pytest.raises(Refused, match="correct it"):
        store.put("", b"x")
    with pytest.raises(Refused, match="shorten the key"):
        store.put("k" * 1025, b"x")


def test_a_store_that_is_away_is_unavailable(closed_port: int) -> None:
    bucket = open_bucket(
        bucket="b", endpoint_url=f"http://127.0.0.1:{closed_port}", access_key_id="a", secret_access_key="s"
    )

    with pytest.raises(Unavailable, match="s3://b/k cannot be looked up now"):
        bucket.head("k")
    bucket.close()


def test_an_address_that_is_none_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(Refused, match="RETOUCH_S3__ENDPOINT_URL") as caught:
        open_bucket(bucket="b", endpoint_url="user:hidden@store", access_key_id="a", secret_access_key="s")

    assert "hidden" not in str(caught.value)


def test_a_profile_that_does_not_exist_matters_only_without_credentials(
    s3_keywords: dict[str, Any], folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "gone")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))

    bucket = open_bucket(**s3_keywords)

    assert bucket.head(folder + "a") is None
    with pytest.raises(Refused, match="AWS_PROFILE"):
        open_bucket(bucket="b")
    bucket.close()
