"""Listing few folders instead of asking for many objects."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from producers.folders import LEAST, Folders


def folders(uris: list[str]) -> list[str]:
    found = Folders()
    found.add(uris, len(uris))
    return list(found.found())


def test_objects_of_one_folder_are_listed_together() -> None:
    assert folders([f"s3://b/autumn/{n}.png" for n in range(100)]) == ["s3://b/autumn/"]


def test_a_folder_for_every_object_is_listed_with_its_neighbours() -> None:
    assert folders([f"s3://b/autumn/{n}/main.png" for n in range(100)]) == ["s3://b/autumn/"]


def test_few_folders_that_lie_apart_are_listed_each() -> None:
    assert folders(["s3://b/winter/a/1.png", "s3://b/autumn/1.png", "s3://c/1.png"]) == [
        "s3://b/autumn/",
        "s3://b/winter/a/",
        "s3://c/",
    ]


def test_a_folder_in_another_is_not_listed_twice() -> None:
    assert folders(["s3://b/autumn/chairs/1.png", "s3://b/autumn/1.png", "s3://b/autumn2/1.png"]) == [
        "s3://b/autumn/",
        "s3://b/autumn2/",
    ]


@given(
    st.lists(st.lists(st.sampled_from(["a", "b", "ä", "a-b", "0"]), min_size=1, max_size=5).map("/".join), max_size=200)
)
def test_every_object_lies_in_exactly_one_folder_and_there_are_never_many(keys: list[str]) -> None:
    uris = [f"s3://b/{key}" for key in keys]

    found = folders(uris)

    assert len(found) <= LEAST
    assert all(sum(uri.startswith(folder) for folder in found) == 1 for uri in uris)
