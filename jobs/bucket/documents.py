"""The store's XML, of which again only the good answer is known: what cannot be read is None, and boto3 is asked."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from jobs.bucket.port import Head


def page_of(data: bytes, most: int) -> tuple[list[Head], str] | None:
    """Return the objects of a `ListBucketResult`, at most so many, and the token of the next page or nothing."""
    listed = _document(data, "ListBucketResult")
    if listed is None:
        return None
    coded = listed.findtext("EncodingType") == "url"
    token = listed.findtext("NextContinuationToken", "") if listed.findtext("IsTruncated") == "true" else None
    if token == "":
        return None
    try:
        return [_head(entry, coded=coded) for entry in listed.findall("Contents")[:most]], token or ""
    except ValueError:
        return None


def copied_etag(data: bytes) -> str | None:
    """Return the ETag of a `CopyObjectResult`; None for an error, which may come with a 200 as well."""
    copied = _document(data, "CopyObjectResult")
    return None if copied is None else copied.findtext("ETag", "").strip('"')


def _document(data: bytes, name: str) -> ElementTree.Element | None:
    """Return the root of a document of this name, with all names free of their namespace."""
    if b"<!" in data or b"\0" in data:  # no store declares types or entities, nor writes so as to hide that
        return None
    try:
        root = ElementTree.fromstring(data)  # noqa: S314 - nothing in it can be expanded
    except ElementTree.ParseError:
        return None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root if root.tag == name else None


def _head(entry: ElementTree.Element, *, coded: bool) -> Head:
    key, written = entry.findtext("Key", ""), entry.findtext("LastModified", "")
    if not key:
        raise ValueError("an object without a key")
    return Head(
        key=unquote_plus(key) if coded else key,
        bytes=int(entry.findtext("Size", "")),
        etag=entry.findtext("ETag", "").strip('"'),
        modified=datetime.fromisoformat(written).timestamp() if written else 0.0,
    )
