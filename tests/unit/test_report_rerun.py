"""failed.csv against the real planner: run alone, from another folder, without a flag, it asks for the same edits."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from config.catalogue import shipped_catalogue
from jobs.batch import Table
from jobs.job import Job, State
from jobs.outcome import outcome
from jobs.report.joining import Joined
from jobs.report.tables import Failed, Results, results_name
from jobs.row import Row
from producers.manifest.checking import RowChecker
from producers.manifest.learnt import Terms
from producers.manifest.opened import open_manifest
from producers.manifest.options import PlanOptions
from producers.manifest.rows import RawRow

FLAGS = PlanOptions(
    prompt="=put the {product} on {ground}",
    model="flux-2-flex",
    output="{name}/{category}/{id|slug}.{ext}",
    fields={"output_format": "png"},
    references=("wall one.png",),
    buckets=frozenset({"shop"}),
)
PLAIN = PlanOptions(buckets=frozenset({"shop"}))
COLUMNS = ("id", "image", "ref_2", "product", "ground", "category", "model", "prompt", "seed", "guidance", "note")
ROWS = (
    ("", "café 100% #1.png", "", 'red "cup"; large, new', "oak\ttable", "kitchen", "", "", "7", "5", "=1+1"),
    (
        "b",
        "s3://shop/b c.jpg",
        "https://x.example/r?s=1&a=%20",
        "chair",
        "",
        "k",
        "flux-2-pro",
        "  two\nlines, {x} ",
        "",
        "",
        "-2",
    ),
    (
        "c",
        "https://x.example/c.webp",
        "wall one.png",
        "lamp",
        "",
        "Lights",
        "flux-2-max",
        "“plain” – ÄÖ",
        "",
        "",
        " a,b ",
    ),
)


def write(path: Path, *, delimiter: str = ",", newline: str = "\n", encoding: str = "utf-8") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=delimiter, lineterminator=newline).writerows([COLUMNS, *ROWS])
    return path


def plan(path: Path, options: PlanOptions, name: str) -> tuple[Table, list[Row]]:
    manifest = open_manifest(path)
    columns, folder = manifest.table.columns, path.parent
    terms = Terms(columns=columns, options=options, catalogue=shipped_catalogue(), folder=folder, name=name)
    checker = RowChecker(terms)
    rows: list[Row] = []
    for raw in manifest.rows():
        assert isinstance(raw, RawRow)
        row = checker.check(raw)
        assert isinstance(row, Row), row
        rows.append(row)
    checker.judge.finish()
    return manifest.table, rows


def report(folder: Path, table: Table, rows: list[Row]) -> Path:
    """Write the report's tables as if every row had failed, and return the failed file."""
    folder.mkdir()
    with Failed(folder, table, folder) as failed, Results(folder, table) as results:
        for row in rows:
            joined = Joined(row, outcome(Job(order=row.order("b"), state=State.FAILED, reason="api_error")))
            failed.add(joined)
            results.add(joined)
        path = failed.write()
    assert path is not None
    return path


def own(row: Row) -> list[str]:
    """Return the cells that mean nothing to Retouch."""
    assert isinstance(row.cells, tuple)
    return [row.cells[COLUMNS.index(name)] for name in ("product", "ground", "category", "note")]


def asked(rows: list[Row]) -> list[tuple[object, ...]]:
    return [(row.number, row.id, row.request, row.output, row.expected, row.at_most) for row in rows]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "shop"
    home.mkdir()
    Image.new("RGB", (64, 48)).save(home / "café 100% #1.png")
    Image.new("RGB", (32, 32)).save(home / "wall one.png")
    return home


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_the_failed_table_alone_asks_for_the_same_edits_under_the_same_keys(
    folder: Path, delimiter: str, newline: str, encoding: str
) -> None:
    manifest = write(folder / "m.csv", delimiter=delimiter, newline=newline, encoding=encoding)
    first_table, first = plan(manifest, FLAGS, "autumn")

    again_table, again = plan(report(folder.parent / "report", first_table, first), PLAIN, "failed")

    assert asked(again) == asked(first)
    assert (again_table.delimiter, again_table.newline) == (delimiter, newline)
    assert again_table.columns[: len(first_table.columns)] == first_table.columns
    assert [own(row) for row in again] == [own(row) for row in first]


def test_the_failed_rows_that_failed_again_still_ask_for_the_same(folder: Path) -> None:
    table, first = plan(write(folder / "m.csv"), FLAGS, "autumn")
    again_table, again = plan(report(folder.parent / "one", table, first), PLAIN, "failed")

    third_table, third = plan(report(folder.parent / "two", again_table, again), PLAIN, "failed")

    assert asked(third) == asked(first)
    assert third_table.columns == again_table.columns


def test_failed_json_lines_alone_ask_for_the_same_edits_under_the_same_keys(folder: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"id": "a", "input_image": "café 100% #1.png", "product": "cup", "ground": 1.5, "category": "k", "tags": ["x"]},
        {
            "input_image": "s3://shop/c.jpg",
            "product": "c",
            "category": "k",
            "ground": "o",
            "input_image_2": "s3://shop/r.jpg",
        },
        {"input_image": "s3://shop/b.jpg", "product": 'a "b"', "category": True, "ground": "oak", "steps": 20},
    ]
    (folder / "m.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    table, first = plan(folder / "m.jsonl", FLAGS, "autumn")

    _, again = plan(report(folder.parent / "report", table, first), PLAIN, "failed")

    assert asked(again) == asked(first)


def test_results_can_be_run_again_as_a_manifest_with_the_same_flags(folder: Path) -> None:
    table, first = plan(write(folder / "m.csv"), FLAGS, "autumn")
    report(folder / "report", table, first)
    (folder / results_name(table)).write_bytes((folder / "report" / results_name(table)).read_bytes())

    _, again = plan(folder / results_name(table), FLAGS, "autumn")

    assert asked(again) == asked(first)


def test_a_row_whose_url_the_api_fetches_itself_is_planned_again_that_way(folder: Path) -> None:
    manifest = folder / "m.csv"
    manifest.write_text("id,image\na,https://x.example/a.jpg\nb,s3://shop/b.jpg\n")
    table, first = plan(manifest, replace(FLAGS, prompt="p", output=None, references=(), pass_urls=True), "autumn")

    _, again = plan(report(folder.parent / "report", table, first), PLAIN, "failed")

    assert [row.request.pass_urls for row in again] == [True, False]
    assert asked(again) == asked(first)


def test_a_column_that_was_said_to_be_data_is_left_out_of_what_is_run_again(folder: Path) -> None:
    manifest = folder / "m.csv"
    manifest.write_text("id,image,width\na,s3://shop/a.jpg,90\n")
    flags = PlanOptions(prompt="p", buckets=frozenset({"shop"}), data_columns=frozenset({"width"}))
    table, first = plan(manifest, flags, "autumn")

    again_table, again = plan(
        report(folder.parent / "report", replace(table, data_columns=("width",)), first), PLAIN, "failed"
    )

    assert "width" not in again_table.columns
    assert asked(again) == asked(first)
