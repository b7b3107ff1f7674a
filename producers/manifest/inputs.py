"""Finds the pictures that a row names: a file of this machine, an object in an allowed bucket, or a web address.

Only local files are opened here, and of these only the header. What lies behind `s3://` and `https://` is looked
at by the worker that fetches it, under its own rules: a plan must not make a million requests.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Set
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from jobs.addresses import literal_address, plain_host, refused_address
from jobs.pictures import PictureError, inspect
from producers.manifest.nearby import Nearby
from producers.manifest.problems import listed, shown

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]+)://|(data|file|javascript|mailto|blob|about):", re.IGNORECASE)
_NO_URL = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029<>\"]")
_ADDRESS = re.compile(r"(https?)://([^/?#]*)([^?#]*)")
_REMEMBERED = 4_096
"""Files whose header is not read again: references are the same for many rows."""


class Input(NamedTuple):
    """A picture: its URI, and for local files its size in pixels and (bytes, mtime in ns)."""

    uri: str
    name: str
    """The file name without folders; empty where the place has none."""
    size: tuple[int, int] | None = None
    stamp: tuple[int, int] | None = None


class InputError(ValueError):
    """A picture cannot be used as it is named."""

    def __init__(self, code: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.code = code
        self.remedy = remedy


class Inputs:
    """Reads the image cells of one batch.

    Args:
        folder: where relative paths start: the manifest's folder.
        allow_local: paths are for the command line; an uploaded manifest may not name files of a server.
        buckets: buckets that `s3://` may name.
        trusted_hosts: `host` or `host:port` where plain http is allowed.
        relative_to: `s3://bucket/folder/` of a manifest that lies in a bucket; its paths start there.
    """

    def __init__(
        self,
        *,
        folder: Path,
        allow_local: bool,
        buckets: Set[str],
        trusted_hosts: Set[str],
        relative_to: str = "",
    ) -> None:
        self._folder = str(folder)
        self._allow_local = allow_local
        self._relative_to = relative_to
        self._buckets = buckets
        self._trusted = trusted_hosts
        self._opened = lru_cache(maxsize=_REMEMBERED)(_open)
        self._refused = lru_cache(maxsize=_REMEMBERED)(self._why_refused)
        self._nearby = Nearby()

    def find(self, text: str) -> Input:
        """Return the picture that a cell names.

        Raises:
            InputError: with a reason code, what is wrong, and what would be right.
        """
        if text.startswith("s3://"):
            return self._object(text)
        address = _ADDRESS.match(text)
        if address is not None:
            return self._address(address)
        scheme = _SCHEME.match(text)
        if scheme is not None:
            name = (scheme[1] or scheme[2]).lower()
            right = "write it in lower case" if name in ("s3", "https", "http") else _REMEDY
            raise InputError("url_refused", f"{name}: is no place that pictures are taken from", right)
        if self._relative_to:
            return self._beside(text)
        if not self._allow_local:
            raise InputError(
                "local_refused",
                f"{shown(text)} is a path, and files of this machine are for the command line only",
                "name an s3:// object or an https:// address",
            )
        path = os.path.join(self._folder, text)  # noqa: PTH118 - Path would cost more than the rest
        try:
            return self._opened(path, text)
        except FileNotFoundError:
            return self._near(path, text)

    def _near(self, path: str, text: str) -> Input:
        """Return the file whose name is the same but for its Unicode form."""
        try:
            same = self._nearby.same(path)
            if same is not None:
                return self._opened(same, text)._replace(name=os.path.basename(path))  # noqa: PTH119
            alike = self._nearby.alike(path)
        except (OSError, ValueError):
            alike = None
        right = _path_hint(text)
        if alike is not None:
            right = f"did you mean {shown(os.path.relpath(alike, self._folder), 120)}? case counts"
        raise InputError("image_not_found", f"there is no file {shown(text, 120)}", right)

    def _object(self, text: str) -> Input:
        bucket, _, key = text[5:].partition("/")
        if not bucket or not key or key.endswith("/"):
            raise InputError("image_not_found", f"{shown(text)} names no object", "write s3://bucket/key")
        if bucket not in self._buckets:
            allowed = listed(sorted(self._buckets)) or "none"
            raise InputError(
                "bucket_refused",
                f"the bucket {shown(bucket)} is not among those that may be read ({allowed})",
                "add it to RETOUCH_S3__INPUT_BUCKETS",
            )
        if not key.isprintable():
            raise InputError("image_not_found", f"{shown(text)} holds control characters", "check the key")
        return Input(text, key.rpartition("/")[2])

    def _beside(self, text: str) -> Input:
        """Return the object that a path names which starts at the manifest's folder in its bucket."""
        parts = text.split("/")
        if "\\" in text or not all(parts) or not {".", ".."}.isdisjoint(parts) or not text.isprintable():
            raise InputError(
                "local_refused",
                f"{shown(text)} does not lie beside the manifest",
                "name an object in its folder or below, such as photos/chair.jpg, or s3:// or https://",
            )
        return Input(self._relative_to + text, parts[-1])

    def _address(self, found: re.Match[str]) -> Input:
        text, (scheme, host, path) = found.string, found.groups()
        wrong = ("holds spaces or signs that no address has", "write a space as %20") if _NO_URL.search(text) else None
        wrong = wrong or self._refused(scheme, host)
        if wrong is not None:
            safe = shown(text.partition("?")[0]) if "@" not in host else "the address"  # the rest may be a signature
            raise InputError("url_refused", f"{safe} {wrong[0]}", wrong[1])
        return Input(text, unquote(path.rpartition("/")[2]))

    def _why_refused(self, scheme: str, place: str) -> tuple[str, str] | None:
        """Return what is wrong with the place of an address, in words that follow it, and what would be right."""
        try:
            parts = urlsplit(f"{scheme}://{place}")
            host, port = parts.hostname or "", parts.port
        except ValueError:
            return "is not a web address", "check it"
        if not host:
            return "has no host", "write https://host/picture.jpg"
        if "@" in place:
            return "holds a user name or password", "use a signed address instead"
        trusted = host in self._trusted or f"{host}:{port or (443 if scheme == 'https' else 80)}" in self._trusted
        if scheme == "http" and not trusted:
            return "is not https", "use https://"
        if port not in (None, 443) and not trusted:
            return f"is on port {port}", "only port 443 is fetched from"
        if host.isascii() and not plain_host(host):  # what other alphabets mean, the worker works out
            return "has a host that can be read in two ways", "write its name"
        if not trusted and f".{host}".endswith(".localhost"):
            return "leads to a loopback address", "give a public address, or upload the picture"
        if not trusted and literal_address(host) is not None and (why := refused_address(host)) is not None:
            return f"leads to {why}", "give a public address, or upload the picture"
        return None


