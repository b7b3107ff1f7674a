"""One firing of a schedule, carried out once, whoever asks and wherever it was cut off."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from PIL import Image

from jobs.bucket.rows import rows_of
from jobs.errors import Refused, Unavailable
from jobs.known.line import Known
from jobs.known.state import Changes, NameState
from jobs.shares import Priority
from producers.intake.desk import Desk, Lost, alone
from producers.intake.firing import batch_of, fire, let_go
from producers.schedules.file import Flags, Joined, Schedule
from producers.schedules.history import History, Record
from tests.fakes import FakeBucket
from tests.unit.intaking import HEADER, NOW, Clock, batches, desk, keys, lines

PATTERN = "{sku}_{position}.{ext}"
FIRING = NOW.replace(second=0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def place(tmp_path: Path, clock: Clock) -> Desk:
    return desk(tmp_path, clock)


@pytest.fixture
def nightly(tmp_path: Path) -> Schedule:
    (tmp_path / "autumn.csv").write_text(HEADER + lines(10), encoding="utf-8")
    return Schedule(
        name="autumn", cron="30 22 * * *", manifest=str(tmp_path / "autumn.csv"), max_cost_usd=5, settle_s=0
    )


def write(schedule: Schedule, text: str) -> None:
    Path(schedule.places[0]).write_text(HEADER + text, encoding="utf-8")


def run(schedule: Schedule, place: Desk, firing: datetime = FIRING, **more: bool) -> Record | None:
    return fire(schedule, firing, place, **more)


def history(place: Desk) -> History:
    return History("autumn", place.bucket, place.layout)


def test_a_firing_opens_one_batch_with_the_ceiling_that_was_agreed(nightly: Schedule, place: Desk) -> None:
    record = run(nightly, place)

    assert record is not None
    assert (record.outcome, record.rows, record.invalid, record.delta) == ("opened", 10, 0, 10)
    (batch,) = batches(place)
    assert (batch.id, batch.rows, batch.ceiling, batch.name) == (record.batch, 10, 5_000_000, "autumn")
    assert batch.id == batch_of(nightly, FIRING)
    assert batch.id.startswith("autumn-20261122-223000-")


def test_a_firing_that_is_asked_for_again_does_nothing(nightly: Schedule, place: Desk) -> None:
    run(nightly, place)

    assert run(nightly, place) is None
    assert len(batches(place)) == 1
    assert len(history(place).records()) == 1


def test_who_comes_while_another_is_at_it_leaves_it_alone(nightly: Schedule, place: Desk) -> None:
    with alone(place, "schedule:autumn"):
        assert run(nightly, place) is None

    assert batches(place) == []


@pytest.mark.parametrize("cut", ["record", "ledger", "mark"])
def test_a_run_that_was_cut_off_is_gone_on_with_and_not_planned_anew(
    nightly: Schedule, place: Desk, cut: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = cast("FakeBucket", place.bucket)
    with monkeypatch.context() as broken:
        match cut:
            case "record":
                broken.setattr(History, "write", _away)
            case "ledger":
                broken.setattr(type(place.ledger), "open_batch", _away)
            case "mark":
                bucket.failing["delete"] = Unavailable()
        with pytest.raises(Unavailable):
            run(nightly, place)
        bucket.failing.clear()
    write(nightly, lines(3))  # another manifest by now

    record = run(nightly, place)

    assert record is not None
    assert (record.outcome, record.rows) == ("opened", 10)
    assert [batch.rows for batch in batches(place)] == [10]
    assert keys(place, f"batches/{record.batch}/planned") == []


def test_an_opened_batch_that_redis_has_lost_is_not_opened_again_from_its_plan(
    nightly: Schedule, place: Desk, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(History, "write", _away)
        with pytest.raises(Unavailable):
            run(nightly, place)
    emptied = desk(tmp_path, clock, bucket=cast("FakeBucket", place.bucket))

    record = run(nightly, emptied)

    assert record is not None
    assert record.outcome == "opened"
    assert batches(emptied) == []


def test_who_has_lost_the_lock_leaves_the_plan_to_the_other(
    nightly: Schedule, place: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks = iter([True, False])
    monkeypatch.setattr(place.ledger, "lock", lambda *_: next(locks, False))

    with pytest.raises(Lost):
        run(nightly, place)

    assert batches(place) == []
    assert history(place).records() == []
    assert keys(place, "batches/") != []


def test_invalid_rows_are_left_out_and_reported(nightly: Schedule, place: Desk) -> None:
    write(nightly, lines(9) + "bad,,on white\n")

    record = run(nightly, place)

    assert record is not None
    assert (record.outcome, record.rows, record.invalid) == ("opened", 10, 1)
    assert batches(place)[0].skipped == 1
    assert b"image_missing" in place.bucket.get(record.errors)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no rows"),
        (lines(3) + "a,,x\nb,,x\n", "2 of 5 rows are invalid"),
        ("a,,x\n", "None of its 1 rows can be used"),
    ],
)
def test_a_broken_source_is_held_and_opens_nothing(nightly: Schedule, place: Desk, text: str, why: str) -> None:
    write(nightly, text)

    record = run(nightly, place)

    assert record is not None
    assert record.outcome == "held"
    assert why in record.why
    assert batches(place) == []
    assert [key for key in keys(place, "batches/") if not key.endswith("errors.csv")] == []


def test_a_source_that_is_gone_is_held(nightly: Schedule, place: Desk) -> None:
    Path(nightly.places[0]).unlink()

    record = run(nightly, place)

    assert record is not None
    assert (record.outcome, "there is no file" in record.why) == ("held", True)


def test_a_source_that_shrank_is_held_unless_a_person_wants_it_anyway(nightly: Schedule, place: Desk) -> None:
    run(nightly, place)
    write(nightly, lines(8))

    held = run(nightly, place, FIRING + timedelta(days=1))
    forced = run(nightly, place, FIRING + timedelta(days=1), by_hand=True, anyway=True)

    assert held is not None
    assert forced is not None
    assert (held.outcome, "shrunk from 10 rows to 8" in held.why) == ("held", True)
    assert (forced.outcome, forced.rows) == ("opened", 8)
    assert held.batch != forced.batch


def test_only_new_and_changed_rows_count_as_the_delta(nightly: Schedule, place: Desk) -> None:
    run(nightly, place)
    write(nightly, lines(9) + lines(1, first=10, prompt="on black") + lines(2, first=11))

    record = run(nightly, place, FIRING + timedelta(days=1))

    assert record is not None
    assert record.delta == 3


def test_a_delta_of_over_ten_times_the_usual_is_held(nightly: Schedule, place: Desk) -> None:
    for night in range(4):
        write(nightly, lines(100, prompt="on white") if night == 0 else lines(100 + 2 * night))
        run(nightly, place, FIRING + timedelta(days=night))
    write(nightly, lines(106, prompt="on black"))

    record = run(nightly, place, FIRING + timedelta(days=4))

    assert record is not None
    assert (record.outcome, "over 10 times the usual 2" in record.why) == ("held", True)


def test_a_paused_schedule_passes_by_and_a_person_may_still_run_it(nightly: Schedule, place: Desk) -> None:
    history(place).pause(True)

    passed = run(nightly, place)
    by_hand = run(nightly, place, by_hand=True)

    assert passed is not None
    assert by_hand is not None
    assert (passed.outcome, by_hand.outcome) == ("paused", "opened")


def test_a_manifest_that_is_still_written_to_waits(nightly: Schedule, place: Desk, clock: Clock) -> None:
    settling = nightly.model_copy(update={"settle_s": 60})
    os.utime(nightly.places[0], (clock() - 10, clock() - 10))

    early = run(settling, place)
    clock.at += timedelta(seconds=51)
    later = run(settling, place)

    assert early is None
    assert later is not None
    assert later.outcome == "opened"


def test_a_manifest_that_is_written_to_for_over_an_hour_is_held_whenever_its_firing_was(
    nightly: Schedule, place: Desk, clock: Clock
) -> None:
    settling = nightly.model_copy(update={"settle_s": 60})

    found = []
    for minutes in (8 * 60, 59, 2):  # it was caught up after eight hours
        clock.at += timedelta(minutes=minutes)
        os.utime(nightly.places[0], (clock() - 10, clock() - 10))
        found.append(run(settling, place))

    assert found[:2] == [None, None]
    assert found[2] is not None
    assert (found[2].outcome, "written to for over an hour" in found[2].why) == ("held", True)


@pytest.mark.parametrize(("settle", "ahead"), [(0, 5), (60, 7200)])
def test_a_clock_of_another_machine_that_runs_ahead_does_not_keep_a_run_waiting(
    nightly: Schedule, place: Desk, clock: Clock, settle: int, ahead: int
) -> None:
    os.utime(nightly.places[0], (clock() + ahead, clock() + ahead))

    record = run(nightly.model_copy(update={"settle_s": settle}), place)

    assert record is not None
    assert record.outcome == "opened"


def test_a_manifest_in_the_bucket_names_pictures_beside_it(nightly: Schedule, place: Desk) -> None:
    cast("FakeBucket", place.bucket).lay("exports/autumn.csv", b"id,image,prompt\na,photos/a.jpg,on white\n")
    remote = nightly.model_copy(update={"manifest": "s3://bucket/exports/autumn.csv"})

    record = run(remote, place)

    assert record is not None
    row = json.loads(place.bucket.get(f"retouch/batches/{record.batch}/plan/1/flux/000000.jsonl"))
    assert row["request"]["inputs"] == ["s3://bucket/exports/photos/a.jpg"]


def test_everything_under_a_prefix_is_edited_with_one_prompt(nightly: Schedule, place: Desk) -> None:
    for name in ("chair_1.jpg", "chair_2.jpg", "readme.txt"):
        cast("FakeBucket", place.bucket).lay(f"photos/autumn/{name}", b"x")
    flags = Flags(prompt="{sku} on white", pattern="{sku}_{position}.{ext}")
    remote = nightly.model_copy(update={"manifest": "s3://bucket/photos/autumn/", "flags": flags})

    record = run(remote, place)

    assert record is not None
    assert (record.outcome, record.rows) == ("opened", 2), record.why
    row = json.loads(place.bucket.get(f"retouch/batches/{record.batch}/plan/1/flux/000000.jsonl").splitlines()[0])
    assert row["request"]["prompt"] == "chair on white"
    assert row["request"]["inputs"] == ["s3://bucket/photos/autumn/chair_1.jpg"]


def test_pictures_under_a_prefix_are_joined_with_a_table_of_another_one(nightly: Schedule, place: Desk) -> None:
    for name in ("chair_1.jpg", "chair_2.jpg", "lamp_1.jpg", "sofa_1.jpg", "stool_1.jpg", "bed_1.jpg"):
        cast("FakeBucket", place.bucket).lay(f"photos/{name}", b"x")
    table = "sku,title,ref_1\nchair,a chair,a/wall.jpg\nlamp,a lamp,\nsofa,a sofa,\nstool,a stool,\nvase,a vase,\n"
    cast("FakeBucket", place.bucket).lay("exports/products.csv", table.encode())
    joined = Joined(prefix="s3://bucket/photos", table="s3://bucket/exports/products.csv", pattern=PATTERN, join="sku")
    update = {"manifest": joined, "flags": Flags(prompt="{title}, view {position}")}

    record = run(nightly.model_copy(update=update), place)

    assert record is not None
    assert (record.outcome, record.rows, record.invalid, record.without_picture) == ("opened", 6, 1, 1), record.why
    told = place.bucket.get(record.errors).decode()
    assert ("picture_without_row" in told, "row_without_picture" in told) == (True, True)
    row = json.loads(place.bucket.get(f"retouch/batches/{record.batch}/plan/1/flux/000000.jsonl").splitlines()[0])
    assert row["request"]["prompt"] == "a chair, view 1"
    assert row["request"]["inputs"] == ["s3://bucket/photos/chair_1.jpg", "s3://bucket/photos/a/wall.jpg"]
    assert batches(place)[0].manifest == "s3://bucket/photos/ joined with s3://bucket/exports/products.csv by sku"


def test_many_pictures_without_a_row_hold_the_run(nightly: Schedule, place: Desk, tmp_path: Path) -> None:
    for n in range(4):
        Image.new("RGB", (8, 8)).save(tmp_path / f"chair{n}_1.png")
    (tmp_path / "products.csv").write_text("sku\nchair0\nchair1\n", encoding="utf-8")
    joined = Joined(prefix=str(tmp_path), table=str(tmp_path / "products.csv"), pattern=PATTERN, join="sku")
    update = {"manifest": joined, "flags": Flags(prompt="on white")}

    record = run(nightly.model_copy(update=update), place)

    assert record is not None
    assert (record.outcome, record.why) == ("held", "2 of 4 rows are invalid, over 20%.")
    assert record.errors


@pytest.mark.parametrize("fresh", ["photos/a_1.png", "products.csv"])
def test_pictures_and_table_have_both_to_settle(
    nightly: Schedule, place: Desk, clock: Clock, tmp_path: Path, fresh: str
) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "a_1.png")
    (tmp_path / "products.csv").write_text("sku\na\n", encoding="utf-8")
    for path in (tmp_path / "photos", tmp_path / "photos" / "a_1.png", tmp_path / "products.csv"):
        os.utime(path, (clock() - 900, clock() - 900))
    os.utime(tmp_path / fresh, (clock() - 10, clock() - 10))
    table, prefix = str(tmp_path / "products.csv"), str(tmp_path / "photos")
    joined = Joined(prefix=prefix, table=table, pattern=PATTERN, join="sku")
    settling = nightly.model_copy(update={"manifest": joined, "flags": Flags(prompt="on white"), "settle_s": 60.0})

    early = run(settling, place)
    clock.at += timedelta(seconds=51)
    later = run(settling, place)

    assert early is None
    assert later is not None
    assert later.outcome == "opened"


def test_a_prefix_that_is_still_uploaded_to_waits(nightly: Schedule, place: Desk, clock: Clock) -> None:
    bucket = cast("FakeBucket", place.bucket)
    bucket.modified = clock() - 10
    bucket.lay("photos/autumn/a.jpg", b"x")
    update = {"manifest": "s3://bucket/photos/autumn/", "flags": Flags(prompt="on white"), "settle_s": 60.0}
    settling = nightly.model_copy(update=update)

    early = run(settling, place)
    clock.at += timedelta(seconds=51)
    later = run(settling, place)

    assert early is None
    assert later is not None
    assert later.outcome == "opened"


def test_a_folder_that_is_still_written_to_waits(nightly: Schedule, place: Desk, clock: Clock, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    picture = folder / "deep" / "a.jpg"
    picture.write_bytes(b"x")
    for path in (folder, folder / "deep"):
        os.utime(path, (clock() - 900, clock() - 900))
    os.utime(picture, (clock() - 10, clock() - 10))
    update = {"manifest": str(folder), "flags": Flags(prompt="on white"), "settle_s": 60.0}

    assert run(nightly.model_copy(update=update), place) is None


def test_a_bucket_that_may_not_be_read_is_held(nightly: Schedule, place: Desk) -> None:
    record = run(nightly.model_copy(update={"manifest": "s3://other/autumn.csv"}), place)

    assert record is not None
    assert "RETOUCH_S3__INPUT_BUCKETS" in record.why


def test_a_source_without_rights_is_held_and_one_that_is_away_is_asked_again(nightly: Schedule, place: Desk) -> None:
    bucket = cast("FakeBucket", place.bucket)
    bucket.lay("autumn.csv", b"x")
    remote = nightly.model_copy(update={"manifest": "s3://bucket/autumn.csv"})

    bucket.failing["download"] = Unavailable()
    with pytest.raises(Unavailable):
        run(remote, place)
    bucket.failing["download"] = Refused("give the credentials s3:GetObject")
    record = run(remote, place)

    assert record is not None
    assert (record.outcome, "s3:GetObject" in record.why) == ("held", True)


def test_flags_are_those_of_a_submit(nightly: Schedule, place: Desk) -> None:
    Path(nightly.places[0]).write_text("image,title\nhttps://example.com/a.jpg,chair\n", encoding="utf-8")
    flags = Flags(prompt="the {title} on white", name="winter", field={"seed": 7}, overwrite=True)

    record = run(nightly.model_copy(update={"flags": flags}), place)

    assert record is not None
    (batch,) = batches(place)
    row = json.loads(place.bucket.get(f"retouch/batches/{record.batch}/plan/1/flux/000000.jsonl"))
    assert (batch.name, batch.overwrite) == ("winter", True)
    assert (row["request"]["prompt"], row["request"]["params"]["seed"]) == ("the chair on white", 7)


def test_a_missed_firing_is_recorded_and_never_run(nightly: Schedule, place: Desk) -> None:
    assert let_go(nightly, FIRING, place)

    assert run(nightly, place) is None
    assert [record.outcome for record in history(place).records()] == ["missed"]


def test_a_firing_that_was_begun_is_not_let_go(nightly: Schedule, place: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(History, "write", _away)
        with pytest.raises(Unavailable):
            run(nightly, place)

    assert not let_go(nightly, FIRING, place)


def test_a_record_of_a_later_release_is_read(nightly: Schedule, place: Desk) -> None:
    record = run(nightly, place)
    assert record is not None
    key = history(place).key(FIRING)
    text = json.loads(place.bucket.get(key)) | {"mood": "good"}
    place.bucket.put(key, json.dumps(text).encode())

    assert history(place).records() == [replace(record)]


def _away(*_: object) -> None:
    raise Unavailable


def end(place: Desk, record: Record, failed: set[str]) -> None:
    """Write what a finished batch leaves."""
    states = {f"r{n}": "failed" if f"r{n}" in failed else "stored" for n in range(1, 11)}
    text = "".join(json.dumps({"id": id_, "state": state}) + "\n" for id_, state in states.items())
    place.bucket.put(place.layout.batch(record.batch, "outcomes.jsonl"), text.encode())


def nights(schedule: Schedule, place: Desk, count: int, failed: set[str], first: int = 0) -> list[Record]:
    found = []
    for night in range(first, first + count):
        record = run(schedule, place, FIRING + timedelta(days=night))
        assert record is not None
        end(place, record, failed)
        found.append(record)
    return found


def test_what_failed_is_taken_along_for_three_nights_and_then_left_out(nightly: Schedule, place: Desk) -> None:
    found = nights(nightly, place, 6, {"r3"})

    assert [record.left_out for record in found] == [0, 0, 0, 0, 1, 1]
    assert [batch.rows for batch in batches(place)] == [10, 10, 10, 10, 9, 9]
    assert batches(place)[-1].expected == round(batches(place)[0].expected * 0.9)


def test_a_row_that_was_left_out_is_tried_again_when_it_changes(nightly: Schedule, place: Desk) -> None:
    nights(nightly, place, 5, {"r3"})
    write(nightly, lines(2) + lines(1, first=3, prompt="on black") + lines(7, first=4))

    found = nights(nightly, place, 5, {"r3"}, first=5)

    assert [record.left_out for record in found] == [0, 0, 0, 0, 1]


def hopeless(schedule: Schedule, place: Desk, tmp_path: Path, where: str) -> Schedule:
    """Return a schedule of ten pictures, here or in the bucket, of which the third has failed in four runs."""
    for n in range(1, 11):
        if where == "here":
            Image.new("RGB", (8, 8)).save(tmp_path / f"{n}.png")
            os.utime(tmp_path / f"{n}.png", (0, 0))
        else:
            cast("FakeBucket", place.bucket).lay(f"in/{n}.png", b"x")
    base = "" if where == "here" else "s3://bucket/in/"
    text = "".join(f"r{n},{base}{n}.png,on white\n" for n in range(1, 11))
    Path(schedule.places[0]).write_text(HEADER + text, encoding="utf-8")
    nights(schedule, place, 4, {"r3"})
    return schedule


@pytest.mark.parametrize("where", ["here", "in the bucket"])
def test_a_row_that_was_left_out_is_tried_again_when_its_picture_was_replaced(
    nightly: Schedule, place: Desk, tmp_path: Path, clock: Clock, where: str
) -> None:
    clock.at = clock.at.replace(year=2100)  # long after the files were made
    schedule = hopeless(nightly, place, tmp_path, where)
    left_out = nights(schedule, place, 1, {"r3"}, first=4)
    if where == "here":
        Image.new("RGB", (8, 8), "red").save(tmp_path / "3.png")
        os.utime(tmp_path / "3.png", (clock() + 60, clock() + 60))
    else:
        cast("FakeBucket", place.bucket).modified = clock() + 60
        cast("FakeBucket", place.bucket).lay("in/3.png", b"y")

    found = nights(schedule, place, 2, {"r3"}, first=5)

    assert [record.left_out for record in left_out + found] == [1, 0, 0]


def test_a_row_that_made_it_once_begins_anew(nightly: Schedule, place: Desk) -> None:
    nights(nightly, place, 3, {"r3"})
    nights(nightly, place, 1, set(), first=3)

    found = nights(nightly, place, 4, {"r3"}, first=4)

    assert [record.left_out for record in found] == [0, 0, 0, 0]


def test_a_batch_that_still_runs_counts_for_nothing(nightly: Schedule, place: Desk) -> None:
    for night in range(6):
        record = run(nightly, place, FIRING + timedelta(days=night))
        assert record is not None
        assert record.left_out == 0


def test_new_rows_are_fed_before_those_that_are_known_and_reported_in_their_place(
    nightly: Schedule, place: Desk, tmp_path: Path
) -> None:
    run(nightly, place)
    with Changes(tmp_path, 10) as changes:
        for n in range(1, 11):
            changes.add(Known(output=f"autumn/r{n}.{{ext}}", id=f"r{n}", at=1.0))
        NameState("autumn", place.bucket, place.layout).write(changes)
    write(nightly, lines(2, first=11) + lines(10) + lines(1, first=13))

    record = run(nightly, place, FIRING + timedelta(days=1))

    assert record is not None
    batch = batches(place)[-1]
    text = place.bucket.get(place.layout.plan(batch.id, 1, "flux", 0)).decode()
    assert [json.loads(line)["id"] for line in text.splitlines()][:5] == ["r11", "r12", "r13", "r1", "r2"]
    assert [row.number for row in rows_of(batch, place.bucket, place.layout)] == list(range(1, 14))


def test_a_run_that_was_cut_off_before_it_was_opened_has_left_the_next_one_all_it_knows(
    nightly: Schedule, place: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = nights(nightly, place, 1, {"r3"})
    write(nightly, lines(10, prompt="on black"))
    with monkeypatch.context() as broken:
        broken.setattr(type(place.ledger), "open_batch", _away)
        with pytest.raises(Unavailable):
            run(nightly, place, FIRING + timedelta(days=1))
    found += nights(nightly, place, 2, set(), first=1)

    assert [record.delta for record in found] == [10, 10, 0]


def test_a_source_of_nothing_but_hopeless_rows_is_held(nightly: Schedule, place: Desk) -> None:
    nights(nightly, place, 4, {f"r{n}" for n in range(1, 11)})

    record = run(nightly, place, FIRING + timedelta(days=4))

    assert record is not None
    assert (record.outcome, "failed in 4 runs" in record.why) == ("held", True)


def test_a_run_is_as_urgent_as_its_schedule_says(nightly: Schedule, place: Desk) -> None:
    run(nightly.model_copy(update={"priority": Priority.URGENT, "by": "06:00", "time_zone": "UTC"}), place)

    (opened,) = batches(place)
    assert opened.priority is Priority.URGENT
    assert opened.by == datetime(2026, 11, 23, 6, 0, tzinfo=UTC).timestamp()
