"""Who died on a disk: known by the lock that is gone, and taken over at once by who works there."""

from __future__ import annotations

import fcntl
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.errors import LedgerError, Superseded
from jobs.job import Job, State
from jobs.queues import EDIT
from tests.unit.desks import House, make_house
from tests.unit.disks import user_elsewhere
from workers.drain import Drain
from workers.spool import users
from workers.spool.users import User, Users
from workers.tick import take_over_ended

VICTIM = 'Users(folder, "victim", owner="w0")'


def ended(seen: Users) -> list[User]:
    with seen.alone():
        return list(seen.ended())


# -- the proof


def test_a_process_that_was_killed_is_known_to_be_dead_and_one_that_stands_still_is_not(tmp_path: Path) -> None:
    seen = Users(tmp_path, "seen")

    with user_elsewhere(tmp_path, f"user = {VICTIM}") as victim:
        victim.send_signal(signal.SIGSTOP)
        while_it_stands_still = ended(seen)
        victim.kill()
        victim.wait()
        (dead,) = ended(seen)

    assert while_it_stands_still == []
    assert (dead.name, dead.owner, dead.lock_is_known) == ("victim", "w0", True)


def test_a_process_that_has_left_is_not_looked_for(tmp_path: Path) -> None:
    seen, gone = Users(tmp_path, "seen"), Users(tmp_path, "gone", owner="w0")

    gone.close()

    assert ended(seen) == []


def test_a_process_that_is_just_joining_is_not_taken_for_dead(tmp_path: Path) -> None:
    seen = Users(tmp_path, "seen")
    found: list[User] = []

    def join(first: int) -> None:
        for number in range(first, first + 100):
            Users(tmp_path, str(number), owner="w0").close()

    joining = [threading.Thread(target=join, args=(first,)) for first in (0, 100)]
    for thread in joining:
        thread.start()
    while any(thread.is_alive() for thread in joining):
        found += ended(seen)

    assert found == []


def test_a_lock_that_another_kernel_gave_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "boot_id"
    there.write_text("another\n")
    with monkeypatch.context() as patch:
        patch.setattr(users, "_KERNEL", there)
        die(Users(tmp_path, "elsewhere", owner="w0"))

    (dead,) = ended(Users(tmp_path, "seen"))

    assert dead.owner == "w0"
    assert not dead.lock_is_known


def test_without_a_kernel_that_has_a_name_nothing_is_proved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "_KERNEL", tmp_path / "none")
    die(Users(tmp_path, "dead", owner="w0"))

    (dead,) = ended(Users(tmp_path, "seen"))

    assert not dead.lock_is_known


@pytest.mark.parametrize("text", ["", "80", "80                  {", '80                  {"owner": "w0"}', "\0" * 60])
def test_a_file_that_does_not_say_whose_it_is_is_nobodys(tmp_path: Path, text: str) -> None:
    seen = Users(tmp_path, "seen")
    (tmp_path / "users" / "torn").write_text(text)

    (found,) = ended(seen)

    assert (found.name, found.owner, found.lock_is_known) == ("torn", "", False)


def test_on_a_disk_that_is_full_one_works_all_the_same_and_leaves_no_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    seen = Users(tmp_path, "seen")
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        user = Users(tmp_path, "w0", owner="w0")
    while_it_lives = ended(seen)
    die(user)
    (dead,) = ended(seen)

    assert while_it_lives == []
    assert not dead.lock_is_known


# -- taking over


def die(user: Users) -> None:
    """End as a process that was killed: the lock goes, the file stays."""
    os.close(user._own)


def shared(tmp_path: Path) -> tuple[House, Callable[[], None]]:
    """Return a house with a batch whose disk a worker `w0` has, too, and the death of that."""
    house = make_house(folder=tmp_path)
    house.open()
    user = Users(tmp_path, "victim", owner="w0")
    return house, lambda: die(user)


def held(house: House, job: Job) -> Job:
    """Return the job as `w0` holds it: the house's own worker has claimed it under that name."""
    hot = house.ledger._hot[job.id]
    hot.job = replace(hot.job, owner="w0")
    return hot.job