_REMEDY = "name a file, an s3:// object or an https:// address"


def _open(path: str, text: str) -> Input:
    try:
        real = os.path.realpath(path, strict=True)
        # Asked before it is opened: opening a pipe would wait for ever.
        if not stat.S_ISREG(os.stat(real).st_mode):  # noqa: PTH116 - `real` stays a text
            raise InputError("image_unreadable", f"{shown(text)} is not a file", "name a picture, not a folder")
        with open(real, "rb") as file:  # noqa: PTH123 - `real` stays a text
            picture = inspect(file)
            found = os.fstat(file.fileno())
    except FileNotFoundError:
        raise  # whoever asked may know another name for it
    except PictureError as error:
        raise InputError(error.code, f"{shown(text)}: {error}", "use a JPEG, PNG or WebP file") from None
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InputError("image_unreadable", f"{shown(text, 120)} cannot be read ({why})", "check the file") from None
    return Input(
        Path(real).as_uri(),
        os.path.basename(path),  # noqa: PTH119 - the name as the row gives it, not where a link leads
        (picture.width, picture.height),
        (found.st_size, found.st_mtime_ns),
    )


def _path_hint(text: str) -> str:
    if "\\" in text:
        return f"write folders with slashes: {text.replace(chr(92), '/')[:80]}"
    return "paths start at the manifest's folder; check the name, its case and its accents"
