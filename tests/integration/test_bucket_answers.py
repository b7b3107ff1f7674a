"""What boto3 makes of a store's odd answers, and what we make of that: over real HTTP, from a store with a script."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.bucket.s3 import open_bucket
from jobs.errors import BadCredentials, NotFound, PreconditionFailed, Refused, StorageError, Unavailable
from tests.integration.scripted import Script


@pytest.fixture
def store(server: Script) -> Script:
    """A bucket is made once: to open one takes a quarter of a second."""
    server.status, server.code, server.headers, server.body, server.seen = 200, "", {}, b"", []
    return server


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (403, "AccessDenied", Refused, "give the credentials s3:PutObject"),
        (403, "ExpiredToken", BadCredentials, "renew them"),
        (403, "RequestTimeTooSkewed", BadCredentials, "clock"),
        (400, "AuthorizationHeaderMalformed", Refused, "RETOUCH_S3__REGION"),
        (400, "MetadataTooLarge", Refused, "400 MetadataTooLarge"),
        (404, "NoSuchBucket", Refused, "create it"),
        (405, "MethodNotAllowed", Refused, "405"),
        (501, "NotImplemented", Refused, "does not know this request"),
        (412, "PreconditionFailed", PreconditionFailed, "something else lies there"),
        (409, "ConditionalRequestConflict", PreconditionFailed, "something else lies there"),
        (409, "OperationAborted", Unavailable, "409 OperationAborted"),
    ],
)
def test_each_answer_becomes_the_error_that_says_whether_to_try_again(
    store: Script, status: int, code: str, kind: type[StorageError], words: str
) -> None:
    store.status, store.code = status, code

    with pytest.raises(StorageError) as caught:
        store.bucket.put("chairs/7.jpg", b"x", if_absent=True)

    assert type(caught.value) is kind
    assert "s3://shop/chairs/7.jpg" in str(caught.value)
    assert words in str(caught.value)
    assert "sealed words" not in str(caught.value)
    assert len(store.seen) <= 2, "on the straight way, and once through boto3"


def test_a_forbidden_look_names_the_right_to_list_too(store: Script) -> None:
    store.status = 403

    with pytest.raises(Refused, match="s3:ListBucket"):
        store.bucket.head("a")


def test_a_404_without_a_word_means_that_nothing_is_there(store: Script) -> None:
    store.status = 404

    assert store.bucket.head("a") is None
    with pytest.raises(NotFound):
        store.bucket.get("a")


def test_a_read_that_is_cut_off_is_unavailable_and_leaves_no_file(store: Script, tmp_path: Path) -> None:
    store.body, store.headers = b"half", {"Content-Length": "8", "Connection": "close"}
    (tmp_path / "a").write_bytes(b"before")

    with pytest.raises(Unavailable):
        store.bucket.get("a")
    with pytest.raises(Unavailable):
        store.bucket.get("a", max_bytes=100)
    with pytest.raises(Unavailable):
        store.bucket.download("a", tmp_path / "a")

    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"before")]


def test_metadata_names_are_lower_case_whatever_the_store_writes(store: Script) -> None:
    store.headers = {"X-Amz-Meta-Retouch-Job": "St%C3%BChle"}

    head = store.bucket.head("a")

    assert head is not None
    assert dict(head.metadata) == {"retouch-job": "Stühle"}


def test_a_store_of_ones_own_is_addressed_by_path(store: Script) -> None:
    store.bucket.put("a b.jpg", b"x", if_absent=True)

    method, path, headers = store.seen[0]
    assert (method, path) == ("PUT", "/shop/a%20b.jpg")
    assert headers["if-none-match"] == "*"


@pytest.mark.parametrize(("checksums", "sent"), [("when_supported", True), ("when_required", False)])
def test_a_checksum_is_sent_only_where_the_store_takes_one(store: Script, checksums: str, sent: bool) -> None:
    address = store.bucket._client.meta.endpoint_url
    bucket = open_bucket(
        bucket="shop", endpoint_url=address, access_key_id="a", secret_access_key="s", checksums=checksums
    )

    bucket.put("a", b"x")

    _, _, headers = store.seen[0]
    assert any(name.startswith("x-amz-checksum-") or name == "x-amz-trailer" for name in headers) is sent
    bucket.close()


def test_no_credentials_at_all_is_refused_with_what_to_set(
    store: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    bucket = open_bucket(bucket="shop", endpoint_url=store.bucket._client.meta.endpoint_url)

    with pytest.raises(Refused, match="RETOUCH_S3__ACCESS_KEY_ID"):
        bucket.get("a")

    bucket.close()