@pytest.mark.parametrize("state", [State.RUNNING, State.READY])
def test_a_paid_job_of_a_dead_neighbour_is_given_on_before_its_lease_lapses(tmp_path: Path, state: State) -> None:
    house, dies = shared(tmp_path)
    held(house, house.running() if state is State.RUNNING else house.ready())
    dies()

    take_over_ended(house.desk)

    assert (house.stands().state, house.stands().owner) == (state, "")
    assert (EDIT, "b.1", True) in house.sent


def test_what_a_dead_neighbour_had_sent_is_in_doubt(tmp_path: Path) -> None:
    house, dies = shared(tmp_path)
    held(house, house.ledger.mark_sent(house.begun()))
    dies()

    take_over_ended(house.desk)

    assert (house.stands().state, house.stands().doubts) == (State.IN_DOUBT, 1)


def test_what_a_dead_neighbour_had_not_sent_goes_back_unspent(tmp_path: Path) -> None:
    house, dies = shared(tmp_path)
    held(house, house.begun())
    dies()

    take_over_ended(house.desk)

    assert (house.stands().state, house.stands().attempt, house.stands().doubts) == (State.QUEUED, 1, 0)


def test_a_neighbour_that_only_is_slow_keeps_what_it_has(tmp_path: Path) -> None:
    house, _ = shared(tmp_path)
    job = held(house, house.running())

    take_over_ended(house.desk)

    assert house.stands() == job
    assert house.sent == []


def test_if_the_proof_were_wrong_the_living_owner_could_send_nothing_any_more(tmp_path: Path) -> None:
    house, dies = shared(tmp_path)
    job = held(house, house.begun())
    dies()

    take_over_ended(house.desk)

    with pytest.raises(Superseded):
        house.ledger.mark_sent(job)
    assert house.ledger.renew("w0", {job.id: job.fence}) == [job.id]


def test_what_the_lock_does_not_prove_is_left_to_the_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house, dies = shared(tmp_path)
    job = held(house, house.running())
    dies()
    monkeypatch.setattr(users, "_KERNEL", tmp_path / "none")

    take_over_ended(house.desk)

    assert house.stands() == job
    assert house.desk.spool.ended() == [], "its file says nothing that could be used later"


def test_two_who_find_the_same_dead_take_over_once(tmp_path: Path) -> None:
    house, dies = shared(tmp_path)
    held(house, house.running())
    dies()
    stale = house.ledger.held_by("w0")

    take_over_ended(house.desk)
    with_stale = replace(house.desk, ledger=Stale(house.ledger, stale))  # type: ignore[arg-type]
    take_over_ended(with_stale)

    assert house.sent == [(EDIT, "b.1", True)]


class Stale:
    """A ledger as one saw it who looked a moment ago."""

    def __init__(self, ledger: object, held: object) -> None:
        self._ledger, self._held = ledger, held

    def held_by(self, owner: str) -> object:
        return self._held

    def __getattr__(self, name: str) -> object:
        return getattr(self._ledger, name)


def test_the_dead_are_forgotten_when_nothing_of_theirs_is_left(tmp_path: Path) -> None:
    house, dies = shared(tmp_path)
    held(house, house.running())
    dies()

    take_over_ended(house.desk)
    once = house.desk.spool.ended()
    take_over_ended(house.desk)

    assert [user.owner for user in once] == ["w0"]
    assert house.desk.spool.ended() == []


def test_the_dead_are_remembered_while_redis_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house, dies = shared(tmp_path)
    held(house, house.running())
    dies()

    def away(owner: str) -> list[Job]:
        raise LedgerError("away")

    with monkeypatch.context() as patch:
        patch.setattr(house.ledger, "held_by", away)
        Drain(house.desk).once()
    assert house.stands().owner == "w0"
    Drain(house.desk).once()

    assert house.stands().owner == ""


def test_a_disk_that_cannot_be_read_keeps_nobody_from_working(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house, _ = shared(tmp_path)

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", broken)

    take_over_ended(house.desk)
