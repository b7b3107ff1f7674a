"""The memory of staged pictures: a help that never lies and never stands in the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from producers.remembered import FILE, SETTLED_S, Looks, remembered

NOW = 1_800_000_000.0
PATH = Path("/photos/chair.jpg")
LOOKS = Looks(bytes=10, mtime=int((NOW - 60) * 1e9), inode=3, ctime=int((NOW - 50) * 1e9))


def test_what_was_noted_is_known_the_next_time(tmp_path: Path) -> None:
    with remembered(tmp_path / "data", now=lambda: NOW) as memory:
        memory.note(PATH, LOOKS, "retouch/inputs/aa/aa.jpg")

    with remembered(tmp_path / "data", now=lambda: NOW) as memory:
        assert memory.key_of(PATH, LOOKS) == "retouch/inputs/aa/aa.jpg"


@pytest.mark.parametrize("what", ["bytes", "mtime", "inode", "ctime"])
def test_a_picture_that_looks_different_in_anything_is_not_known(tmp_path: Path, what: str) -> None:
    with remembered(tmp_path, now=lambda: NOW) as memory:
        memory.note(PATH, LOOKS, "key")
        memory.save()

        assert memory.key_of(PATH, replace(LOOKS, **{what: 4})) == ""


def test_a_picture_that_changed_only_just_now_is_not_remembered(tmp_path: Path) -> None:
    recent = replace(LOOKS, ctime=int((NOW - SETTLED_S / 2) * 1e9))

    with remembered(tmp_path, now=lambda: NOW) as memory:
        memory.note(PATH, recent, "key")
        memory.save()

        assert memory.key_of(PATH, recent) == ""


def test_the_latest_note_of_a_path_holds(tmp_path: Path) -> None:
    other = replace(LOOKS, bytes=11)
    with remembered(tmp_path, now=lambda: NOW) as memory:
        memory.note(PATH, LOOKS, "old")
        memory.note(PATH, other, "new")
        memory.save()

        assert (memory.key_of(PATH, LOOKS), memory.key_of(PATH, other)) == ("", "new")


@pytest.mark.parametrize("trouble", ["text", "folder", "file"])
def test_a_memory_that_cannot_be_used_forgets_and_raises_nothing(tmp_path: Path, trouble: str) -> None:
    folder = tmp_path / "data"
    if trouble == "file":
        folder.write_text("")
    else:
        folder.mkdir()
        (folder / FILE).mkdir() if trouble == "folder" else (folder / FILE).write_text("this is no database" * 100)

    with remembered(folder, now=lambda: NOW) as memory:
        memory.note(PATH, LOOKS, "key")
        memory.save()

        assert memory.key_of(PATH, LOOKS) == ""


def test_two_memories_of_one_folder_see_what_each_has_saved(tmp_path: Path) -> None:
    with remembered(tmp_path, now=lambda: NOW) as one, remembered(tmp_path, now=lambda: NOW) as other:
        one.note(PATH, LOOKS, "key")
        one.save()

        assert other.key_of(PATH, LOOKS) == "key"
