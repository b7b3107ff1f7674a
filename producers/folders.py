"""Few folders that hold many objects, so that these can be listed instead of asked for one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

LEAST, MOST = 32, 5_000
OBJECTS_PER_FOLDER = 50
"""A folder with fewer objects than this is listed with its neighbours, as part of the folder above."""
_DEEPEST = 16


class Folders:
    """Collects `s3://bucket/…/` folders; as many as pay, the upper ones where there are too many."""

    def __init__(self) -> None:
        self._depth = _DEEPEST
        self._found: set[str] = set()

    def add(self, uris: Iterable[str], objects: int) -> None:
        """Take the folders of these objects; `objects` is how many there are so far."""
        self._found.update(_above(uri, self._depth) for uri in uris)
        most = min(max(LEAST, objects // OBJECTS_PER_FOLDER), MOST)
        while len(self._found) > most and self._depth > 0:
            self._depth -= 1
            self._found = {_above(folder, self._depth) for folder in self._found}

    def found(self) -> Iterator[str]:
        """Yield the folders, none of which lies in another."""
        last = None
        for folder in sorted(self._found):
            if last is None or not folder.startswith(last):
                last = folder
                yield folder


def _above(uri: str, depth: int) -> str:
    """Return the folder of an object, at most so deep under its bucket.

    >>> _above("s3://bucket/autumn/chairs/1.png", 1)
    's3://bucket/autumn/'
    """
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    parts = key.split("/")[:-1][:depth]
    return "/".join([f"s3://{bucket}", *parts, ""])
