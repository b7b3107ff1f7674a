"""Looks at the API: asks what credits each key has, which costs nothing.

The key goes to the origin of RETOUCH_API__BASE_URL and nowhere else: redirects and proxies are off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import httpx
from pydantic import SecretStr

from config.sections import ApiSettings
from jobs.accounts import key_name
from producers.doctor.findings import Finding, broken, ok, warning

PART = "api"
CREDITS = "/v1/credits"
USD_PER_CREDIT = 0.01
"""1 credit = $0.01 (docs, pricing)."""
LOW_USD = 1.0
_ANSWER_S = 10.0
_MENDING = "put a good one into RETOUCH_API__KEYS (or BFL_API_KEY), then `retouch resume` what is paused."


def look_at_api(base_url: str, keys: Sequence[SecretStr]) -> list[Finding]:
    """Return what is to be said of each key at the API; it is named by the start of its sha256, as workers do."""
    with httpx.Client(timeout=_ANSWER_S, trust_env=False, follow_redirects=False) as client:
        return [_one(client, base_url, key) for key in keys]


def look_at_accounts(api: ApiSettings, keys: Sequence[SecretStr]) -> list[Finding]:
    """Return a warning for each key that workers leave out, since it may be of any of several accounts."""
    names = [key_name(key.get_secret_value()) for key in keys]
    return [
        warning(
            PART,
            f"RETOUCH_API__ACCOUNTS does not say which account the API key {name} is of, so it is left out.",
            f"Add {name}={api.account_names[0]} to it, or another account, and restart the workers.",
        )
        for name in names
        if not api.account_of(name)
    ]


def credits_of(base_url: str, keys: Sequence[SecretStr]) -> Mapping[str, float]:
    """Return what each key has left (dollars) by its name, where the API says so."""
    found = {}
    with httpx.Client(timeout=_ANSWER_S, trust_env=False, follow_redirects=False) as client:
        for key in keys:
            secret = key.get_secret_value()
            try:
                answer = client.get(base_url + CREDITS, headers={"x-key": secret})
                left = _credits(answer) if answer.status_code == 200 else None
            except (httpx.HTTPError, ValueError):  # away, or no JSON, or a key that cannot be a header
                continue
            if left is not None:
                found[key_name(secret)] = left * USD_PER_CREDIT
    return found


def _one(client: httpx.Client, base_url: str, key: SecretStr) -> Finding:
    secret = key.get_secret_value()
    name = key_name(secret)
    host = urlsplit(base_url).netloc
    if not secret.isascii() or not secret.isprintable():
        return broken(PART, f"The API key {name} holds characters that no key has.", f"Check the file, and {_MENDING}")
    try:
        answer = client.get(base_url + CREDITS, headers={"x-key": secret})
    except httpx.HTTPError as error:
        sentence = f"The API at {host} does not answer ({type(error).__name__})."
        return broken(PART, sentence, "Check the network and RETOUCH_API__BASE_URL.")
    if answer.status_code in (200, 401, 403, 422) and not _is_json(answer):
        sentence = f"What answers at {host} is not the API."
        return broken(PART, sentence, "Correct RETOUCH_API__BASE_URL (the API's own is https://api.bfl.ai).")
    if answer.status_code in (401, 403, 422):
        sentence = f"The API refuses the key {name} ({answer.status_code}): it was revoked or is misspelt."
        return broken(PART, sentence, f"Make one in the API's dashboard and {_MENDING}")
    if answer.status_code != 200:
        sentence = f"The API at {host} answers {answer.status_code} when asked for credits."
        return broken(PART, sentence, "Try again in a minute; if it stays, check RETOUCH_API__BASE_URL.")
    credits_ = _credits(answer)
    if credits_ is None:
        sentence = f"The API at {host} takes the key {name} and does not say what credits it has."
        return warning(PART, sentence, "Look at the credits in the API's dashboard.")
    worth = credits_ * USD_PER_CREDIT
    if credits_ <= 0:
        return broken(PART, f"The API key {name} is good, but has no credits.", "Buy credits in the API's dashboard.")
    if worth < LOW_USD:
        sentence = f"The API key {name} is good and has ${worth:,.2f} left."
        return warning(PART, sentence, "Buy credits before a batch.")
    return ok(PART, f"The API key {name} is good and has ${worth:,.2f} left.")


def _is_json(answer: httpx.Response) -> bool:
    try:
        return isinstance(answer.json(), dict)
    except ValueError:
        return False


def _credits(answer: httpx.Response) -> float | None:
    found = answer.json().get("credits")
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else None
