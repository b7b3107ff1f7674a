"""Secrets that lie in files, as Compose and Kubernetes mount them: read into the setting that they stand for.

The variable itself wins over its file, so that a child process that was handed the value needs no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import SecretStr


def with_files(data: Any, section: str, names: tuple[str, ...]) -> Any:
    """Return `data`, the values of `section` (`REDIS`), with each of `names` read from `<name>_file` where unset.

    Raises:
        ValueError: a file cannot be read or is empty; the message names the variable, never what is in the file.
    """
    if not isinstance(data, Mapping):
        return data
    found = dict(data)
    for name in names:
        path = found.get(f"{name}_file")
        if path and not found.get(name):
            found[name] = read_secret(Path(path), f"RETOUCH_{section}__{name}_file".upper())
    return found


def with_password(data: Any) -> Any:
    """Return the values of `REDIS` with the password of `password_file` in a `url` that carries none.

    Raises:
        ValueError: the file cannot be read or is empty.
    """
    if not isinstance(data, Mapping) or not data.get("password_file") or not data.get("url"):
        return data
    url = data["url"]
    parts = urlsplit(url.get_secret_value() if isinstance(url, SecretStr) else url)
    if parts.password:
        return data
    password = read_secret(Path(data["password_file"]), "RETOUCH_REDIS__PASSWORD_FILE")
    host = parts.netloc.rpartition("@")[2]
    whole = parts._replace(netloc=f"{quote(parts.username or '', safe='')}:{quote(password, safe='')}@{host}")
    return {**data, "url": urlunsplit(whole)}


def read_secret(path: Path, variable: str) -> str:
    """Return what is in the file, without the white space around it.

    Raises:
        ValueError: it cannot be read or is empty.
    """
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except OSError as error:
        raise ValueError(
            f"{variable} cannot be read ({error.strerror}): it must be a file that this user may read"
        ) from None
    except UnicodeDecodeError:
        raise ValueError(f"{variable} is not text: put the secret alone into the file") from None
    if not text:
        raise ValueError(f"{variable} is an empty file: put the secret into it")
    return text
