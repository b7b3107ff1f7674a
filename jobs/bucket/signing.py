"""Signature version 4, as S3 wants it: what a request must say to prove who sends it.

https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import quote

UNSIGNED = "UNSIGNED-PAYLOAD"
"""In place of a body's hash: TLS and a checksum vouch for it."""

_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs, and for which region's S3."""

    access_key_id: str
    secret: str = field(repr=False)
    region: str
    token: str = field(repr=False, default="")
    """Of temporary credentials; empty for lasting ones."""

    def signed(
        self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], payload: str, at: float
    ) -> dict[str, str]:
        """Return the headers of a request with those that sign it.

        Args:
            method: of HTTP.
            path: percent-encoded, from the host's root.
            query: unencoded.
            headers: with names in lower case, `host` among them; all of them are signed.
            payload: the body's SHA-256 in hexadecimal, or `UNSIGNED`.
            at: the time in epoch seconds.
        """
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
        said = {**headers, "x-amz-content-sha256": payload, "x-amz-date": moment}
        if self.token:
            said["x-amz-security-token"] = self.token
        names = sorted(said)
        signed = ";".join(names)
        canonical = "\n".join(
            (
                method,
                path,
                query_text(query),
                *(f"{name}:{' '.join(said[name].split())}" for name in names),
                "",
                signed,
                payload,
            )
        )
        scope = f"{moment[:8]}/{self.region}/s3/aws4_request"
        text = f"{_ALGORITHM}\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = _signing_key(self.secret, moment[:8], self.region)
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        said["authorization"] = (
            f"{_ALGORITHM} Credential={self.access_key_id}/{scope}, SignedHeaders={signed}, Signature={signature}"
        )
        return said


def query_text(query: Mapping[str, str]) -> str:
    """Return a query as it is sent and signed: percent-encoded, and then in the order of its names."""
    encoded = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in query.items())
    return "&".join(f"{name}={value}" for name, value in encoded)


@lru_cache(maxsize=4)
def _signing_key(secret: str, day: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
