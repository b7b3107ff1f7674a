"""By what an input can be told to be what it was, without reading it again.

Evidence is a short text; two equal ones mean the same bytes. A staged picture's key is the hash of its bytes, a URL
that the API itself fetches is its own identity, any other object has an ETag. An address that Retouch fetches has
none: only fetching it tells.
"""

from __future__ import annotations

import hashlib

from jobs.bucket.layout import Layout
from jobs.request import Request, fingerprint

_ETAG, _SHA256, _URL = "etag:", "sha256:", "url:"


def passed(request: Request, uri: str) -> bool:
    """Whether the API itself fetches this input of a request."""
    return request.pass_urls and uri.startswith("https://")


def of_url(url: str) -> str:
    """Return the evidence of an address that the API fetches. It is hashed, because addresses may hold a signature."""
    return _URL + hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()


def of_bytes(sha256: str) -> str:
    """Return the evidence of a picture whose bytes have this sha256."""
    return _SHA256 + sha256


def of_object(uri: str, etag: str, layout: Layout, own_bucket: str) -> str:
    """Return the evidence of an object that was read, or listed, with this ETag; empty where it has none.

    A staged picture of our own proves itself by its key.
    """
    sha256 = layout.staged_sha256(uri.removeprefix(f"s3://{own_bucket}/"))
    if sha256:
        return of_bytes(sha256)
    return f"{_ETAG}{etag} {uri}" if etag and uri.startswith("s3://") else ""


def listed(evidence: str) -> str:
    """Return the `s3://` URI whose ETag has to be looked up to renew this evidence; empty where none has to be."""
    return evidence.partition(" ")[2] if evidence.startswith(_ETAG) else ""


def asked(origin: str, request: Request) -> str:
    """Return the hash of everything that a request asks for but its inputs, which have evidence of their own."""
    return fingerprint(origin, request, [""] * len(request.inputs))
