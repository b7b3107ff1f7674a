"""Fetches the pictures of a request: from the bucket, from allowed buckets, or from the web."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.bucket.layout import Layout
from jobs.bucket.port import Bucket
from jobs.errors import BadCredentials, NotFound, Refused, TooLarge
from jobs.known.evidence import of_object, of_url, passed
from jobs.models import Model
from jobs.pictures import MAX_BYTES, PictureError, fit, identity
from jobs.request import Request
from workers.hosts import FetchError
from workers.web import Web


class InputFailed(Exception):
    """A picture of the request cannot be used. `code` is a reason code; `transient`: another try may succeed."""

    def __init__(self, code: str, detail: str, *, transient: bool = False) -> None:
        super().__init__(detail)
        self.code = code
        self.transient = transient


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The pictures of a request as they were found: bytes, or a URL that the API fetches itself."""

    pictures: tuple[bytes | str, ...]
    identities: tuple[str, ...]
    """What each picture is, whatever its metadata says; the fingerprint is made of these."""
    evidence: tuple[str, ...]
    """By what each picture can be told to be unchanged without reading it; empty where nothing can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """The pictures as they are sent: bare base64 as bytes, or URLs as text."""

    sent: tuple[bytes | str, ...]
    shrunk: tuple[str, ...]
    """A sentence for each picture that had to be shrunk or converted."""


class Inputs:
    """Loads a request's pictures, and encodes them for a model."""

    def __init__(self, bucket: Bucket, layout: Layout, web: Web, allowed_buckets: Sequence[str]) -> None:
        self._bucket = bucket
        self._layout = layout
        self._web = web
        self._allowed = {bucket.name, *allowed_buckets}

    def load(self, request: Request) -> Loaded:
        """Return every picture as it is.

        Raises:
            InputFailed: a picture is missing or forbidden, or its address is refused.
            jobs.errors.BadCredentials: the store lets nobody in with ours.
            jobs.errors.Unavailable: the bucket does not answer.
        """
        pictures: list[bytes | str] = []
        evidence: list[str] = []
        for uri in request.inputs:
            if passed(request, uri):
                pictures.append(uri)
                evidence.append(of_url(uri))
                continue
            picture, etag = self._fetch(uri)
            pictures.append(picture)
            evidence.append(of_object(uri, etag, self._layout, self._bucket.name))
        identities = tuple(p if isinstance(p, str) else identity(p) for p in pictures)
        return Loaded(pictures=tuple(pictures), identities=identities, evidence=tuple(evidence))

    @staticmethod
    def encode(loaded: Loaded, model: Model) -> Encoded:
        """Return the pictures as they are sent, fitted to the model's limits.

        Raises:
            InputFailed: a picture is broken, or no picture.
        """
        sent: list[bytes | str] = []
        shrunk: list[str] = []
        for picture in loaded.pictures:
            if isinstance(picture, str):
                sent.append(picture)
                continue
            try:
                fitted = fit(picture, max_bytes=model.max_input_bytes, max_pixels=model.max_input_pixels)
            except PictureError as error:
                raise InputFailed(error.code, str(error)) from None
            sent.append(base64.b64encode(fitted.data))
            if fitted.note:
                shrunk.append(fitted.note)
        return Encoded(sent=tuple(sent), shrunk=tuple(shrunk))

    def _fetch(self, uri: str) -> tuple[bytes, str]:
        """Return a picture and, from a bucket, its ETag."""
        if uri.startswith("s3://"):
            return self._from_bucket(uri)
        if uri.startswith("file://"):
            raise InputFailed("image_changed", "the file changed after the plan was made; plan it again")
        try:
            return self._web.fetch(uri), ""
        except FetchError as error:
            raise InputFailed(error.code, str(error), transient=error.transient) from None

    def _from_bucket(self, uri: str) -> tuple[bytes, str]:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        if bucket not in self._allowed:
            raise InputFailed("image_forbidden", f"bucket {bucket} is not one of RETOUCH_S3__INPUT_BUCKETS")
        try:
            found = self._bucket.read(key, bucket=bucket, max_bytes=MAX_BYTES)
        except BadCredentials:  # says nothing about this picture: the same would happen to every row
            raise
        except NotFound:
            raise InputFailed("image_not_found", f"nothing lies at {uri}") from None
        except TooLarge as error:
            raise InputFailed("image_too_large", f"{error}; shrink the picture") from None
        except Refused as error:
            raise InputFailed("image_forbidden", str(error)) from None
        return found.data, found.etag
