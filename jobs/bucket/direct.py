"""The straight way to the store: a request signed here and sent over connections that are kept, for a fifth
of boto3's CPU.

It knows the good answer only. Whatever else comes (another status, half an answer, none at all) it says nothing, and
the caller asks again through boto3, whose retries, redirects and errors stay the only ones. So it may be left out
anywhere, and is, where boto3 is set up in a way that is not known here (`open_bucket`, `Direct.beside`).
"""

from __future__ import annotations

import base64
import hashlib
import ssl
import sys
import threading
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from botocore import exceptions as boto
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.credentials import ReadOnlyCredentials
from botocore.httpsession import get_cert_path

from jobs.bucket.signing import UNSIGNED, Signer, query_text
from jobs.connections import Connections, TooSlow, Unanswered
from jobs.errors import Refused

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_NOTHING = hashlib.sha256(b"").hexdigest()
_REFUSALS = 3
"""So many in a row that the store did not find fault with itself, and boto3 alone speaks to that bucket for a while."""

_OF_THE_MOMENT = frozenset({404, 408, 409, 412, 429})
"""Answers below 500 that find no fault with how the request was made: boto3 would have got them as well."""

_REST_S = 60.0
_BUCKETS = 100
"""Inputs may lie in any number of buckets; beyond so many, they are asked for through boto3."""

CONNECT_S = 5.0

_REQUEST_S = 300.0
"""What a request may take in all, besides its body: who sends a byte now and then would hold a thread for ever."""

_SLOWEST = 100_000
"""A body that comes or goes at fewer bytes a second is given up."""

_LARGEST = 256 * 1024 * 1024
"""No body is larger of which nobody said how long it may be."""

Secrets = Callable[[], ReadOnlyCredentials]
"""Returns the credentials of the moment; may raise boto3's errors."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A good answer: its headers, by names in lower case, and its whole body."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    @property
    def etag(self) -> str:
        """The object's ETag without its quotes; empty where none was given."""
        return self.headers.get("etag", "").strip('"')


class _Place:
    """A bucket's host, and how it answered of late."""

    def __init__(self, base: str, *, silence_s: float, tls: ssl.SSLContext | None) -> None:
        parts = urlsplit(base)
        self.host = parts.netloc.rpartition("@")[2]
        self.folder = parts.path.rstrip("/")
        self.secure = parts.scheme == "https"
        self.origin = parts.scheme, parts.hostname or "", parts.port or (443 if self.secure else 80)
        self.refusals = 0
        self.rests_until = 0.0
        self.connections = Connections(tls, connect_s=CONNECT_S, silence_s=silence_s)

    def refused(self, status: int, at: float) -> None:
        """Note an answer that was not good; too many that find fault with the request, and it is asked no more."""
        if status < 500 and status not in _OF_THE_MOMENT:
            self.refusals += 1
        if self.refusals >= _REFUSALS:
            self.refusals, self.rests_until = 0, at + _REST_S


class NotAsked(Exception):
    """Nothing was sent: the straight way does not lead there, or rests."""


class _NoBody:
    """The body of an answer that has none."""

    def stream(self) -> Iterator[bytes]:
        """Yield nothing."""
        return iter(())


