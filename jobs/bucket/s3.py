"""The bucket over S3: one boto3 client a process, and S3's many errors as the four that callers tell apart.

A HEAD has no body, so a bucket that does not exist looks like an object that does not: ask `keys` to be sure of
the bucket. (A store may even make a missing bucket at the first PUT: SeaweedFS does so for an administrator.)
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, unquote

import botocore.session
from boto3.s3.transfer import TransferConfig
from boto3.session import Session
from botocore import exceptions as boto
from botocore.config import Config

from jobs.bucket.port import Head, Read
from jobs.errors import BadCredentials, NotFound, PreconditionFailed, Refused, StorageError, TooLarge, Unavailable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MIB = 1024 * 1024
_CHUNK = 1 * _MIB
_TRANSFER = TransferConfig(multipart_threshold=64 * _MIB, multipart_chunksize=16 * _MIB, use_threads=False)
_PLAIN = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")
"""What stays as it is in metadata; a space does not, because signing folds two of them into one."""

_TROUBLE = (
    boto.ConnectionError,
    boto.HTTPClientError,
    boto.IncompleteReadError,
    boto.ChecksumError,
    boto.FlexibleChecksumError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
)
"""No answer, half an answer, or no credentials from a service that may have them in a minute."""

_BUSY = frozenset({"RequestTimeout", "OperationAborted", "SlowDown", "TooManyRequests", "ThrottlingException"})
"""Codes that mean `later`, although some of them come with a 4xx."""

_NOBODY = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "RequestTimeTooSkewed"}
)
"""Codes that would be the answer whatever was asked for."""

_REMEDIES: Mapping[str, str] = {
    "NoSuchBucket": "there is no such bucket; create it or correct RETOUCH_S3__BUCKET",
    "InvalidAccessKeyId": "it does not know the access key; check RETOUCH_S3__ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret is not the access key's; check RETOUCH_S3__SECRET_ACCESS_KEY",
    "ExpiredToken": "the credentials have expired; renew them",
    "InvalidToken": "the session token is not valid; renew the credentials",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
    "PermanentRedirect": "the bucket lies in another region; set RETOUCH_S3__REGION",
    "AuthorizationHeaderMalformed": "the bucket lies in another region; set RETOUCH_S3__REGION",
    "InvalidObjectState": "the object lies in an archive; restore it first",
    "KeyTooLongError": "S3 takes 1,024 bytes at most; shorten the key",
    "NotImplemented": "the store does not know this request; choose a store that does",
}


@dataclass(frozen=True, slots=True)
class _Deed:
    """Something that is asked of the store: its verb, and the rights that it takes."""

    verb: str
    rights: str


_READ = _Deed("be read", "s3:GetObject")
_LOOK = _Deed("be looked up", "s3:GetObject and, to tell absent from forbidden, s3:ListBucket")
_WRITE = _Deed("be written", "s3:PutObject")
_COPY = _Deed("be copied to", "s3:GetObject and s3:PutObject")
_LIST = _Deed("be listed", "s3:ListBucket")
_DELETE = _Deed("be deleted", "s3:DeleteObject")


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
        Refused: an address or a region that cannot be one.
    """
    check: Literal["when_required", "when_supported"] = (
        "when_required" if checksums == "when_required" else "when_supported"
    )
    config = Config(
        connect_timeout=5,
        read_timeout=silence_s,
        retries={"mode": "standard", "total_max_attempts": tries},
        max_pool_connections=connections,
        s3={"addressing_style": "path" if endpoint_url else "auto"},
        request_checksum_calculation=check,
        response_checksum_validation=check,
        user_agent="retouch",  # else it is put together anew for every request, at a twentieth of its cost
    )
    try:
        client = _session(own_credentials=access_key_id is not None).client(
            "s3",
            endpoint_url=endpoint_url,
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret_access_key,
            region_name=region,
            config=config,
        )
    except (ValueError, boto.BotoCoreError):  # their text repeats the address, which may hold a password
        raise Refused(
            "The store's address or region cannot be used: RETOUCH_S3__ENDPOINT_URL must be like"
            " https://s3.example.com and RETOUCH_S3__REGION like eu-central-1"
        ) from None
    return S3Bucket(client, bucket)


def _session(*, own_credentials: bool) -> Session:
    """Return a session of our own: boto3's default one is shared and not safe to use from several threads.

    Where the credentials are given, an AWS_PROFILE that does not exist is no reason to fail.
    """
    try:
        return Session()
    except boto.ProfileNotFound:
        if not own_credentials:
            raise Refused("AWS_PROFILE names a profile that does not exist; correct or unset it") from None
        return Session(botocore_session=botocore.session.Session({"profile": (None, None, None, None)}))


