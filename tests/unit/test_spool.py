"""The spool: paid results on a worker's disk, whole or not at all, and never more than there is room for."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from jobs.job import Job, State
from jobs.pictures import check_result
from tests.unit.desks import START, make_order, picture, receipt
from tests.unit.disks import user_elsewhere
from workers.spool.about import About
from workers.spool.room import LEFT_FREE, Room
from workers.spool.spool import NotKept, Spool
from workers.spool.users import Users

RESULT = picture(colour="red")
SEEN = check_result(RESULT, content_length=None)
JOB = Job(order=make_order(1), state=State.READY, fingerprint="f" * 64, receipt=receipt("t1"), fence=3)
HOME = "s3://bucket/retouch/"


def opened(folder: Path, limit: int = 1_000_000, home: str = HOME) -> Spool:
    return Spool(folder, limit, home=home, now=lambda: START)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    found = opened(tmp_path / "spool")
    yield found
    found.close()


# -- results


def test_a_result_is_found_again_as_it_was_delivered(spool: Spool) -> None:
    spool.keep(JOB, RESULT, SEEN)

    kept = spool.find(JOB)

    assert kept is not None
    assert spool.read(kept) == RESULT
    assert (kept.about.job, kept.about.task_id, kept.about.format, kept.about.home) == ("b.1", "t1", "png", HOME)
    assert (kept.path / "result.png").read_bytes() == RESULT


def test_a_later_process_finds_it_on_the_same_disk_and_another_disk_has_another_name(
    spool: Spool, tmp_path: Path
) -> None:
    spool.keep(JOB, RESULT, SEEN)

    later, elsewhere = opened(spool.folder), opened(tmp_path / "other")

    assert [kept.about.job for kept in later.all()] == ["b.1"]
    assert later.id == spool.id != elsewhere.id
    assert list(elsewhere.all()) == []


@pytest.mark.parametrize(
    "other",
    [
        replace(JOB, order=make_order(2)),
        replace(JOB, receipt=receipt("t2")),
        replace(JOB, receipt=None),
        replace(JOB, fingerprint="e" * 64),
    ],
    ids=["another row", "another task", "no task", "another request"],
)
def test_a_result_is_nobody_elses(spool: Spool, other: Job) -> None:
    spool.keep(JOB, RESULT, SEEN)

    assert spool.find(other) is None


def test_keeping_it_again_changes_nothing(spool: Spool) -> None:
    spool.keep(JOB, RESULT, SEEN)
    spool.keep(JOB, RESULT, SEEN)

    assert len(list(spool.all())) == 1
    assert list((spool.folder / "coming").iterdir()) == []


def test_two_who_begin_on_a_new_disk_at_once_give_it_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link, others = os.link, []

    def linked(new: Path, path: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        others.append(opened(tmp_path))  # it comes, and sweeps, between the file and its name
        link(new, path)

    monkeypatch.setattr(os, "link", linked)

    first = opened(tmp_path)

    assert [other.id for other in others] == [first.id]
    assert list((tmp_path / "coming").iterdir()) == []


def test_what_was_let_go_is_gone(spool: Spool) -> None:
    spool.keep(JOB, RESULT, SEEN)

    spool.let_go(JOB)
    spool.let_go(JOB)

    assert spool.find(JOB) is None
    assert list((spool.folder / "coming").iterdir()) == []


def test_results_of_another_bucket_are_left_alone_and_still_take_room(spool: Spool) -> None:
    spool.keep(JOB, RESULT, SEEN)

    other = opened(spool.folder, home="s3://another/retouch/")

    assert list(other.all()) == []
    assert other.seen("").results == 1


def test_more_than_the_limit_is_not_kept_unless_it_would_be_lost(tmp_path: Path) -> None:
    spool = opened(tmp_path, limit=len(RESULT) + 1)
    spool.keep(JOB, RESULT, SEEN)
    second = replace(JOB, order=make_order(2))

    with pytest.raises(NotKept, match="RETOUCH_WORKER__SPOOL_BYTES"):
        spool.keep(second, RESULT, SEEN)
    spool.keep(second, RESULT, SEEN, anyway=True)

    assert {kept.about.job for kept in spool.all()} == {"b.1", "b.2"}


def test_a_disk_that_fails_is_told_in_one_error(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(NotKept, match="No space left on device"):
        spool.keep(JOB, RESULT, SEEN)

    assert spool.find(JOB) is None
    assert list((spool.folder / "coming").iterdir()) == []


def test_a_result_is_on_the_disk_before_its_name_is(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def synced(descriptor: int) -> None:
        done.append(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
        fsync(descriptor)

    def renamed(path: Path, target: Path) -> Path:
        done.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)

    spool.keep(JOB, RESULT, SEEN)

    before, after = done[: done.index("rename")], done[done.index("rename") + 1 :]
    assert before[:2] == ["fsync result.png", "fsync about.json"]
    assert len(before) == 3, "and the folder they are in"
    assert after == ["fsync kept"]


@pytest.mark.parametrize("spoilt", ["result.png", "about.json"])
@pytest.mark.parametrize("how", ["cut", "gone", "other"])
def test_what_the_disk_has_spoilt_is_set_aside_and_never_believed(spool: Spool, spoilt: str, how: str) -> None:
    spool.keep(JOB, RESULT, SEEN)
    (kept,) = spool.all()
    file = kept.path / spoilt
    changed = {"cut": file.read_bytes()[:-9], "other": b"{}" + b"x" * 50}
    file.write_bytes(changed[how]) if how in changed else file.unlink()

    found = spool.find(JOB)
    data = spool.read(found) if found is not None else None

    assert data is None
    assert list(spool.all()) == []
    assert len(list((spool.folder / "damaged").iterdir())) == 1


def test_what_was_let_go_since_it_was_found_is_not_called_damaged(spool: Spool) -> None:
    spool.keep(JOB, RESULT, SEEN)
    found = spool.find(JOB)
    assert found is not None
    spool.let_go(JOB)

    with capture_logs() as said:
        data = spool.read(found)

    assert data is None
    assert said == []


def test_half_of_what_a_dead_process_wrote_is_swept_away_and_what_a_living_one_writes_is_not(spool: Spool) -> None:
    coming = spool.folder / "coming"
    (coming / "dead-0").mkdir()
    (coming / "dead-0" / "result.png").write_bytes(RESULT[:10])
    (user,) = [path.name for path in (spool.folder / "users").iterdir()]
    (coming / f"{user}-7").mkdir()

    later = opened(spool.folder)

    assert [path.name for path in coming.iterdir()] == [f"{user}-7"]
    assert list(later.all()) == []


def test_only_its_user_can_read_a_spool(spool: Spool) -> None:
    spool.keep(JOB, RESULT, SEEN)

    modes = {path.stat().st_mode & 0o077 for path in spool.folder.rglob("*")}

    assert modes == {0}


def test_what_lies_there_is_told_with_its_place(spool: Spool) -> None:
    spool.keep(JOB, RESULT, SEEN)

    seen = spool.seen("no answer")

    assert (seen.id, seen.folder) == (spool.id, str(spool.folder))
    assert (seen.results, seen.bytes, seen.limit, seen.trouble) == (1, len(RESULT), 1_000_000, "no answer")


def test_the_sidecar_of_a_later_release_is_read() -> None:
    about = About.of(JOB, RESULT, SEEN, home=HOME, at=START)

    assert About.from_json(about.as_json().replace('"version": 1', '"version": 2, "new": true')) == about


@given(text=st.one_of(st.text(), st.dictionaries(st.text(), st.text()).map(str), st.sampled_from(["[]", "1", "null"])))
def test_no_text_is_taken_for_a_sidecar_that_is_none(text: str) -> None:
    with pytest.raises(ValueError):
        About.from_json(text)


# -- room


def rooms(folder: Path, limit: int, *, lying: int = 0, free: int = 10**12) -> Room:
    users = Users(folder, secrets.token_hex(4))
    return Room(folder, users, limit, lying=lambda: lying, disk_free=lambda _: free)


def test_room_is_reserved_until_it_is_given_back(tmp_path: Path) -> None:
    room = rooms(tmp_path, 100)

    answers = [room.take(60), room.take(60), room.take(40)]
    room.give_back(60)

    assert answers == [True, False, True]
    assert room.take(60)


def test_what_lies_there_takes_room(tmp_path: Path) -> None:
    room = rooms(tmp_path, 100, lying=50)

    assert (room.take(51), room.take(50)) == (False, True)


def test_a_disk_that_is_nearly_full_has_no_room_whatever_the_limit(tmp_path: Path) -> None:
    room = rooms(tmp_path, 10**12, free=LEFT_FREE + 100)

    assert (room.take(60), room.take(60), room.take(40)) == (True, False, True)


def test_a_result_that_is_paid_already_is_reserved_for_all_the_same_and_nothing_new_beside_it(tmp_path: Path) -> None:
    room = rooms(tmp_path, 100)

    assert room.take(150, anyway=True)
    assert not room.take(1)
    room.give_back(150)
    assert room.take(100)


def test_processes_on_one_disk_share_its_room(tmp_path: Path) -> None:
    users = Users(tmp_path, "first")
    first, second = Room(tmp_path, users, 100, lying=lambda: 0, disk_free=lambda _: 10**12), rooms(tmp_path, 100)
    first.take(70)

    assert not second.take(31)
    assert second.take(30)
    users.close()
    assert second.take(70)


def test_the_room_of_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    text = """
        room = Room(folder, Users(folder, "victim"), 100, lying=lambda: 0, disk_free=lambda _: 10**12)
        room.take(80)
    """
    with user_elsewhere(tmp_path, text) as victim:
        room = rooms(tmp_path, 100)
        while_it_lives = room.take(80)
        victim.kill()
        victim.wait()

    assert not while_it_lives
    assert room.take(80)


@given(steps=st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(1, 60)), max_size=40))
def test_what_all_processes_have_reserved_never_exceeds_the_limit(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, bool, int]]
) -> None:
    folder = tmp_path_factory.mktemp("room")
    users = [rooms(folder, 100) for _ in range(3)]
    held: list[list[int]] = [[], [], []]

    for who, takes, size in steps:
        if takes and users[who].take(size):
            held[who].append(size)
        elif not takes and held[who]:
            users[who].give_back(held[who].pop())
        assert sum(map(sum, held)) <= 100
        assert [user.reserved for user in users] == [sum(sizes) for sizes in held]


def test_a_job_reserves_once_for_as_long_as_it_is_held(tmp_path: Path) -> None:
    spool = opened(tmp_path, limit=100)

    with spool.holding(JOB):
        answers = [spool.reserve(JOB, 80), spool.reserve(JOB, 80), spool.reserve(replace(JOB, fence=4), 80)]
        full = spool.full
    after = spool.reserve(replace(JOB, fence=4), 80)

    assert answers == [True, True, False]
    assert full
    assert after
    assert not spool.full


def test_a_disk_that_cannot_be_written_has_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = opened(tmp_path)

    def broken(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "pwrite", broken)

    assert not spool.reserve(JOB, 10)
    assert spool.full


# -- notes


def test_a_receipt_that_nobody_could_be_told_is_found_by_the_next_process(spool: Spool) -> None:
    spool.notes.write(replace(JOB, state=State.SUBMITTING), receipt("t9", cost=5))

    own = list(spool.notes.all())
    (note,) = opened(spool.folder).notes.all()

    assert own == [], "its thread still tries to tell it"
    assert note.receipt == receipt("t9", cost=5)
    assert (note.job.id, note.job.state, note.job.attempt, note.job.fence) == ("b.1", State.SUBMITTING, 1, 3)
    assert note.job.order == JOB.order


def test_a_note_whose_thread_gave_up_is_found_by_its_own_process(spool: Spool) -> None:
    spool.notes.write(JOB, receipt("t9"))

    spool.notes.let_go(JOB, receipt("t9"))

    assert [note.receipt.task_id for note in spool.notes.all()] == ["t9"]


def test_a_receipt_that_was_told_leaves_no_note(spool: Spool) -> None:
    spool.notes.write(JOB, receipt("t9"))

    spool.notes.told(JOB, receipt("t9"))
    spool.notes.told(JOB, receipt("never noted"))

    assert list(opened(spool.folder).notes.all()) == []


def test_a_note_that_cannot_be_read_is_set_aside_and_the_others_are_told(spool: Spool) -> None:
    spool.notes.write(JOB, receipt("t9"))
    (spool.folder / "notes" / "a.json").write_text("{")

    later = opened(spool.folder)

    assert [note.receipt.task_id for note in later.notes.all()] == ["t9"]
    assert [note.receipt.task_id for note in later.notes.all()] == ["t9"]
    assert (spool.folder / "notes" / "a.unreadable").exists()