class Direct:
    """Asks the store. Any number of threads may use it at once."""

    def __init__(
        self,
        locate: Callable[[str], str],
        secrets: Secrets,
        *,
        region: str,
        checksums: bool = True,
        silence_s: float = 30.0,
        tls: ssl.SSLContext | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Ask for buckets where `locate` says that they are, as whoever `secrets` says.

        Args:
            locate: returns the URL of a bucket's root.
            secrets: returns the credentials of the moment; may raise boto3's errors, as `locate` may.
            region: that requests are signed for.
            checksums: whether bodies go up and come down with a CRC32.
            silence_s: how many seconds of silence count as no answer.
            tls: whom to trust; None where the store is spoken to in plain HTTP.
            now: the time in epoch seconds.
        """
        self._locate = locate
        self._secrets = secrets
        self._region = region
        self._checksums = checksums
        self._silence_s = silence_s
        self._tls = tls
        self._now = now
        self._places: dict[str, _Place] = {}
        self._lock = threading.Lock()

    @classmethod
    def beside(
        cls,
        client: S3Client,
        secrets: Secrets,
        *,
        checksums: bool,
        silence_s: float,
        tls: ssl.SSLContext | None,
    ) -> Direct | None:
        """Return the straight way to where a client goes; None where it signs in another way."""
        region = client.meta.region_name
        if not region or getattr(client.meta.config, "signature_version", "") != "s3v4":
            return None

        found = threading.local()

        def caught(request: AWSPreparedRequest, **_: object) -> AWSResponse:
            found.url = request.url
            return AWSResponse(request.url, 200, HTTPHeaders(), _NoBody())

        # Nobody else asks for a bucket's head, so no request of that name ever leaves: it is only addressed.
        client.meta.events.register("before-send.s3.HeadBucket", caught)  # type: ignore[arg-type]

        def locate(bucket: str) -> str:
            client.head_bucket(Bucket=bucket)
            return str(found.url).partition("?")[0]

        return cls(
            locate,
            secrets,
            region="us-east-1" if region == "aws-global" else region,
            checksums=checksums,
            silence_s=silence_s,
            tls=tls,
        )

    def close(self) -> None:
        """Close every connection."""
        for place in self._places.values():
            place.connections.close()

    def ask(
        self,
        method: str,
        bucket: str,
        key: str = "",
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        good: Collection[int] = (200,),
        most: int | None = None,
    ) -> Answer | None:
        """Ask once, and return a good answer, or None: ask boto3, with one try fewer.

        Args:
            method: of HTTP.
            bucket: its name.
            key: of the object; empty for the bucket itself.
            query: unencoded.
            headers: with names in lower case, without the host.
            body: what is written.
            good: the statuses that are an answer.
            most: bytes of the answer's body; a longer one is not read.

        Raises:
            NotAsked: boto3 has to be, with every try.
            TooSlow: the time of the request ran out while the store was answering. It would for boto3, too, which
                does not look at it.
        """
        at = self._now()
        try:
            place = self._place(bucket)
            if place is None or at < place.rests_until:
                raise NotAsked
            secrets = self._secrets()
        except boto.BotoCoreError:
            raise NotAsked from None
        asked = query or {}
        path = f"{place.folder}/{quote(key, safe='/~')}" if key else place.folder or "/"
        said, payload = {"host": place.host, **(headers or {})}, _NOTHING
        reads = method == "GET" and bool(key)
        if reads and self._checksums:
            said["x-amz-checksum-mode"] = "ENABLED"
        if body:
            if self._checksums:
                said |= {"x-amz-sdk-checksum-algorithm": "CRC32", "x-amz-checksum-crc32": _crc32(body)}
            payload = UNSIGNED if self._checksums and place.secure else hashlib.sha256(body).hexdigest()
        signer = Signer(secrets.access_key or "", secrets.secret_key or "", self._region, secrets.token or "")
        signed = signer.signed(method, path, asked, said, payload, at)
        if method == "PUT":
            signed["content-length"] = str(len(body))
        target = f"{path}?{query_text(asked)}" if asked else path
        size = len(body) if not reads else _LARGEST if most is None else most
        answer = _sent(place, method, target, signed, body, most, _REQUEST_S + size / _SLOWEST)
        if answer is None:
            return None
        if answer.status in good:
            place.refusals = 0
            return None if reads and not _whole(answer) else answer
        place.refused(answer.status, at)
        return None

    def _place(self, bucket: str) -> _Place | None:
        """Return where a bucket is, or None where names of its kind are boto3's affair."""
        found = self._places.get(bucket)
        if found is not None:
            return found
        if ":" in bucket or bucket.endswith("--x-s3") or len(self._places) >= _BUCKETS:
            return None
        with self._lock:
            if bucket not in self._places:
                self._places[bucket] = _Place(
                    self._locate(bucket),
                    silence_s=self._silence_s,
                    tls=self._tls,
                )
            return self._places[bucket]


def trust(authorities: str | None) -> ssl.SSLContext:
    """Return a context that believes the authorities in a file, or else those that boto3 believes.

    Raises:
        Refused: there is no such file, or nothing of that kind in it.
    """
    try:
        return ssl.create_default_context(cafile=authorities or get_cert_path(True))
    except OSError as error:
        raise Refused(
            f"The authorities that vouch for the store cannot be read ({type(error).__name__}): AWS_CA_BUNDLE, or"
            " ca_bundle of the AWS profile, must name a file of certificates in PEM; correct or unset it"
        ) from None


def _sent(
    place: _Place,
    method: str,
    target: str,
    headers: dict[str, str],
    body: bytes,
    most: int | None,
    within_s: float,
) -> Answer | None:
    """Send a request and read its answer; None where there is no whole one, or one that is too large."""
    try:
        with place.connections.asking(method, place.origin, target, headers, body, within_s=within_s) as answer:
            if most is not None and answer.status < 300 and not answer.headers.get("content-length", "").isdigit():
                return None
            data = b"" if method == "HEAD" else answer.body(sys.maxsize if most is None else most)
            return Answer(answer.status, answer.headers, data)
    except TooSlow:
        raise
    except Unanswered:
        return None


def _whole(answer: Answer) -> bool:
    """Whether the body is the one that its checksum was made of; one of several parts has none of that kind."""
    said = answer.headers.get("x-amz-checksum-crc32", "")
    return not answer.data or not said or "-" in said or said == _crc32(answer.data)


def _crc32(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()