class S3Bucket:
    """`jobs.bucket.port.Bucket` over boto3. Any number of threads may use it at once."""

    def __init__(self, client: S3Client, name: str) -> None:
        self._client = client
        self._name = name

    def __repr__(self) -> str:
        return f"S3Bucket({self._name!r})"

    @property
    def name(self) -> str:
        """The bucket's name."""
        return self._name

    def close(self) -> None:
        """Close the client's connections."""
        self._client.close()

    def get(self, key: str, *, bucket: str = "", max_bytes: int | None = None) -> bytes:
        """Return an object; one over `max_bytes` raises `TooLarge` before it is read."""
        return self.read(key, bucket=bucket, max_bytes=max_bytes).data

    def read(self, key: str, *, bucket: str = "", max_bytes: int | None = None) -> Read:
        """Return an object as `get` does, with its ETag."""
        where = _uri(bucket or self._name, key)
        with _asking(_READ, where):
            answer = self._client.get_object(Bucket=bucket or self._name, Key=key)
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
        try:
            with _asking(_LOOK, _uri(bucket or self._name, key)):
                answer = self._client.head_object(Bucket=bucket or self._name, Key=key)
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
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if if_absent else {}
        with _asking(_WRITE, _uri(self._name, key)):
            answer = self._client.put_object(
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
        with path.open("rb") as file, _asking(_WRITE, _uri(self._name, key)):
            self._client.upload_fileobj(
                file, self._name, key, ExtraArgs={"ContentType": content_type}, Config=_TRANSFER
            )

    def download(self, key: str, path: Path, *, if_match: str = "") -> None:
        """Write an object into a file, without holding it in memory; what was there stays until all has come."""
        part = path.with_name(f".{secrets.token_hex(8)}.part")
        condition: dict[str, Any] = {"IfMatch": f'"{if_match}"'} if if_match else {}
        try:
            with _asking(_READ, _uri(self._name, key)):
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
        if if_absent:
            changes["IfNoneMatch"] = "*"
        if if_match:
            changes["IfMatch"] = f'"{if_match}"'
        if if_source:
            changes["CopySourceIfMatch"] = f'"{if_source}"'
        with _asking(_COPY, _uri(self._name, target), absent=_uri(self._name, source)):
            answer = self._client.copy_object(
                Bucket=self._name, Key=target, CopySource={"Bucket": self._name, "Key": source}, **changes
            )
        return answer.get("CopyObjectResult", {}).get("ETag", "").strip('"')

    def keys(self, prefix: str, *, limit: int | None = None, bucket: str = "") -> Iterator[Head]:
        """Yield what lies under a prefix, in the store's order of keys, without metadata; read page by page."""
        bucket = bucket or self._name
        left = limit
        more: dict[str, Any] = {}
        while left is None or left > 0:
            size = 1000 if left is None else min(left, 1000)
            with _asking(_LIST, _uri(bucket, prefix)):
                page = self._client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=size, **more)
            for entry in page.get("Contents", [])[:size]:
                yield Head(
                    key=entry["Key"],
                    bytes=entry["Size"],
                    etag=entry.get("ETag", "").strip('"'),
                    modified=entry["LastModified"].timestamp() if "LastModified" in entry else 0.0,
                )
            if not page.get("IsTruncated"):
                return
            left = None if left is None else left - page["KeyCount"]
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def delete(self, key: str, *, if_match: str = "") -> None:
        """Remove an object; nothing happens where there is none, but `if_match` is not met by it."""
        condition: dict[str, Any] = {"IfMatch": f'"{if_match}"'} if if_match else {}
        with _asking(_DELETE, _uri(self._name, key)):
            self._client.delete_object(Bucket=self._name, Key=key, **condition)


@contextmanager
def _asking(deed: _Deed, where: str, *, absent: str = "") -> Iterator[None]:
    """Turn boto's errors into ours; `absent` is what a 404 is about, where that is not `where`.

    Their own texts are left out: they may quote addresses and what was sent.
    """
    try:
        yield
    except boto.ClientError as error:
        raise _meaning(error, deed, where, absent or where) from None
    except _TROUBLE as error:
        raise Unavailable(f"{where} cannot {deed.verb} now: {type(error).__name__}") from None
    except boto.ParamValidationError:
        raise Refused(f"{where} cannot {deed.verb}: S3 takes no such name or metadata; correct it") from None
    except boto.NoCredentialsError:
        raise BadCredentials(
            f"{where} cannot {deed.verb}: there are no credentials; set RETOUCH_S3__ACCESS_KEY_ID and"
            " RETOUCH_S3__SECRET_ACCESS_KEY, or the usual AWS_* variables"
        ) from None
    except boto.BotoCoreError as error:
        raise Refused(
            f"{where} cannot {deed.verb}: {type(error).__name__}; check the RETOUCH_S3__ and AWS_* settings"
        ) from None


def _meaning(error: boto.ClientError, deed: _Deed, where: str, absent: str) -> StorageError:
    """Return which of our errors the store's answer is."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if status == 412 or code in ("PreconditionFailed", "ConditionalRequestConflict"):
        return PreconditionFailed(f"{where}: something else lies there already")
    if code in _NOBODY:
        return BadCredentials(f"{where} cannot {deed.verb}: {_REMEDIES[code]}")
    if code in _REMEDIES:
        return Refused(f"{where} cannot {deed.verb}: {_REMEDIES[code]}")
    if status == 404 or code == "NoSuchKey":
        return NotFound(f"{absent}: nothing lies there")
    if status == 501:
        return Refused(f"{where} cannot {deed.verb}: {_REMEDIES['NotImplemented']}")
    answer = f"{status} {code}" if code != str(status) else code
    if status >= 500 or status == 429 or code in _BUSY:
        return Unavailable(f"{where} cannot {deed.verb} now: the store answers {answer}")
    if status in (401, 403):
        return Refused(f"{where} cannot {deed.verb}: the store answers {answer}; give the credentials {deed.rights}")
    return Refused(f"{where} cannot {deed.verb}: the store answers {answer}; check the name and the rights")


def _uri(bucket: str, key: str) -> str:
    return f"s3://{bucket}/{key}"


def _encoded(metadata: Mapping[str, str]) -> dict[str, str]:
    return {name: quote(value, safe=_PLAIN) for name, value in metadata.items()}


def _decoded(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return metadata with lower-case names: some stores write each word with a capital."""
    return {name.lower(): unquote(value) for name, value in metadata.items()}
