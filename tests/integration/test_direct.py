"""The straight way to a store: taken for the good answer, left to boto3 for any other. Over real HTTP."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from jobs.bucket.direct import NotAsked
from jobs.bucket.s3 import S3Bucket, open_bucket
from jobs.connections import Connections
from jobs.errors import BadCredentials, Refused, StorageError, Unavailable
from tests.contract.raw import DRIPS, dripping, serving
from tests.integration.scripted import Script

LISTED = b"""<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<IsTruncated>%s</IsTruncated><EncodingType>url</EncodingType><NextContinuationToken>next+1=</NextContinuationToken>
<Contents><Key>a+b%%2Fc.png</Key><Size>7</Size><ETag>"e"</ETag><LastModified>2026-01-01T00:00:00.000Z</LastModified>
</Contents></ListBucketResult>"""
COPIED = b"<CopyObjectResult><ETag>&quot;e&quot;</ETag></CopyObjectResult>"

Opened = Callable[..., S3Bucket]


@pytest.fixture
def opened(server: Script) -> Iterator[Opened]:
    """Opens a bucket of the store that answers by its script."""
    server.status, server.code, server.headers, server.body, server.seen = 200, "", {}, b"", []
    buckets: list[S3Bucket] = []

    def bucket(name: str = "shop", **more: str) -> S3Bucket:
        address = server.bucket._client.meta.endpoint_url
        keys = {"access_key_id": "AKIDEXAMPLE", "secret_access_key": "wJalrXUtnFEMI", **more}
        buckets.append(open_bucket(bucket=name, endpoint_url=address, **keys))  # type: ignore[arg-type]
        return buckets[-1]

    yield bucket
    for each in buckets:
        each.close()


def ways(server: Script) -> list[str]:
    """Return by which way each request came."""
    return ["straight" if "amz-sdk-request" not in headers else "boto3" for _, _, headers in server.seen]


def test_what_an_edit_asks_goes_straight(server: Script, opened: Opened) -> None:
    bucket = opened()

    bucket.put("a", b"x", metadata={"job": "b.1"}, if_absent=True)
    bucket.get("a")
    bucket.head("a")
    server.body = COPIED
    copied = bucket.copy("a", "b", content_type="image/png", metadata={"job": "b.1"}, if_source="e")
    server.body = LISTED % b"false"
    (listed,) = bucket.keys("a")
    server.status = 204
    bucket.delete("a", if_match="e")

    assert ways(server) == ["straight"] * 6
    assert copied == "e"
    assert (listed.key, listed.bytes, listed.etag, listed.modified) == ("a b/c.png", 7, "e", 1767225600.0)
    put, copy, delete = (server.seen[n][2] for n in (0, 3, 5))
    assert (put["if-none-match"], put["x-amz-meta-job"], put["content-type"]) == (
        "*",
        "b.1",
        "application/octet-stream",
    )
    assert base64.b64decode(put["x-amz-checksum-crc32"]) == zlib.crc32(b"x").to_bytes(4, "big")
    assert (copy["x-amz-copy-source"], copy["x-amz-copy-source-if-match"]) == ("shop/a", '"e"')
    assert (copy["x-amz-metadata-directive"], copy["content-type"]) == ("REPLACE", "image/png")
    assert delete["if-match"] == '"e"'


def test_a_listing_goes_on_where_the_page_ended(server: Script, opened: Opened) -> None:
    server.body = LISTED % b"true"

    listed = opened().keys("a")
    next(listed)
    next(listed)

    assert "continuation-token=next%2B1%3D" in server.seen[1][1]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Length": "8", "Connection": "close"}, b"half"),
        ({"x-amz-checksum-crc32": base64.b64encode(b"none").decode()}, b"whole"),
    ],
    ids=["half of it", "another checksum"],
)
def test_a_body_that_is_not_the_one_that_was_meant_is_asked_for_through_boto3(
    server: Script, opened: Opened, headers: dict[str, str], body: bytes
) -> None:
    server.headers, server.body = headers, body

    with pytest.raises(Unavailable):
        opened().get("a")

    assert ways(server)[:2] == ["straight", "boto3"]


@pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError"), (429, "TooManyRequests")])
def test_a_busy_store_is_asked_straight_and_then_twice_through_boto3(
    server: Script, opened: Opened, status: int, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _seconds: None)
    server.status, server.code = status, code

    with pytest.raises(Unavailable, match=f"{status} {code}"):
        opened().put("a", b"x")

    assert ways(server) == ["straight", "boto3", "boto3"]


@pytest.mark.parametrize("where", ["head", "body"])
def test_a_store_that_drips_is_not_waited_for_and_boto3_is_not_asked_to(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.bucket.direct._REQUEST_S", 0.2)
    monkeypatch.setattr("jobs.bucket.direct._SLOWEST", 1e12)

    with serving(dripping(*DRIPS[where])) as store:
        bucket = open_bucket(
            bucket="shop", endpoint_url=store.base_url, access_key_id="AKIDEXAMPLE", secret_access_key="s"
        )
        with pytest.raises(Unavailable, match="s3://shop/a"):
            bucket.get("a")
        bucket.close()

        assert len(store.heads) == 1


@pytest.mark.parametrize(("most", "seconds"), [(None, 2984), (20_000_000, 500)])
def test_a_body_has_the_time_that_it_needs_at_a_slow_pace(
    server: Script, opened: Opened, most: int | None, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed: list[float] = []
    asking = Connections.asking

    def noted(self: Connections, *asked: Any, within_s: float) -> Any:
        allowed.append(within_s)
        return asking(self, *asked, within_s=within_s)

    monkeypatch.setattr(Connections, "asking", noted)
    bucket = opened()

    bucket.get("a", max_bytes=most)
    bucket.put("a", bytes(10_000_000))

    assert [round(each) for each in allowed] == [seconds, 400]


def test_an_error_that_comes_with_a_200_is_no_copy(
    server: Script, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _seconds: None)
    server.body = b"<Error><Code>InternalError</Code></Error>"

    with pytest.raises(Unavailable):
        opened().copy("a", "b")

    assert ways(server)[:2] == ["straight", "boto3"]


@pytest.mark.parametrize(
    "body",
    [
        (LISTED % b"false").replace(b"<Size>7", b"<Size>seven"),
        (LISTED % b"false").replace(b"2026-01-01T", b"soon"),
        (LISTED % b"false").replace(b"<Key>a+b%2Fc.png</Key>", b""),
        (LISTED % b"true").replace(b"next+1=", b""),
        b"<!DOCTYPE a [<!ENTITY b 'c'>]>" + LISTED % b"false",
        (LISTED % b"false").decode().replace("UTF-8", "UTF-16").encode("utf-16-be"),
        b"<html/>",
    ],
    ids=["size", "date", "no key", "cut short", "entities", "in disguise", "something else"],
)
def test_a_listing_that_cannot_be_read_is_asked_for_through_boto3(server: Script, opened: Opened, body: bytes) -> None:
    server.body = body

    with suppress(Exception):  # what boto3 makes of it is its affair
        list(opened().keys("a", limit=1))

    assert ways(server)[:2] == ["straight", "boto3"]


def test_an_object_whose_size_is_not_said_is_asked_for_through_boto3(server: Script, opened: Opened) -> None:
    server.headers = {"Content-Length": "", "Connection": "close"}

    with suppress(Exception):
        opened().head("a")

    assert ways(server)[:2] == ["straight", "boto3"]


def test_a_password_in_the_stores_address_is_no_part_of_its_host() -> None:
    bucket = open_bucket(
        bucket="shop", endpoint_url="http://user:word@store.test", access_key_id="AKIDEXAMPLE", secret_access_key="s"
    )

    assert bucket._direct is not None
    place = bucket._direct._place("shop")
    bucket.close()

    assert place is not None
    assert (place.host, place.origin[1]) == ("store.test", "store.test")


@pytest.mark.parametrize("name", ["missing.pem", "empty.pem", ""], ids=["missing", "empty", "a folder"])
def test_authorities_that_cannot_be_read_are_refused_by_the_name_of_their_setting(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty.pem").touch()
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / name))

    with pytest.raises(Refused, match="AWS_CA_BUNDLE"):
        open_bucket(
            bucket="shop", endpoint_url="https://127.0.0.1:1", access_key_id="AKIDEXAMPLE", secret_access_key="s"
        ).get("a")


def test_authorities_matter_only_to_a_store_that_is_asked_over_tls(
    server: Script, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere/authorities.pem")

    opened().get("a")

    assert ways(server) == ["straight"]


def test_a_store_that_keeps_refusing_is_asked_through_boto3_alone(server: Script, opened: Opened) -> None:
    bucket, server.status, server.code = opened(), 403, "SignatureDoesNotMatch"
    for _ in range(3):
        with pytest.raises(BadCredentials):
            bucket.get("a")
    server.seen.clear()

    server.status, server.code = 200, ""
    bucket.get("a")

    assert ways(server) == ["boto3"]


def test_boto3_has_every_try_while_the_straight_way_rests(
    server: Script, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _seconds: None)
    bucket, server.status, server.code = opened(), 403, "AccessDenied"
    for _ in range(3):
        with pytest.raises(Refused):
            bucket.get("a")
    server.seen.clear()

    server.status, server.code = 503, "SlowDown"
    with pytest.raises(Unavailable):
        bucket.get("a")

    assert ways(server) == ["boto3"] * 3


def test_boto3_has_every_try_at_what_never_goes_straight(
    server: Script, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _seconds: None)
    server.status, server.code = 503, "SlowDown"

    with pytest.raises(Unavailable):
        opened().download("a", tmp_path / "a")

    assert ways(server) == ["boto3"] * 3


@pytest.mark.parametrize(
    ("status", "code"), [(408, "RequestTimeout"), (409, "ConditionalRequestConflict"), (429, "SlowDown")]
)
def test_an_answer_of_the_moment_does_not_make_the_straight_way_rest(
    server: Script, opened: Opened, status: int, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _seconds: None)
    bucket, server.status, server.code = opened(), status, code

    for _ in range(4):
        with pytest.raises(StorageError):
            bucket.put("a", b"x", if_absent=True)

    assert ways(server).count("straight") == 4


def test_a_proxy_is_boto3s_affair(server: Script, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.bucket._client.meta.endpoint_url)
    monkeypatch.setenv("NO_PROXY", "")

    opened().get("a")

    assert ways(server) == ["boto3"]


def test_a_key_cannot_leave_its_bucket_or_add_to_the_query(server: Script, opened: Opened) -> None:
    opened().get("../other?acl&x=%2e%2e/\r\nx-evil: 1")

    method, path, headers = server.seen[0]
    assert (method, path) == ("GET", "/shop/../other%3Facl%26x%3D%252e%252e/%0D%0Ax-evil%3A%201")
    assert "x-evil" not in headers


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("shop", "https://shop.s3.eu-central-1.amazonaws.com/"),
        ("my.shop", "https://s3.eu-central-1.amazonaws.com/my.shop"),
    ],
)
def test_a_bucket_of_aws_is_asked_where_boto3_asks_it_and_finding_out_asks_nobody(name: str, url: str) -> None:
    bucket = open_bucket(bucket=name, region="eu-central-1", access_key_id="AKIDEXAMPLE", secret_access_key="s")

    assert bucket._direct is not None
    assert bucket._direct._locate(name) == url
    bucket.close()


@pytest.mark.parametrize("name", ["arn:aws:s3:eu-central-1:1:accesspoint/x", "x--euc1-az1--x-s3", "no/bucket"])
def test_a_bucket_of_another_kind_is_boto3s_affair(opened: Opened, server: Script, name: str) -> None:
    direct = opened()._direct

    assert direct is not None
    with pytest.raises(NotAsked):
        direct.ask("HEAD", name, "a")
    assert server.seen == []
