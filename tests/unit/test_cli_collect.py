"""Bringing results into a folder: the right bytes, once, and never outside it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from jobs.bucket.layout import Layout
from jobs.errors import NotFound
from producers.collect import UnsafeKey, collect, place, save_report
from tests.fakes import FakeBucket

LAYOUT = Layout()
BATCH = "autumn-1"


class Shelf:
    """A bucket with a finished batch in it."""

    def __init__(self) -> None:
        self.bucket = FakeBucket()
        self.lines: list[dict[str, Any]] = []

    def publish(self, key: str, data: bytes, *, state: str = "stored", **other: Any) -> None:
        self.bucket.put(key, data)
        sha256 = hashlib.sha256(data).hexdigest()
        self.lines.append({"state": state, "output": key, "sha256": sha256, "bytes": len(data), **other})
        text = "".join(f"{json.dumps(line)}\n" for line in self.lines)
        self.bucket.put(LAYOUT.batch(BATCH, "outcomes.jsonl"), text.encode())

    def collect(self, folder: Path) -> Any:
        return collect(BATCH, "autumn", folder, bucket=self.bucket, layout=LAYOUT)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def test_outputs_come_under_their_keys_without_the_name(shelf: Shelf, tmp_path: Path) -> None:
    shelf.publish("autumn/chairs/a.jpg", b"one")
    shelf.publish("elsewhere/b.jpg", b"two")

    brought = shelf.collect(tmp_path)

    assert (brought.written, brought.same, brought.failed) == (2, 0, [])
    assert (tmp_path / "chairs/a.jpg").read_bytes() == b"one"
    assert (tmp_path / "elsewhere/b.jpg").read_bytes() == b"two"


def test_what_is_there_already_is_not_fetched_again(shelf: Shelf, tmp_path: Path) -> None:
    shelf.publish("autumn/a.jpg", b"one")
    shelf.collect(tmp_path)
    shelf.bucket.calls.clear()

    brought = shelf.collect(tmp_path)

    assert (brought.written, brought.same) == (0, 1)
    assert ("download", "autumn/a.jpg") not in shelf.bucket.calls


def test_a_file_of_the_same_length_with_other_bytes_is_replaced(shelf: Shelf, tmp_path: Path) -> None:
    shelf.publish("autumn/a.jpg", b"one")
    (tmp_path / "a.jpg").write_bytes(b"eno")

    shelf.collect(tmp_path)

    assert (tmp_path / "a.jpg").read_bytes() == b"one"


def test_an_object_that_was_replaced_since_is_not_passed_off_as_the_result(shelf: Shelf, tmp_path: Path) -> None:
    shelf.publish("autumn/a.jpg", b"one")
    shelf.bucket.put("autumn/a.jpg", b"two")

    brought = shelf.collect(tmp_path)

    assert [key for key, _ in brought.failed] == ["autumn/a.jpg"]
    assert not (tmp_path / "a.jpg").exists()


def test_one_result_that_is_gone_does_not_keep_the_others_back(shelf: Shelf, tmp_path: Path) -> None:
    shelf.publish("autumn/a.jpg", b"one")
    shelf.publish("autumn/b.jpg", b"two")
    shelf.bucket.delete("autumn/a.jpg")

    brought = shelf.collect(tmp_path)

    assert [key for key, _ in brought.failed] == ["autumn/a.jpg"]
    assert (tmp_path / "b.jpg").exists()


def test_rows_that_did_not_make_it_bring_nothing(shelf: Shelf, tmp_path: Path) -> None:
    shelf.publish("autumn/a.jpg", b"one", state="failed")

    brought = shelf.collect(tmp_path)

    assert (brought.written, brought.failed) == (0, [])


def test_a_batch_that_still_runs_brings_what_is_done(shelf: Shelf, tmp_path: Path) -> None:
    shelf.publish("autumn/a.jpg", b"one")
    shelf.bucket.put(LAYOUT.outcomes(BATCH, 0, b""), shelf.bucket.get(LAYOUT.batch(BATCH, "outcomes.jsonl")))
    shelf.bucket.delete(LAYOUT.batch(BATCH, "outcomes.jsonl"))

    brought = shelf.collect(tmp_path)

    assert brought.written == 1


HOSTILE = [
    "../x.jpg",
    "autumn/../../x.jpg",
    "/etc/passwd",
    "autumn//x.jpg",
    "autumn/./x.jpg",
    "autumn/",
    "autumn/..",
    "a\0b.jpg",
    "autumn/" + "x" * 300,
]


@pytest.mark.parametrize("key", HOSTILE)
def test_no_key_leads_out_of_the_folder(tmp_path: Path, key: str) -> None:
    with pytest.raises(UnsafeKey):
        place(tmp_path / "in", key, "autumn")


def test_no_key_leads_out_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "way").symlink_to(tmp_path)

    with pytest.raises(UnsafeKey):
        place(tmp_path / "in", "autumn/way/x.jpg", "autumn")


def test_a_hostile_key_fails_alone(shelf: Shelf, tmp_path: Path) -> None:
    shelf.publish("autumn/../../x.jpg", b"bad")
    shelf.publish("autumn/a.jpg", b"one")

    brought = shelf.collect(tmp_path / "in")

    assert [key for key, _ in brought.failed] == ["autumn/../../x.jpg"]
    assert sorted(path.name for path in tmp_path.rglob("*.jpg")) == ["a.jpg"]


def test_a_result_never_takes_the_place_of_the_report(shelf: Shelf, tmp_path: Path) -> None:
    shelf.publish("autumn/report.html", b"<script>")
    shelf.bucket.put(LAYOUT.batch(BATCH, "report.html"), b"the report")

    shelf.collect(tmp_path)

    assert (tmp_path / "report.html").read_bytes() == b"the report"


def test_a_table_of_an_earlier_batch_does_not_stay(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "failed.csv").write_text("old")
    (tmp_path / "summary.json").write_text("{}")
    shelf.bucket.put(LAYOUT.batch(BATCH, "summary.json"), b"{}")

    save_report(BATCH, tmp_path, bucket=shelf.bucket, layout=LAYOUT)

    assert not (tmp_path / "failed.csv").exists()


def test_a_file_of_the_users_own_stays(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "failed.csv").write_text("mine")

    save_report(BATCH, tmp_path, bucket=shelf.bucket, layout=LAYOUT)

    assert (tmp_path / "failed.csv").read_text() == "mine"


def test_no_half_written_file_is_left_behind(shelf: Shelf, tmp_path: Path) -> None:
    shelf.publish("autumn/a.jpg", b"one")
    shelf.bucket.failing["download"] = NotFound()

    shelf.collect(tmp_path)

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
