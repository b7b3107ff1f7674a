"""Files what the API delivered under its fingerprint, and publishes it to the key that the row asks for.

A filed result is paid for: it is never written over before a copy of it lies under `Layout.earlier`, and whatever a
second purchase of the same edit delivers is kept there too. What lies at an output key is left alone unless it is ours
(`workers.filed`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum

from jobs.bucket.conditions import Conditions
from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket, Head
from jobs.errors import NotFound, PreconditionFailed, RetouchError, Unavailable
from jobs.pictures import Format, Picture, PictureError, check_result, extension, media_type
from workers.filed import Filed, Published, names, ours, recorded, same_edit, sha256_of

MAX_RESULT_BYTES = 64 * 1024 * 1024
"""The most that is read of an object that may be a result; 4 MP of PNG with 16 bits a channel are half of it."""

_TRIES = 4
_RESERVED = ("results/", "inputs/", "batches/", "names/", "schedules/", "inbox/", "probe/")


class OutputNotOurs(RetouchError):
    """Something that Retouch did not write last lies at the output key."""

    def __init__(self, key: str, *, reserved: bool = False) -> None:
        super().__init__(
            f"{key} lies among Retouch's own files; choose another output"
            if reserved
            else f"{key} holds an object that Retouch did not write last; move it, choose another output,"
            " or run with --overwrite"
        )
        self.key = key


class Standing(StrEnum):
    """What lies at an output key."""

    FREE = "free"
    OURS_SAME = "ours_same"
    """Ours, with these very bytes: nothing needs to be copied."""
    OURS_OTHER = "ours_other"
    """Ours, from another edit: it may be replaced."""
    TO_OVERWRITE = "to_overwrite"
    """Not ours, and the user said to overwrite."""
    NOT_OURS = "not_ours"
    """Not to be touched: the row ends with `output_not_ours`."""


def output_key(template: str, format: Format) -> str:  # noqa: A002 - the word that everybody uses for it
    """Return the key to publish to: `{ext}` in the template stands for the extension of the real format."""
    return template.replace("{ext}", extension(format))


class Results:
    """What is filed and what is published, in one bucket. Any number of threads may use it at once.

    Every method raises the errors of `jobs.bucket.port.Bucket`.
    """

    def __init__(self, bucket: Bucket, layout: Layout) -> None:
        self._bucket = bucket
        self._layout = layout
        self._conditions = Conditions(bucket, layout)

    def find(self, fingerprint: str) -> Filed | None:
        """Return the filed result of a fingerprint, in whatever format it was delivered, or None.

        Where the metadata is missing or contradicts the object (a bucket moved without it, an upload by hand), the
        bytes themselves are asked: a whole picture counts as filed, since to say no would be to buy it again. For the
        same reason a result that is only kept under `Layout.earlier` counts where nothing lies at the filed key.
        """
        stem = self._layout.filed_stem(fingerprint)
        listed = list(self._bucket.keys(stem.removesuffix(".")))
        listed.sort(key=lambda each: (not each.key.startswith(stem), each.modified))
        keys = [each.key for each in listed]
        return next((filed for _, filed in self._known(keys, fingerprint) if filed is not None), None)

    def file(self, fingerprint: str, data: bytes, picture: Picture, *, job: str, batch: str, fresh: bool) -> Filed:
        """File what the API delivered and return it; calling it again with the same bytes changes nothing.

        The first result of a fingerprint stays the filed one (of two formats: the older object), a later one with other
        bytes is kept beside it under `Layout.earlier` and returned from there. With `fresh` the later one becomes the
        filed one, and the first one is kept beside it. The same happens to an object at the filed key that is no
        picture.

        A store that does not keep conditional PUTs cannot say who was first, so there (and with `fresh`) the bytes
        are written to their own key under `Layout.earlier` before anything else: that key belongs to nobody else.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        suffix = extension(picture.format)
        mine = Filed(
            key=self._layout.filed(fingerprint, suffix),
            fingerprint=fingerprint,
            sha256=sha256,
            bytes=len(data),
            format=picture.format,
            width=picture.width,
            height=picture.height,
            job=job,
            batch=batch,
        )
        beside = replace(mine, key=self._layout.earlier(fingerprint, sha256, suffix))
        conditional = self._conditions.puts()
        if conditional and not fresh:
            try:  # before this was bought nothing was filed, so most likely nothing is
                return replace(mine, etag=self._put(mine, data, if_absent=True))
            except PreconditionFailed:
                pass
        safe = fresh or not conditional
        if safe:
            self._put(beside, data)
        for _ in range(_TRIES):
            keys = [listed.key for listed in self._bucket.keys(self._layout.filed_stem(fingerprint), limit=8)]
            there = list(self._known(keys, fingerprint))
            first = next((filed for _, filed in there if filed is not None), None)
            if first is not None and not fresh:
                if first.sha256 == sha256:
                    return replace(mine, key=first.key)
                break
            if there and not safe:
                self._put(beside, data)
                safe = True
            try:
                self._take_place(mine, data, there, conditional=conditional)
            except PreconditionFailed:  # somebody was faster, or our own first try was: look again
                continue
            return mine if conditional or self._holds(mine.key, mine) else beside
        if not safe:
            self._put(beside, data)
        return beside

    def check_output(self, key: str, fingerprint: str, *, sha256: str = "", overwrite: bool = False) -> Standing:
        """Return what lies at an output key; meant to be asked before anything is bought.

        `sha256` is that of the filed result, where there is one: `OURS_SAME` then means these very bytes, and without
        it any result of this fingerprint.
        """
        return self._standing(key, self._bucket.head(key), fingerprint, sha256, overwrite=overwrite)

    def publish(self, filed: Filed, output: str, *, job: str, overwrite: bool = False) -> Published:
        """Copy a filed result to its output key, within the store; `output` may hold `{ext}`.

        Raises:
            OutputNotOurs: something else lies there; nothing has been changed.
            NotFound: the filed result is gone.
        """
        key = output_key(output, filed.format)
        metadata = filed.metadata_at(key, job)
        replaced, torn = "", ""
        if (etag := self._published_at_once(filed, key, metadata)) is not None:
            return Published(key=key, etag=etag, how="copied")
        for _ in range(_TRIES):
            there = self._bucket.head(key)
            standing = self._standing(key, there, filed.fingerprint, filed.sha256, overwrite=overwrite)
            if standing is Standing.NOT_OURS and (there is None or there.etag != torn):
                raise OutputNotOurs(key, reserved=self._reserved(key))
            if there is not None and standing is Standing.OURS_SAME:
                return Published(key=key, etag=there.etag, how="kept")
            if there is not None and standing is Standing.OURS_OTHER:
                replaced = sha256_of(there)
            try:
                self._copy(self._source(filed), key, filed.format, metadata, there)
            except PreconditionFailed:  # somebody wrote there since we looked, or our own first try did
                continue
            after = self._bucket.head(key)
            if after is None:
                continue
            copied = names(after, key)
            if copied and after.bytes == filed.bytes:
                return Published(key=key, replaced_sha256=replaced, etag=after.etag, how="copied")
            if not copied and not overwrite:
                raise OutputNotOurs(key)  # somebody wrote there since
            torn = after.etag
        raise Unavailable(f"{key} is not what was copied there, {_TRIES} times in a row")

    def _published_at_once(self, filed: Filed, key: str, metadata: dict[str, str]) -> str | None:
        """Copy to an output key at which nothing lies, as is usual, and return the copy's ETag.

        None where that is not so, or where the store does not prove by its ETags that these very bytes lie there now.
        """
        if not filed.etag or self._reserved(key) or not self._conditions.copies():
            return None
        try:
            etag = self._bucket.copy(
                filed.key,
                key,
                content_type=media_type(filed.format),
                metadata=metadata,
                if_absent=True,
                if_source=filed.etag,
            )
        except (PreconditionFailed, NotFound):
            return None
        return etag if etag == filed.etag else None

    def _copy(self, source: str, key: str, kind: Format, metadata: dict[str, str], there: Head | None) -> None:
        """Copy to an output key that holds `there`, and only then wherever the store keeps such a condition."""
        known = there is None or there.etag
        conditional = known and self._conditions.copies()
        self._bucket.copy(
            source,
            key,
            content_type=media_type(kind),
            metadata=metadata,
            if_absent=bool(conditional and there is None),
            if_match=there.etag if conditional and there is not None else "",
        )

    def _known(self, keys: list[str], fingerprint: str) -> Iterator[tuple[Head, Filed | None]]:
        """Yield what lies at the keys, with None for what is no result."""
        for key in keys:
            head = self._bucket.head(key)
            if head is not None:
                yield head, recorded(head, fingerprint) or self._examined(head, fingerprint)

    def _examined(self, head: Head, fingerprint: str) -> Filed | None:
        if head.bytes > MAX_RESULT_BYTES:
            return None
        try:
            data = self._bucket.get(head.key, max_bytes=MAX_RESULT_BYTES)
            picture = check_result(data, content_length=None)
        except (NotFound, PictureError):
            return None
        return Filed(
            key=head.key,
            fingerprint=fingerprint,
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
            format=picture.format,
            width=picture.width,
            height=picture.height,
        )

    def _take_place(
        self, mine: Filed, data: bytes, there: list[tuple[Head, Filed | None]], *, conditional: bool
    ) -> None:
        """Make `mine` the filed result; what is there is kept beside it first."""
        others = [
            (head, filed)
            for head, filed in there
            if filed is None or (filed.key, filed.sha256) != (mine.key, mine.sha256)
        ]
        for head, filed in others:
            self._set_aside(head, filed, mine.fingerprint)
        if len(others) == len(there):
            taken = any(head.key == mine.key for head, _ in there)
            self._put(mine, data, if_absent=conditional and not taken)
        for head, _ in others:
            if head.key != mine.key:
                self._bucket.delete(head.key)

    def _set_aside(self, head: Head, filed: Filed | None, fingerprint: str) -> None:
        """Keep what lies at a filed key under the name of its own bytes.

        The bytes are read and written, not copied in the store: another worker may replace the object at any moment,
        and a copy would then put the new bytes under the old ones' name, over the old ones.
        """
        suffix = head.key.rpartition(".")[2]
        if filed is not None and self._holds(self._layout.earlier(fingerprint, filed.sha256, suffix), filed):
            return
        try:
            data = self._bucket.get(head.key, max_bytes=MAX_RESULT_BYTES)
        except NotFound:  # another worker has set it aside
            return
        sha256 = hashlib.sha256(data).hexdigest()
        self._bucket.put(
            self._layout.earlier(fingerprint, sha256, suffix),
            data,
            content_type=head.content_type,
            metadata=head.metadata if sha256_of(head) == sha256 else {},
        )

    def _put(self, filed: Filed, data: bytes, *, if_absent: bool = False) -> str:
        return self._bucket.put(
            filed.key,
            data,
            content_type=media_type(filed.format),
            metadata=filed.metadata(),
            if_absent=if_absent,
        )

    def _holds(self, key: str, filed: Filed) -> bool:
        head = self._bucket.head(key)
        return head is not None and head.bytes == filed.bytes and sha256_of(head) in ("", filed.sha256)

    def _source(self, filed: Filed) -> str:
        """Return where the bytes lie: `--fresh` may have set them aside since they were found."""
        beside = self._layout.earlier(filed.fingerprint, filed.sha256, extension(filed.format))
        for key in (filed.key, beside):
            if self._holds(key, filed):
                return key
        raise NotFound(f"{filed.key} no longer holds the filed result; run the row again")

    def _standing(self, key: str, head: Head | None, fingerprint: str, sha256: str, *, overwrite: bool) -> Standing:
        if self._reserved(key):
            return Standing.NOT_OURS
        if head is None:
            return Standing.FREE
        if not ours(head, key):
            return Standing.TO_OVERWRITE if overwrite else Standing.NOT_OURS
        return Standing.OURS_SAME if same_edit(head, fingerprint, sha256) else Standing.OURS_OTHER

    def _reserved(self, key: str) -> bool:
        """Return whether a key is one of Retouch's own files, which no row may replace, not even with --overwrite."""
        folded = re.sub("/+", "/", key).lstrip("/")  # some stores fold slashes
        return folded.startswith(tuple(self._layout.prefix + folder for folder in _RESERVED))
