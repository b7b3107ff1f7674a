"""Writes that survive a power cut: whole or not at all, and back again only as what they were."""

from __future__ import annotations

import os
from pathlib import Path


def private_folder(path: Path) -> Path:
    """Make a folder that only this user can read, and its parents; return it."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def write_durably(path: Path, data: bytes) -> None:
    """Write a new file and return once it is on the disk; its name is so after `settle` of its folder."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def settle(folder: Path) -> None:
    """Return once the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
