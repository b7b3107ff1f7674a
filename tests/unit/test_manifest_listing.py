"""A folder or a prefix as a manifest: which files are rows, and what their names mean."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from config.catalogue import shipped_catalogue
from jobs.bucket.port import Head
from jobs.row import Row
from producers.manifest.listing import Pattern
from producers.manifest.output import batch_name
from producers.manifest.problems import ManifestError
from producers.plan import Plan, PlanOptions, make_plan

KEYS = ("in/a_1.jpg", "in/", "in/sub/a_2.png", "in/list.csv", "retouch/results/aa/x.jpg", "other/b_1.jpg")


def objects(bucket: str, prefix: str) -> Iterator[Head]:
    return (Head(key=key, bytes=1) for key in sorted(KEYS) if bucket == "shop" and key.startswith(prefix))


def plan(path: Path, errors: Path, **said: Any) -> tuple[Plan, list[Row]]:
    rows: list[Row] = []
    options = PlanOptions(**{"prompt": "p", "buckets": frozenset({"shop"}), "bucket": "shop", **said})
    made = make_plan(path, options, shipped_catalogue(), errors_csv=errors, sink=rows.append, objects=objects)
    return made, rows


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "autumn"
    for name in ("CHAIR-7_1.jpg", "CHAIR-7_2.JPG", "table/oak_1.png", ".hidden.jpg", "retouch-out/old.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / name)
    (folder / "Thumbs.db").write_bytes(b"x")
    return folder


def test_each_picture_of_a_folder_is_a_row(photos: Path, tmp_path: Path) -> None:
    made, rows = plan(photos, tmp_path / "errors.csv")

    assert [(row.number, row.id, row.output) for row in rows] == [
        (1, "CHAIR-7_1", "autumn/chair-7-1.{ext}"),
        (2, "CHAIR-7_2", "autumn/chair-7-2.{ext}"),
        (3, "table/oak_1", "autumn/table-oak-1.{ext}"),
    ]
    assert rows[2].request.inputs == ((photos / "table" / "oak_1.png").as_uri(),)
    assert made.understood == f"{photos}/: a folder, 1 other file left out, 3 rows, 2 columns (2 used)"


def test_a_pattern_makes_columns_of_the_names(photos: Path, tmp_path: Path) -> None:
    said = {"pattern": "{sku}_{position}.{ext}", "group": "sku", "output": "{sku|lower}/{position|pad2}.{ext}"}

    _, rows = plan(photos, tmp_path / "errors.csv", prompt="tidy {sku}", **said)

    assert [(row.group, row.output) for row in rows] == [
        ("CHAIR-7", "chair-7/01.{ext}"),
        ("CHAIR-7", "chair-7/02.{ext}"),
        ("oak", "oak/01.{ext}"),
    ]
    assert rows[0].request.prompt == "tidy CHAIR-7"


def test_a_pattern_with_slashes_is_about_the_folders_too(photos: Path, tmp_path: Path) -> None:
    made, rows = plan(photos, tmp_path / "errors.csv", pattern="{kind}/{id}.{ext}")

    assert [(row.id, row.cells) for row in rows] == [("oak_1", ("table/oak_1.png", "table", "oak_1"))]
    assert [problem.code for problem in made.problems] == ["name_unfit", "name_unfit"]


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("{sku", "brace"),
        ("plain.jpg", "no {name}"),
        ("{a}{b}.jpg", "nothing stands between"),
        ("{a}_{a}.jpg", "twice"),
        ("{image}", "whole path"),
    ],
)
def test_a_pattern_that_cannot_be_used_says_why(pattern: str, says: str) -> None:
    with pytest.raises(ManifestError, match=says):
        Pattern(pattern)


def test_a_pattern_is_not_for_a_table(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image\ns3://shop/a.jpg\n")

    with pytest.raises(ManifestError, match="--pattern is about names"):
        plan(tmp_path / "a.csv", tmp_path / "errors.csv", pattern="{a}.{ext}")


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")

    with pytest.raises(ManifestError, match=r"no picture in .* \(1 other file\)"):
        plan(tmp_path, tmp_path / "errors.csv")


def test_a_loop_of_links_is_a_bad_row_and_not_a_loop(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "round").symlink_to(folder)
    (folder / "a.jpg").symlink_to(folder / "b.jpg")
    (folder / "b.jpg").symlink_to(folder / "a.jpg")

    made, rows = plan(folder, tmp_path / "errors.csv")

    assert not rows
    assert [problem.code for problem in made.problems] == ["image_unreadable", "image_unreadable"]


def test_what_lies_under_a_prefix_is_a_manifest(tmp_path: Path) -> None:
    made, rows = plan(Path("s3://shop/in/"), tmp_path / "errors.csv", pattern="{sku}_{position}.{ext}")

    assert [row.request.inputs for row in rows] == [("s3://shop/in/a_1.jpg",), ("s3://shop/in/sub/a_2.png",)]
    assert made.understood == "s3://shop/in/: a prefix, 1 other file left out, 2 rows, 4 columns (2 used)"
    assert (made.manifest, made.name) == ("s3://shop/in/", "in")


def test_retouchs_own_part_of_a_bucket_is_never_listed(tmp_path: Path) -> None:
    _, rows = plan(Path("s3://shop"), tmp_path / "errors.csv")

    assert [row.id for row in rows] == ["in/a_1", "in/sub/a_2", "other/b_1"]


def test_a_prefix_of_a_bucket_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="RETOUCH_S3__INPUT_BUCKETS"):
        plan(Path("s3://private/in/"), tmp_path / "errors.csv")


def test_a_folder_that_is_here_gives_its_real_name_to_the_batch(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos / "table")

    assert batch_name(Path()) == "table"
    assert batch_name(Path("..")) == "autumn"
