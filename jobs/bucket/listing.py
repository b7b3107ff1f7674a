"""What a store lists, read from its XML."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from jobs.bucket.port import Head


def document(data: bytes) -> ElementTree.Element | None:
    """Return the root of a store's document with names free of their namespace, or None where it is none."""
    if b"<!" in data:  # no store declares types or entities
        return None
    try:
        root = ElementTree.fromstring(data)  # noqa: S314 - nothing in it can be expanded
    except ElementTree.ParseError:
        return None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def page_of(listed: ElementTree.Element, most: int) -> tuple[list[Head], str]:
    """Return the objects of a `ListBucketResult`, at most so many, and the token of the next page or nothing."""
    coded = listed.findtext("EncodingType") == "url"
    heads = []
    for entry in listed.findall("Contents")[:most]:
        key, written = entry.findtext("Key", ""), entry.findtext("LastModified", "")
        heads.append(
            Head(
                key=unquote_plus(key) if coded else key,
                bytes=int(entry.findtext("Size", "0")),
                etag=entry.findtext("ETag", "").strip('"'),
                modified=datetime.fromisoformat(written).timestamp() if written else 0.0,
            )
        )
    more = listed.findtext("IsTruncated") == "true"
    return heads, listed.findtext("NextContinuationToken", "") if more else ""
