"""Where Retouch may connect to: the rules for URLs of a manifest and for URLs that the API hands out.

Pure: no name is resolved here. The parts that are judged are the parts that are fetched (`Target`), since two
parsers that read one URL differently are how such rules are usually got around.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import httpx

from jobs.addresses import literal_address, plain_host, refused_address

Code = Literal["url_refused", "url_not_found", "url_forbidden", "url_unreachable", "url_too_large", "url_redirects"]
PORTS = {"https": 443, "http": 80}
_KEYED = re.compile(r"api([.-][a-z0-9.-]+)?\.bfl\.ai|gateway\.bfl\.ai")
_BLOB = re.compile(r"bfldelivery[a-z0-9]*\.blob\.core\.windows\.net")
"""Seen: bfldeliveryprodeu4. Anybody could register such a name, so it is good for a download and nothing more."""
_DELIVERY = re.compile(rf"delivery[a-z0-9.-]*\.bfl\.ai|{_BLOB.pattern}")


class FetchError(Exception):
    """A picture could not be fetched; `code` is stable, `transient` says whether trying again may help.

    The message never holds the URL's query, which may be a signature.
    """

    def __init__(self, code: Code, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.transient = transient


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A URL that may be fetched, in the very parts that are used to fetch it."""

    scheme: str
    host: str
    """ASCII and lower case; an IPv6 address without its brackets."""
    port: int
    path: bytes = field(repr=False)
    """Path and query as they are sent; never shown."""
    trusted: bool

    @property
    def origin(self) -> tuple[str, str, int]:
        """Whom to ask."""
        return self.scheme, self.host, self.port

    @property
    def asked(self) -> str:
        """Path and query as text; never shown."""
        return self.path.decode("ascii")

    @property
    def authority(self) -> str:
        """Host and port as they stand in a URL, the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """The URL without its query, for messages."""
        path = self.path.partition(b"?")[0].decode("ascii")
        return f"{self.scheme}://{self.authority}{path if len(path) <= 200 else path[:200] + '…'}"


def check_url(url: str, trusted: Sequence[str] = ()) -> Target:
    """Return where `url` leads, or say why it may not be fetched; asks no name server.

    `trusted` holds `host` (any port of it) or `host:port` entries; http, other ports and private addresses are
    allowed for these only.

    Raises:
        FetchError: `url_refused`.
    """
    target = _parsed(url)
    trusts = _trusts(target, trusted)
    if target.scheme != "https" and not trusts:
        raise FetchError("url_refused", f"{target.shown} is not https; give an https:// URL or upload the picture")
    if target.port != 443 and not trusts:
        raise FetchError("url_refused", f"{target.shown} is on port {target.port}; only port 443 is fetched from")
    if not trusts and (literal := literal_address(target.host)) is not None:
        why = refused_address(literal)
        if why is not None:
            raise FetchError("url_refused", f"{target.shown} leads to {why}; give a public URL")
    return replace(target, trusted=trusts)


def _parsed(url: str) -> Target:
    """Return the parts of an http or https URL; anything that two parsers could read differently is refused."""
    unreadable = FetchError("url_refused", "the URL cannot be read; write it as https://host/path")
    try:
        parts = httpx.URL(url)
        host = parts.raw_host.decode("ascii")
        path = parts.raw_path
    except (httpx.InvalidURL, ValueError):
        raise unreadable from None
    if parts.scheme not in PORTS:
        raise FetchError("url_refused", f"{parts.scheme or 'no scheme'}: is not fetched; write https://host/path")
    authority = re.match(r"[A-Za-z]+://([^/?#]*)", url)
    if authority is not None and "@" in authority[1]:
        raise FetchError("url_refused", "the URL holds a user name or password; give one without")
    port = PORTS[parts.scheme] if parts.port is None else parts.port
    if authority is None or not 0 < port < 65536:
        raise unreadable
    if not plain_host(host):
        raise unreadable
    return Target(scheme=parts.scheme, host=host, port=port, path=path, trusted=False)


def _trusts(target: Target, trusted: Iterable[str]) -> bool:
    bare = f"[{target.host}]" if ":" in target.host else target.host
    return bool({target.host, bare, f"{bare}:{target.port}"} & {entry.strip().lower() for entry in trusted})


def api_target(
    url: str, *, base_url: str, trusted_hosts: Sequence[str], use: Literal["polling", "delivery"] = "polling"
) -> Target | None:
    """Return where a URL leads that the API handed out, if it may be used to poll a task, or to download a result.

    That is https on `*.bfl.ai`, port 443; over http or https the origin of `base_url` and any trusted host; and for
    results the storage accounts that the API has been seen to deliver from. Never raises.
    """
    target = _parsed_or_none(url)
    if target is None or _same_origin(target, base_url) or _trusts(target, trusted_hosts):
        return target
    if (target.scheme, target.port) != ("https", 443):
        return None
    known = target.host.endswith(".bfl.ai") or (use == "delivery" and _BLOB.fullmatch(target.host) is not None)
    return target if known else None


def key_allowed(url: str, *, base_url: str, trusted_hosts: Sequence[str]) -> bool:
    """Say whether the API key may be sent to `url`: the API's own hosts, the origin of `base_url`, trusted hosts.

    Never a delivery host. A trusted host may deliver as well, so a download sends no key whatever this says.
    """
    target = _parsed_or_none(url)
    if target is None:
        return False
    if _same_origin(target, base_url):
        return True
    if _DELIVERY.fullmatch(target.host):
        return False
    if _trusts(target, trusted_hosts):
        return True
    return (target.scheme, target.port) == ("https", 443) and _KEYED.fullmatch(target.host) is not None


def _parsed_or_none(url: str) -> Target | None:
    try:
        return _parsed(url)
    except FetchError:
        return None


def _same_origin(target: Target, base_url: str) -> bool:
    base = _parsed_or_none(base_url)
    return base is not None and (target.scheme, target.host, target.port) == (base.scheme, base.host, base.port)
