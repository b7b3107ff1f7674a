"""The bucket over S3: one boto3 client a process, and a straight way for what is asked with every edit.

A HEAD has no body, so a bucket that does not exist looks like an object that does not: ask `keys` to be sure of
the bucket. (A store may even make a missing bucket at the first PUT: SeaweedFS does so for an administrator.)
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, unquote

import botocore.session
from boto3.s3.transfer import TransferConfig
from boto3.session import Session
from botocore import exceptions as boto
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.utils import get_environ_proxies

from jobs.bucket.direct import CONNECT_S, Answer, Direct, NotAsked, trust
from jobs.bucket.documents import copied_etag, page_of
from jobs.bucket.port import Head, Read
from jobs.bucket.troubles import COPY, DELETE, LIST, LOOK, READ, WRITE, asking
from jobs.connections import AGENT, TooSlow
from jobs.errors import NotFound, Refused, TooLarge, Unavailable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MIB = 1024 * 1024
_CHUNK = 1 * _MIB
_TRANSFER = TransferConfig(multipart_threshold=64 * _MIB, multipart_chunksize=16 * _MIB, use_threads=False)
_AWS = "https://s3.amazonaws.com"
_META = "x-amz-meta-"
_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")
"""What stays as it is in metadata; a space does not, because signing folds two of them into one."""


def open_bucket(
    *,
    bucket: str,
    endpoint_url: str | None = None,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    region: str | None = None,
    checksums: str = "when_supported",
    connections: int = 32,
    silence_s: float = 30.0,
    tries: int = 3,
) -> S3Bucket:
    """Return the bucket; nothing is asked of the store yet.

    Args:
        bucket: its name.
        endpoint_url: the store's address; None for AWS and whatever the `AWS_*` variables say.
        access_key_id: with `secret_access_key` the credentials; None for the usual `AWS_*` chain.
        secret_access_key: see above.
        region: None for the usual `AWS_*` chain.
        checksums: `when_supported`, or `when_required` for stores that refuse CRC32.
        connections: how many threads may talk to the store at once without waiting for each other.
        silence_s: how many seconds of silence count as no answer.
        tries: how often a call is made before it counts as failed, the first one included.

    Raises:
        Refused: an address or a region that cannot be one, or authorities that cannot be read.
    """
    check: Literal["when_required", "when_supported"] = (
        "when_required" if checksums == "when_required" else "when_supported"
    )
    try:
        session = _session(own_credentials=access_key_id is not None)
        known = Credentials(access_key_id, secret_access_key) if access_key_id and secret_access_key else None
        credentials = known or session.get_credentials()
        straight = credentials is not None and tries > 1 and not get_environ_proxies(endpoint_url or _AWS)
        config = Config(
            connect_timeout=CONNECT_S,
            read_timeout=silence_s,
            max_pool_connections=connections,
            s3={"addressing_style": "path" if endpoint_url else "auto"},
            request_checksum_calculation=check,
            response_checksum_validation=check,
            user_agent=AGENT,  # else it is put together anew for every request, at a twentieth of its cost
        )
        make = partial(
            Session(botocore_session=session).client,
            "s3",
            endpoint_url=endpoint_url,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret_access_key,
            region_name=region,
        )
        client = make(config=config.merge(_trying(tries)))
        # The straight way is the first try of what is asked on it. A client cannot be told so for a single call, and
        # another one costs hundredths of a second.
        second = make(config=config.merge(_trying(tries - 1))) if straight else client
    except (ValueError, boto.BotoCoreError):  # their text repeats the address, which may hold a password
        raise Refused(
            "The store's address or region cannot be used: RETOUCH_S3__ENDPOINT_URL must be like"
            " https://s3.example.com and RETOUCH_S3__REGION like eu-central-1"
        ) from None
    # boto3 reads the authorities with its first request, and calls what is wrong with them a store that does not answer
    secure = client.meta.endpoint_url.startswith("https:")
    tls = trust(session.get_config_variable("ca_bundle")) if secure else None
    if not straight or credentials is None:
        return S3Bucket(client, bucket)
    direct = Direct.beside(
        client,
        credentials.get_frozen_credentials,
        checksums=check == "when_supported",
        silence_s=silence_s,
        tls=tls,
    )
    return S3Bucket(client, bucket, direct, second)


def _trying(times: int) -> Config:
    return Config(retries={"mode": "standard", "total_max_attempts": times})


def _session(*, own_credentials: bool) -> botocore.session.Session:
    """Return a session of our own: boto3's default one is shared and not safe to use from several threads.

    Where the credentials are given, an AWS_PROFILE that does not exist is no reason to fail.
    """
    session = botocore.session.Session()
    try:
        session.get_scoped_config()
    except boto.ProfileNotFound:
        if not own_credentials:
            raise Refused("AWS_PROFILE names a profile that does not exist; correct or unset it") from None
        return botocore.session.Session({"profile": (None, None, None, None)})
    return session


class S3Bucket:
    """`jobs.bucket.port.Bucket` over boto3. Any number of threads may use it at once."""

    def __init__(
        self, client: S3Client, name: str, direct: Direct | None = None, second: S3Client | None = None
    ) -> None:
        """Ask a client, or `direct` and then `second`, which has one try fewer."""
        self._client = client
        self._second = second or client
        self._name = name
        self._direct = direct

    def __repr__(self) -> str:
        return f"S3Bucket({self._name!r})"

    @property
    def name(self) -> str:
        """The bucket's name."""
        return self._name

    def close(self) -> None:
        """Close every connection."""
        if self._direct is not None:
            self._direct.close()
        self._second.close()
        self._client.close()

    def _asked(self, method: str, bucket: str, key: str = "", **more: Any) -> tuple[Answer | None, S3Client]:
        """Return the good answer of the straight way, or None and the client that is asked instead."""
        if self._direct is None:
            return None, self._client
        try:
            return self._direct.ask(method, bucket, key, **more), self._second
        except NotAsked:
            return None, self._client
        except TooSlow:
            raise Unavailable(f"{_uri(bucket, key)}: the store takes far too long over its answer") from None

    def get(self, key: str, *, bucket: str = "", max_bytes: int | None = None) -> bytes:
        """Return an object; one over `max_bytes` raises `TooLarge` before it is read."""
        return self.read(key, bucket=bucket, max_bytes=max_bytes).data

    def read(self, key: str, *, bucket: str = "", max_bytes: int | None = None) -> Read:
        """Return an object as `get` does, with its ETag."""
        found, client = self._asked("GET", bucket or self._name, key, most=max_bytes)
        if found is not None:
            return Read(found.data, found.etag)
        where = _uri(bucket or self._name, key)
        with asking(READ, where):
            answer = client.get_object(Bucket=bucket or self._name, Key=key)
            etag = answer.get("ETag", "").strip('"')
            with closing(answer["Body"]) as body:
                if max_bytes is None:
                    return Read(body.read(), etag)
                if answer.get("ContentLength", 0) <= max_bytes:
                    data = body.read(max_bytes + 1)
                    if len(data) <= max_bytes:
                        body.read()  # at the end of the stream, this compares what came with what was announced
                        return Read(data, etag)
        raise TooLarge(f"{where}: larger than the {max_bytes} bytes that are taken here")

    def head(self, key: str, *, bucket: str = "") -> Head | None:
        """Return what the store knows of an object, or None where there is none."""
        found, client = self._asked("HEAD", bucket or self._name, key, good=(200, 404))
        if found is not None and found.status == 404:
            return None
        if found is not None and found.headers.get("content-length", "").isdecimal():
            return _head(key, found)
        try:
            with asking(LOOK, _uri(bucket or self._name, key)):
                answer = client.head_object(Bucket=bucket or self._name, Key=key)
        except NotFound:
            return None
        return Head(
            key=key,
            bytes=answer["ContentLength"],
            etag=answer.get("ETag", "").strip('"'),
            content_type=answer.get("ContentType", ""),
            metadata=_decoded(answer.get("Metadata", {})),
        )

    def put(
        self,
        key: str,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
    ) -> str:
        """Write an object and return its ETag; with `if_absent` raise `PreconditionFailed` where there is one.

        A repeat after a lost answer can meet this very call's own object: compare before believing in somebody else.
        """
        more = _about(content_type, metadata or {}) | ({"if-none-match": "*"} if if_absent else {})
        done, client = self._asked("PUT", self._name, key, headers=more, body=data)
        if done is not None:
            return done.etag
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if if_absent else {}
        with asking(WRITE, _uri(self._name, key)):
            answer = client.put_object(
                Bucket=self._name,
                Key=key,
                Body=data,
                ContentType=content_type,
                Metadata=_encoded(metadata or {}),
                **condition,
            )
        return answer.get("ETag", "").strip('"')

    def put_file(self, key: str, path: Path, *, content_type: str = "application/octet-stream") -> None:
        """Write a file as an object, without holding it in memory; `OSError` where the file cannot be read."""
        with path.open("rb") as file, asking(WRITE, _uri(self._name, key)):
            self._client.upload_fileobj(
                file, self._name, key, ExtraArgs={"ContentType": content_type}, Config=_TRANSFER
            )

    def download(self, key: str, path: Path, *, if_match: str = "") -> None:
        """Write an object into a file, without holding it in memory; what was there stays until all has come."""
        part = path.with_name(f".{secrets.token_hex(8)}.part")
        condition: dict[str, Any] = {"IfMatch": f'"{if_match}"'} if if_match else {}
        try:
            with asking(READ, _uri(self._name, key)):
                answer = self._client.get_object(Bucket=self._name, Key=key, **condition)
                with closing(answer["Body"]) as body, part.open("wb") as file:
                    for chunk in body.iter_chunks(_CHUNK):
                        file.write(chunk)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def copy(
        self,
        source: str,
        target: str,
        *,
        content_type: str = "",
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
        if_match: str = "",
        if_source: str = "",
    ) -> str:
        """Copy an object within the bucket; what is not given is the source's. Both keys may be the same.

        A repeat after a lost answer can meet this very call's own copy, as with `put`.
        """
        headers = {"x-amz-copy-source": quote(f"{self._name}/{source}", safe="/~")}
        changes: dict[str, Any] = {}
        if metadata is not None or content_type:
            if metadata is None or not content_type:  # S3 replaces both or neither
                there = self.head(source)
                if there is None:
                    raise NotFound(f"{_uri(self._name, source)}: nothing lies there")
                metadata = there.metadata if metadata is None else metadata
                content_type = content_type or there.content_type
            changes = {
                "MetadataDirective": "REPLACE",
                "Metadata": _encoded(metadata),
                "ContentType": content_type,
            }
            headers |= {"x-amz-metadata-directive": "REPLACE"} | _about(content_type, metadata)
        if if_absent:
            changes["IfNoneMatch"] = headers["if-none-match"] = "*"
        if if_match:
            changes["IfMatch"] = headers["if-match"] = f'"{if_match}"'
        if if_source:
            changes["CopySourceIfMatch"] = headers["x-amz-copy-source-if-match"] = f'"{if_source}"'
        done, client = self._asked("PUT", self._name, target, headers=headers)
        if done is not None and (etag := copied_etag(done.data)) is not None:
            return etag
        with asking(COPY, _uri(self._name, target), absent=_uri(self._name, source)):
            answer = client.copy_object(
                Bucket=self._name, Key=target, CopySource={"Bucket": self._name, "Key": source}, **changes
            )
        return answer.get("CopyObjectResult", {}).get("ETag", "").strip('"')

    def keys(self, prefix: str, *, limit: int | None = None, bucket: str = "") -> Iterator[Head]:
        """Yield what lies under a prefix, in the store's order of keys, without metadata; read page by page."""
        bucket = bucket or self._name
        left = limit
        token = ""
        while left is None or left > 0:
            size = 1000 if left is None else min(left, 1000)
            heads, token = self._page(bucket, prefix, size, token)
            yield from heads
            if not token:
                return
            left = None if left is None else left - len(heads)

    def _page(self, bucket: str, prefix: str, size: int, token: str) -> tuple[list[Head], str]:
        """Return a page of what lies under a prefix, and the token of the next one or nothing."""
        query = {"list-type": "2", "encoding-type": "url", "prefix": prefix, "max-keys": str(size)}
        if token:
            query["continuation-token"] = token
        found, client = self._asked("GET", bucket, query=query)
        if found is not None and (listed := page_of(found.data, size)) is not None:
            return listed
        more: dict[str, Any] = {"ContinuationToken": token} if token else {}
        with asking(LIST, _uri(bucket, prefix)):
            page = client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=size, **more)
        heads = [
            Head(
                key=entry["Key"],
                bytes=entry["Size"],
                etag=entry.get("ETag", "").strip('"'),
                modified=entry["LastModified"].timestamp() if "LastModified" in entry else 0.0,
            )
            for entry in page.get("Contents", [])[:size]
        ]
        return heads, page["NextContinuationToken"] if page.get("IsTruncated") else ""

    def delete(self, key: str, *, if_match: str = "") -> None:
        """Remove an object; nothing happens where there is none, but `if_match` is not met by it."""
        held = {"if-match": f'"{if_match}"'} if if_match else {}
        done, client = self._asked("DELETE", self._name, key, headers=held, good=(204,))
        if done is not None:
            return
        condition: dict[str, Any] = {"IfMatch": f'"{if_match}"'} if if_match else {}
        with asking(DELETE, _uri(self._name, key)):
            client.delete_object(Bucket=self._name, Key=key, **condition)


def _uri(bucket: str, key: str) -> str:
    return f"s3://{bucket}/{key}"


def _about(content_type: str, metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the headers that say what an object is."""
    return {"content-type": content_type} | {_META + name: value for name, value in _encoded(metadata).items()}


def _head(key: str, answer: Answer) -> Head:
    """Return what the headers of an object say."""
    told = answer.headers
    return Head(
        key=key,
        bytes=int(told["content-length"]),
        etag=answer.etag,
        content_type=told.get("content-type", ""),
        metadata=_decoded({n.removeprefix(_META): value for n, value in told.items() if n.startswith(_META)}),
    )


def _encoded(metadata: Mapping[str, str]) -> dict[str, str]:
    return {name: quote(value, safe=_PLAIN) for name, value in metadata.items()}


def _decoded(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return metadata with lower-case names: some stores write each word with a capital."""
    return {name.lower(): unquote(value) for name, value in metadata.items()}
