"""API keys by the names under which they may be spoken of, and the accounts that they belong to."""

from __future__ import annotations

from hashlib import sha256

MAIN = "main"
"""The account that every key belongs to until told otherwise. The keys of one account share its places."""

_SHOWN = 8


def key_name(secret: str) -> str:
    """Return the name of a key: the start of its sha256, in hex."""
    return sha256(secret.encode()).hexdigest()[:_SHOWN]
