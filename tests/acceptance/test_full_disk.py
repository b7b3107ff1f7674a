"""Disks that are full, where a command writes: said in one sentence, nothing half-written, and going on is possible.

The disks are real ones of a few megabytes (`tests.acceptance.small_disk`); where none can be mounted, what is left is
the test with a limit for each file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from producers.stack.local import LEAST_ROOM
from running.programs import Command, Document, eventually
from tests.acceptance.harness import MODEL, House, Said, picture
from tests.acceptance.small_disk import SmallDisk, small_disk
from tests.acceptance.terminal import WITHIN_S, person_env, tasks_in

RESULTS = 12
HEADER = "id,image,prompt,model\n"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "small", megabytes=4) as found:
        yield found


def told(said: Said, code: int, name: str) -> Document:
    """Return the error of a command that met a full disk: one sentence with its remedy, and no traceback."""
    assert said.code == code, said
    error: Document = said.document["error"]
    assert error["code"] == name
    assert error["remedy"]
    assert error["message"] in said.err
    assert "Traceback" not in said.out + said.err
    return error


def finished(house: House) -> str:
    """Return a batch that has ended, with results of some 100 KB each."""
    house.simulate("--result-size", "1024x1024")
    house.workers(1)
    batch = house.submit(house.manifest(house.rows(RESULTS)))
    house.finished(batch, WITHIN_S)
    return batch


def broken_files(house: House, batch: str, folder: Path) -> list[str]:
    """Return the files of a download that are not, byte for byte, what was published."""
    right = {line["sha256"] for line in house.books(batch).outcomes}
    pictures = [path for path in folder.rglob("*") if path.suffix in (".jpg", ".png", ".webp", ".part")]
    return [path.name for path in pictures if hashlib.sha256(path.read_bytes()).hexdigest() not in right]


def test_a_download_onto_a_full_disk_leaves_whole_files_and_goes_on_where_there_is_room(
    house: House, disk: SmallDisk
) -> None:
    batch = finished(house)
    one = house.books(batch).outcomes[0]["bytes"]
    disk.fill(leave=3 * one)

    said = house.begin("download", batch, "here", "--json", through=disk.inside).ended()
    broken = broken_files(house, batch, disk.files / "here")
    disk.make_room()
    again = house.begin("download", batch, "here", "--json", through=disk.inside).ended()

    error = told(said, 3, "disk_full")
    assert "here" in error["message"]
    assert broken == []
    assert again.code == 0, again
    assert again.document["written"] + again.document["same"] == RESULTS
    assert broken_files(house, batch, disk.files / "here") == []


def test_a_file_that_may_not_grow_is_told_in_the_same_way(house: House) -> None:
    batch = finished(house)

    said = house.begin("download", batch, "here", "--json", through=("prlimit", "--fsize=5000")).ended()

    told(said, 3, "disk_full")
    assert broken_files(house, batch, house.folder / "here") == []


def test_a_list_of_errors_that_has_no_room_is_one_error_and_nothing_is_enqueued(house: House, disk: SmallDisk) -> None:
    rows = "".join(f"row-{n},,p,{MODEL}\n" for n in range(5_000))
    (disk.files / "autumn.csv").write_text(f"{HEADER}good,s3://{house.servers.bucket.name}/a.png,p,{MODEL}\n{rows}")
    disk.fill(leave=100_000)
    before = house.records()

    said = house.begin(*house.submission(Path("autumn.csv")), through=disk.inside).ended()

    error = told(said, 2, "manifest")
    assert "errors.csv cannot be written" in error["message"]
    assert house.records() == before
    assert {path.name for path in disk.files.rglob("*") if path.is_file()} == {"autumn.csv", "ballast"}


def test_local_pictures_are_staged_although_nothing_can_be_remembered_of_them(house: House, disk: SmallDisk) -> None:
    house.simulate()
    house.workers(1)
    lines = []
    for n in range(3):
        (disk.files / f"{n}.png").write_bytes(picture(n))
        lines.append(f"row-{n},{n}.png,on white,{MODEL}\n")
    (disk.files / "autumn.csv").write_text(HEADER + "".join(lines))
    disk.fill()

    said = house.begin(*house.submission(Path("autumn.csv")), through=disk.inside).ended()

    assert said.code == 0, said
    assert house.ended(said.document["batch"], WITHIN_S).states == {"stored": 3}


def test_an_answer_that_has_no_room_is_still_said_to_the_person(house: House) -> None:
    manifest = house.manifest(house.rows(1))

    said = house.begin("plan", manifest, "--json", through=("sh", "-c", 'exec "$@" > /dev/full', "sh")).ended()

    assert (said.code, said.out) == (3, "")
    assert "The disk is full" in said.err
    assert "Traceback" not in said.err


# -- the local stack


MORE_THAN_AT_ONCE = 60
"""Rows of which none can be the last one when the first is at the API."""


def shop(folder: Path, rows: int) -> None:
    """Write a manifest and its pictures into a folder of which nothing else is known."""
    for n in range(rows):
        (folder / f"{n}.png").write_bytes(picture(n))
    lines = [f"row-{n},{n}.png,on white,{MODEL}\n" for n in range(rows)]
    (folder / "autumn.csv").write_text(HEADER + "".join(lines))


def run(disk: SmallDisk, folder: Path, **more: str) -> Command:
    """Give the command of somebody who has set nothing up."""
    arguments = ["run", "autumn.csv", "--simulate", "--yes", "--json"]
    return Command(arguments, person_env(**more), folder, through=disk.inside)


def test_a_local_stack_is_not_started_where_it_would_soon_be_out_of_room(disk: SmallDisk, tmp_path: Path) -> None:
    assert disk.room < LEAST_ROOM
    shop(disk.files, 1)

    said = run(disk, tmp_path).ended()

    assert "MB left" in told(said, 3, "local_stack")["message"]
    assert {path.name for path in (disk.files / "retouch-data").iterdir()} <= {"stack.lock"}


def test_a_local_stack_whose_disk_gets_full_ends_with_that_sentence_and_loses_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", megabytes=600) as disk:  # room for what is bought, too
        shop(disk.files, MORE_THAN_AT_ONCE)
        command = run(disk, tmp_path)
        eventually(lambda: tasks_in(disk.files), WITHIN_S, "a first edit at the API")

        disk.fill()
        said = command.ended(WITHIN_S)
        disk.make_room()
        status = Command(["status", "--json"], person_env(), tmp_path, through=disk.inside).ended(WITHIN_S)

    assert "MB left, so redis ended" in told(said, 3, "local_stack")["message"]
    (batch,) = status.document["batches"]
    assert batch["rows"] == sum(batch["counts"].values()) == MORE_THAN_AT_ONCE


def test_results_that_cannot_be_brought_home_are_told_of_and_stay_in_the_store(disk: SmallDisk, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    shop(home, 3)
    disk.fill()
    everywhere = {"RETOUCH_OUT_DIR": str(disk.place / "out")}
    arguments = ["run", "autumn.csv", "--simulate", "--yes", "--json"]

    said = Command(arguments, person_env(**everywhere), home, through=disk.seen_from(home)).ended(WITHIN_S)
    batch = said.document["batch"]
    brought = Command(["download", batch, "here", "--json"], person_env(), home).ended(WITHIN_S)

    error = told(said, 3, "disk_full")
    assert "results lie in the local store" in error["message"]
    assert f"retouch download {batch}" in error["remedy"]
    assert (said.document["state"], said.document["counts"]["stored"]) == ("done", 3)
    assert (brought.code, json.loads(brought.out)["written"]) == (0, 3)
