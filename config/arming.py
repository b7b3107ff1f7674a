"""Arms a process to die at a crash point, for tests alone: a process that can spend money is never armed."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from config.settings import Settings, SettingsError
from jobs import crashpoints


def arm(settings: Settings) -> None:
    """Let this process die where `RETOUCH_TEST__CRASH_AT` says, if it says anything.

    Raises:
        SettingsError: there is no such place, or the API is not on this machine.
    """
    wish = settings.test.crash_at
    if wish is None:
        return
    if not _on_this_machine(settings.api.base_url):
        raise SettingsError("RETOUCH_TEST__CRASH_AT is for tests against the simulator: unset it")
    try:
        crashpoints.arm(wish)
    except ValueError as error:
        raise SettingsError(f"RETOUCH_TEST__CRASH_AT: {error}") from None


def _on_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
