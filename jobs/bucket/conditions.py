"""Which conditions a store keeps. Not every S3 knows them, and one that does not may silently write all the same."""

from __future__ import annotations

import threading
from collections.abc import Callable

from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket
from jobs.errors import PreconditionFailed, Refused

_NOTE = b"Retouch wrote this to learn which conditions the store keeps. It may be deleted.\n"


class Conditions:
    """Tries each condition once a process, on an object of its own. Any number of threads may ask.

    Every method raises the errors of `jobs.bucket.port.Bucket`.
    """

    def __init__(self, bucket: Bucket, layout: Layout) -> None:
        self._bucket = bucket
        self._folder = f"{layout.prefix}probe/"
        self._lock = threading.Lock()
        self._known: dict[str, bool] = {}

    def puts(self) -> bool:
        """Return whether `put` keeps `if_absent`."""
        return self._remembered("puts", self._try_puts)

    def copies(self) -> bool:
        """Return whether `copy` keeps `if_absent` and `if_match`."""
        return self._remembered("copies", self._try_copies)

    def _remembered(self, what: str, tried: Callable[[], bool]) -> bool:
        with self._lock:
            if what not in self._known:
                self._known[what] = tried()
            return self._known[what]

    def _try_puts(self) -> bool:
        key = self._folder + "if-none-match"
        for _ in range(2):  # the second PUT meets the first one's object, if not the first an older one
            try:
                self._bucket.put(key, _NOTE, content_type="text/plain", if_absent=True)
            except PreconditionFailed:
                return True
            except Refused:  # the header, or every write? A plain PUT tells, by its own error
                self._bucket.put(key, _NOTE, content_type="text/plain")
                return False
        return False

    def _try_copies(self) -> bool:
        key = self._folder + "copy"
        self._bucket.put(key, _NOTE, content_type="text/plain")
        return self._refused(key, if_absent=True) and self._refused(key, if_match="0" * 32)

    def _refused(self, key: str, *, if_absent: bool = False, if_match: str = "") -> bool:
        try:
            self._bucket.copy(key, key, content_type="text/plain", metadata={}, if_absent=if_absent, if_match=if_match)
        except PreconditionFailed:
            return True
        except Refused:  # the header, or every copy? The one without a condition tells, by its own error
            return False
        return False


def keeps_conditional_deletes(bucket: Bucket, key: str) -> bool:
    """Return whether `delete` keeps `if_match`, tried on an object of our own that is written there and removed again.

    Raises the errors of `jobs.bucket.port.Bucket`.
    """
    bucket.put(key, _NOTE, content_type="text/plain")
    try:
        bucket.delete(key, if_match="0" * 32)
    except PreconditionFailed:
        bucket.delete(key)
        return True
    except Refused:  # the header, or every DELETE? The one without a condition tells, by its own error
        bucket.delete(key)
    return False
