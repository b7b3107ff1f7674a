"""One uploaded manifest, taken once and answered once, wherever it was cut off."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from jobs.errors import Refused, Unavailable
from producers.inbox.place import Upload, inbox_of, uploads
from producers.inbox.take import take
from producers.intake.desk import Desk, alone
from tests.fakes import FakeBucket
from tests.unit.intaking import HEADER, Clock, batches, desk, keys, lines

KEY = "retouch/inbox/team/autumn.csv"


@pytest.fixture
def place(tmp_path: Path) -> Desk:
    return desk(tmp_path, Clock())


def bucket_of(place: Desk) -> FakeBucket:
    return cast("FakeBucket", place.bucket)


def drop(place: Desk, text: str = HEADER + lines(3), key: str = KEY) -> Upload:
    bucket_of(place).lay(key, text.encode())
    head = place.bucket.head(key)
    assert head is not None
    return Upload(key=key, etag=head.etag, inbox=inbox_of(place.layout))


def taken(upload: Upload, place: Desk) -> dict[str, Any] | None:
    return take(upload.key, upload.etag, place)


def waiting(place: Desk) -> Iterator[str]:
    return (upload.key for upload in uploads(place.bucket, inbox_of(place.layout)))


def test_a_cheap_upload_runs_at_once_and_is_answered_beside_it(place: Desk) -> None:
    upload = drop(place)

    receipt = taken(upload, place)

    assert receipt is not None
    (batch,) = batches(place)
    assert (receipt["state"], receipt["batch"], receipt["rows"]) == ("open", batch.id, 3)
    assert json.loads(place.bucket.get(upload.receipt)) == receipt
    assert upload.receipt.startswith(KEY)
    assert list(waiting(place)) == []
    assert place.bucket.get(f"retouch/inbox/done/{upload.token}/autumn.csv") == (HEADER + lines(3)).encode()


def test_what_runs_by_itself_may_cost_no_more_than_what_may_run_without_a_yes(tmp_path: Path) -> None:
    place = desk(tmp_path, Clock(), inbox={"run_below_usd": 0.15})

    receipt = taken(drop(place), place)

    assert receipt is not None
    (batch,) = batches(place)
    found = place.ledger.batch(batch.id)
    assert found is not None
    assert receipt["state"] == "open"
    assert receipt["at_most_usd"] > receipt["ceiling_usd"] == 0.15
    assert found[1].ceiling == 150_000


def test_a_dear_upload_waits_for_a_yes(tmp_path: Path) -> None:
    place = desk(tmp_path, Clock(), inbox={"run_below_usd": 0.01})

    receipt = taken(drop(place), place)

    assert receipt is not None
    assert receipt["state"] == "planned"
    assert f"retouch resume {receipt['batch']}" in receipt["remedy"]
    assert batches(place) == []
    assert keys(place, f"batches/{receipt['batch']}/planned.json") != []


def test_an_upload_with_bad_rows_is_refused_with_each_of_them(place: Desk) -> None:
    upload = drop(place, HEADER + lines(2) + "c,/etc/passwd,x\nd,http://10.0.0.1/a.jpg,x\n")

    receipt = taken(upload, place)

    assert receipt is not None
    assert (receipt["state"], receipt["batch"], receipt["rows"], receipt["invalid"]) == ("refused", "", 2, 2)
    assert [(each["line"], each["code"]) for each in receipt["problems"]] == [(4, "local_refused"), (5, "url_refused")]
    assert place.bucket.head(receipt["errors"]) is not None
    assert place.bucket.head(f"retouch/inbox/refused/{upload.token}/autumn.csv") is not None
    assert batches(place) == []


def test_an_upload_that_is_no_manifest_is_refused_as_a_whole(place: Desk) -> None:
    receipt = taken(drop(place, "id,picture\na,b\n"), place)

    assert receipt is not None
    assert receipt["state"] == "refused"
    assert "no column 'image'" in receipt["error"]["message"]
    assert receipt["error"]["line"] == 1


def test_a_path_starts_at_the_manifests_folder_in_the_inbox(place: Desk) -> None:
    receipt = taken(drop(place, HEADER + "a,photos/a.jpg,on white\n"), place)

    assert receipt is not None
    row = json.loads(place.bucket.get(f"retouch/batches/{receipt['batch']}/plan/1/flux/000000.jsonl"))
    assert row["request"]["inputs"] == ["s3://bucket/retouch/inbox/team/photos/a.jpg"]


def test_two_teams_with_one_file_name_publish_to_two_places(place: Desk) -> None:
    for team in ("north", "south"):
        taken(drop(place, key=f"retouch/inbox/{team}/autumn.csv"), place)

    assert {batch.name for batch in batches(place)} == {"north-autumn", "south-autumn"}


def test_who_comes_second_finds_it_gone(place: Desk) -> None:
    upload = drop(place)
    taken(upload, place)

    again = taken(upload, place)

    assert again is not None
    assert again["state"] == "open"
    assert len(batches(place)) == 1


def test_who_comes_while_another_is_at_it_leaves_it_alone(place: Desk) -> None:
    upload = drop(place)

    with alone(place, f"upload:{upload.token}"):
        assert taken(upload, place) is None

    assert list(waiting(place)) == [KEY]


@pytest.mark.parametrize("cut", ["put_file", "delete"])
def test_a_move_that_was_cut_off_is_done_again(place: Desk, cut: str) -> None:
    upload = drop(place)
    bucket_of(place).failing[cut] = Unavailable()
    with pytest.raises(Unavailable):
        taken(upload, place)
    bucket_of(place).failing.clear()

    receipt = taken(upload, place)

    assert receipt is not None
    assert receipt["state"] == "open"
    assert len(batches(place)) == 1
    assert len([key for key in keys(place, "inbox/") if key.endswith(".receipt.json")]) == 1
    assert list(waiting(place)) == []


def test_a_plan_without_a_receipt_is_gone_on_with(place: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = drop(place)
    with monkeypatch.context() as broken:
        broken.setattr(type(place.ledger), "open_batch", _away)
        with pytest.raises(Unavailable):
            taken(upload, place)

    receipt = taken(upload, place)

    assert receipt is not None
    assert [batch.id for batch in batches(place)] == [receipt["batch"]]


def test_another_version_of_a_file_is_another_upload_and_is_not_moved_with_the_first(
    place: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = drop(place)
    second = drop(place, HEADER + lines(5))

    assert taken(first, place) is None
    receipt = taken(second, place)

    assert receipt is not None
    assert receipt["rows"] == 5
    assert first.receipt != second.receipt


def test_the_same_file_dropped_again_is_answered_by_the_receipt_it_has(place: Desk) -> None:
    first = taken(drop(place), place)
    again = taken(drop(place), place)

    assert first == again
    assert len(batches(place)) == 1
    assert list(waiting(place)) == []


class Replacing(FakeBucket):
    """A bucket in which somebody drops another version of a file at the last instant before it is removed."""

    version = HEADER + lines(7)

    def put_file(self, key: str, path: Path, *, content_type: str = "application/octet-stream") -> None:
        """Write the answered file; then comes the new one."""
        super().put_file(key, path, content_type=content_type)
        self.lay(KEY, self.version.encode())


@pytest.mark.parametrize("conditional", ["kept", "ignored"])
def test_a_file_that_is_replaced_between_its_receipt_and_its_move_is_not_lost(tmp_path: Path, conditional: Any) -> None:
    place = desk(tmp_path, Clock(), bucket=Replacing(conditional=conditional))
    first = drop(place)

    receipt = taken(first, place)

    assert receipt is not None
    assert receipt["rows"] == 3
    assert place.bucket.get(KEY).decode() == Replacing.version
    assert [upload.etag for upload in uploads(place.bucket, inbox_of(place.layout))] != [first.etag]


class NotImplementing(FakeBucket):
    """A bucket that answers 501 to a DELETE with a condition."""

    def delete(self, key: str, *, if_match: str = "") -> None:
        """Remove an object, without a condition."""
        if if_match:
            raise Refused
        super().delete(key)


@pytest.mark.parametrize("bucket", [FakeBucket(conditional="ignored"), NotImplementing()])
def test_without_conditional_deletes_a_file_stays_and_is_taken_once_all_the_same(
    tmp_path: Path, bucket: FakeBucket
) -> None:
    place = desk(tmp_path, Clock(), bucket=bucket)
    upload = drop(place)

    first, again = taken(upload, place), taken(upload, place)

    assert first == again
    assert len(batches(place)) == 1
    assert list(waiting(place)) == [KEY]
    assert [call for call, _ in bucket_of(place).calls].count("put_file") == 1
    assert keys(place, "inbox/.taken/") == [upload.taken]


def test_what_has_no_receipt_yet_is_seen_first(place: Desk) -> None:
    answered = drop(place)
    bucket_of(place).lay(answered.receipt, b"{}")
    drop(place, key="retouch/inbox/z.csv")

    assert list(waiting(place)) == ["retouch/inbox/z.csv", KEY]


def test_only_manifests_are_taken_from_the_inbox(place: Desk) -> None:
    names = ("a.csv", "team/b.JSONL.gz", "photos/c.jpg", "a.csv.1234.receipt.json", "done/x/d.csv", ".taken/e.json")
    for name in names:
        bucket_of(place).lay(f"retouch/inbox/{name}", b"")

    assert list(waiting(place)) == ["retouch/inbox/a.csv", "retouch/inbox/team/b.JSONL.gz"]


def test_an_odd_file_name_is_no_path(place: Desk) -> None:
    long = "x" * 300

    receipt = taken(drop(place, key=f"retouch/inbox/{long}.csv"), place)

    assert receipt is not None
    assert receipt["state"] == "open"


def _away(*_: object) -> None:
    raise Unavailable
