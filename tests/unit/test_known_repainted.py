"""Which rows ask for edits of other pictures than before: by what is seen, not by bytes, sizes or times."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from jobs.bucket.layout import Layout
from jobs.errors import Unavailable
from jobs.job import Result
from jobs.known.evidence import asked, of_bytes, of_object
from jobs.known.line import Known
from jobs.known.state import Changes, NameState
from jobs.pictures import identity
from jobs.request import Request, fingerprint
from jobs.row import Row
from producers.known import known_rows
from tests.fakes import FakeBucket

LAYOUT = Layout()


def jpeg(shade: int, comment: bytes = b"") -> bytes:
    """Return a picture; a comment is metadata that does not change what is seen."""
    file = BytesIO()
    Image.new("RGB", (16, 16), (shade, 40, 40)).save(file, "JPEG")
    data = file.getvalue()
    return data[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + data[2:] if comment else data


class Name:
    """Rows of one name that were edited once: of a local picture, and of one in a bucket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bucket = FakeBucket()
        (folder / "a.jpg").write_bytes(jpeg(1))
        self.bucket.lay("in/b.jpg", jpeg(2))

    def rows(self, prompt: str = "on white") -> list[Row]:
        """Return both rows as they are planned now."""
        path = self.folder / "a.jpg"
        seen = {path.as_uri(): (path.stat().st_size, path.stat().st_mtime_ns)} if path.exists() else {}
        return [_row(1, path.as_uri(), prompt, seen), _row(2, "s3://bucket/in/b.jpg", prompt, {})]

    def edited(self) -> None:
        """Publish both, and write down of what they are edits."""
        with Changes(self.folder, 2) as changes:
            for row, data in zip(self.rows(), (jpeg(1), jpeg(2)), strict=True):
                key = row.output.replace("{ext}", "png")
                self.bucket.lay(key, b"result")
                (head,) = self.bucket.keys(key)
                result = Result(key=key, sha256="", bytes=6, format="png", width=1, height=1, etag=head.etag)
                (uri,) = row.request.inputs
                local = of_bytes(hashlib.sha256(data).hexdigest())
                evidence = local if row.sizes else of_object(uri, self.bucket.read("in/b.jpg").etag, LAYOUT, "bucket")
                known = Known(
                    output=row.output,
                    id=row.id,
                    at=1.0,
                    asked=asked("bfl", row.request),
                    inputs=(evidence,),
                    fingerprint=fingerprint("bfl", row.request, [identity(data)]),
                    result=result,
                )
                changes.add(known)
            NameState("autumn", self.bucket, LAYOUT).write(changes)

    def repainted(self, rows: Sequence[Row]) -> list[str]:
        with known_rows("autumn", bucket=self.bucket, layout=LAYOUT, origin="bfl", memory=self.folder / "m") as known:
            return [row.id for row in known.repainted(rows)]


def _row(number: int, uri: str, prompt: str, sizes: dict[str, tuple[int, int]]) -> Row:
    return Row(
        number=number,
        id=f"r{number}",
        group="",
        limit_group="flux",
        request=Request(model="flux-2-pro", prompt=prompt, inputs=(uri,)),
        output=f"autumn/r{number}.{{ext}}",
        expected=1,
        at_most=1,
        cells=(),
        sizes=sizes,
    )


@pytest.fixture
def name(tmp_path: Path) -> Name:
    found = Name(tmp_path)
    found.edited()
    return found


def test_metadata_that_was_rewritten_is_no_other_picture(name: Name) -> None:
    (name.folder / "a.jpg").write_bytes(jpeg(1, b"scanned again"))
    name.bucket.lay("in/b.jpg", jpeg(2, b"scanned again"))

    assert name.repainted(name.rows()) == []


def test_another_picture_under_the_same_name_is_one(name: Name) -> None:
    (name.folder / "a.jpg").write_bytes(jpeg(11))
    name.bucket.lay("in/b.jpg", jpeg(12))

    assert name.repainted(name.rows()) == ["r1", "r2"]


def test_a_picture_of_the_same_length_and_time_is_another_one_by_what_it_shows(name: Name) -> None:
    path = name.folder / "a.jpg"
    before = path.stat()
    path.write_bytes(jpeg(11))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert path.stat().st_size == before.st_size
    assert name.repainted(name.rows()) == ["r1"]


def test_a_file_that_was_only_touched_is_the_picture_that_it_was(name: Name) -> None:
    os.utime(name.folder / "a.jpg", (5, 5))

    assert name.repainted(name.rows()) == []


def test_what_is_not_touched_is_not_read(name: Name) -> None:
    name.bucket.calls.clear()

    assert name.repainted(name.rows()) == []
    assert ("get", "in/b.jpg") not in name.bucket.calls


def test_a_picture_that_is_gone_counts_as_another_one(name: Name) -> None:
    rows = name.rows()
    (name.folder / "a.jpg").unlink()
    name.bucket.delete("in/b.jpg")

    assert name.repainted(rows) == ["r1", "r2"]


def test_a_row_that_asks_for_something_else_is_none_of_these(name: Name) -> None:
    (name.folder / "a.jpg").write_bytes(jpeg(11))

    assert name.repainted(name.rows(prompt="on black")) == []


def test_a_bucket_that_is_away_is_no_reason_to_call_a_picture_another_one(name: Name) -> None:
    name.bucket.lay("in/b.jpg", jpeg(12))
    rows = name.rows()
    with known_rows("autumn", bucket=name.bucket, layout=LAYOUT, origin="bfl") as known:
        known.standing(rows[1])
        name.bucket.failing["get"] = Unavailable()

        with pytest.raises(Unavailable):
            known.repainted(rows)
