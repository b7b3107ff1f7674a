"""Room on a disk. A full one shows itself as anything but that: here it gets its name."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def is_full(error: BaseException) -> bool:
    """Return whether an error says that a disk, a quota or a limit for one file is full."""
    return isinstance(error, OSError) and error.errno in _FULL


def room_for(folder: Path) -> int:
    """Return the bytes that may still be written to the disk of `folder`, which need not exist yet.

    Raises:
        OSError: nobody can tell.
    """
    whole = folder.absolute()
    there = next(path for path in (whole, *whole.parents) if path.exists())
    return shutil.disk_usage(there).free
