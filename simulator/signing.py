"""Signed result URLs, as the API's blob storage hands them out.

The expiry is in the URL (`se`, whole seconds, UTC) and is what counts: a client may read its deadline there.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Literal
from urllib.parse import urlencode

STAMP = "%Y-%m-%dT%H:%M:%SZ"
VERSION = "2024-11-04"

Refusal = Literal["signature", "expired"]


class Signer:
    """Signs and checks with a secret of its own, so no URL outlives the process."""

    def __init__(self, secret: bytes | None = None) -> None:
        self._secret = secret or secrets.token_bytes(32)

    def url(self, origin: str, path: str, expires_at: float, content_type: str) -> str:
        """Return the URL of `path` at `origin`, good until `expires_at` (Unix seconds, cut to a whole one)."""
        se = datetime.fromtimestamp(int(expires_at), tz=UTC).strftime(STAMP)
        query = {"se": se, "sp": "r", "sv": VERSION, "sr": "b", "rsct": content_type}
        return f"{origin}{path}?{urlencode(query | {'sig': self._sign(path, query)}, safe='/')}"

    def refusal(self, path: str, query: Mapping[str, str], now: float) -> Refusal | None:
        """Return why a request is refused, or None where it is good."""
        signed = {name: query.get(name, "") for name in ("se", "sp", "sv", "sr", "rsct")}
        if not hmac.compare_digest(self._sign(path, signed).encode(), query.get("sig", "").encode()):
            return "signature"
        expiry = datetime.strptime(signed["se"], STAMP).replace(tzinfo=UTC)
        return "expired" if now >= expiry.timestamp() else None

    def _sign(self, path: str, query: Mapping[str, str]) -> str:
        text = "\n".join((path, *query.values()))
        return base64.b64encode(hmac.digest(self._secret, text.encode(), sha256)).decode()


def refusal_xml(refusal: Refusal, query: Mapping[str, str], now: float) -> str:
    """Return the body of a 403 in the storage's form."""
    moment = datetime.fromtimestamp(now, tz=UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    detail = "Signature did not match."
    if refusal == "expired":
        detail = f"Signed expiry time [{query.get('se', '')}] must be after the current time [{moment}]"
    return (
        '<?xml version="1.0" encoding="utf-8"?><Error><Code>AuthenticationFailed</Code>'
        "<Message>Server failed to authenticate the request. Check the value and the signature of the query."
        f"\nTime:{moment}</Message><AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail></Error>"
    )
