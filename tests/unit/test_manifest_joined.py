"""Pictures joined with a table: what becomes a row, and what is told of what has no counterpart."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from openpyxl import Workbook
from PIL import Image

from config.catalogue import shipped_catalogue
from jobs.row import Row
from producers.manifest.problems import ManifestError
from producers.plan import Plan, PlanOptions, make_plan

PATTERN = "{sku}_{position}.{ext}"
TABLE = "sku,product_name\nchair,Stuhl\ntable,Tisch\n"


class Shop:
    """A folder of pictures beside a table."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.table = folder / "products.csv"
        self.photos = folder / "photos"
        self.photos.mkdir()
        self.errors = folder / "errors.csv"

    def picture(self, *names: str) -> None:
        for name in names:
            Image.new("RGB", (8, 8)).save(self.photos / name)

    def plan(self, text: str = TABLE, **said: Any) -> tuple[Plan, list[Row]]:
        if text:
            self.table.write_text(text, encoding="utf-8")
        rows: list[Row] = []
        options = PlanOptions(
            **{"prompt": "the {product_name}", "pattern": PATTERN, "table": self.table, "join": "sku", **said}
        )
        made = make_plan(self.photos, options, shipped_catalogue(), errors_csv=self.errors, sink=rows.append)
        return made, rows

    def told(self) -> list[tuple[str, str]]:
        with self.errors.open(encoding="utf-8-sig", newline="") as file:
            return [(line["line"], line["code"]) for line in csv.DictReader(file)]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_each_picture_is_a_row_with_the_cells_of_its_row_in_the_table(shop: Shop) -> None:
    shop.picture("chair_1.png", "chair_2.png", "table_1.png")

    made, rows = shop.plan()

    assert made.table.columns == ("image", "id", "sku", "position", "product_name")
    assert [row.cells for row in rows] == [
        ("chair_1.png", "chair_1", "chair", "1", "Stuhl"),
        ("chair_2.png", "chair_2", "chair", "2", "Stuhl"),
        ("table_1.png", "table_1", "table", "1", "Tisch"),
    ]
    assert [row.request.prompt for row in rows] == ["the Stuhl", "the Stuhl", "the Tisch"]
    assert (made.invalid, made.unmatched, made.errors_csv) == (0, 0, None)


def test_a_picture_without_a_row_is_a_bad_row_and_a_row_without_a_picture_is_only_told(shop: Shop) -> None:
    shop.picture("chair_1.png", "lamp_1.png")

    made, rows = shop.plan()

    assert [row.id for row in rows] == ["chair_1"]
    assert (made.invalid, made.unmatched, made.problem_count) == (1, 1, 2)
    assert shop.told() == [("2", "picture_without_row"), ("3", "row_without_picture")]
    assert "1 picture without a row, 1 row without a picture" in made.understood
    assert "joined with products.csv by sku" in made.understood


def test_a_name_that_does_not_fit_the_pattern_stays_a_bad_row(shop: Shop) -> None:
    shop.picture("chair_1.png", "table_1.png", "cover.png")

    made, _ = shop.plan()

    assert (made.rows, made.invalid) == (2, 1)
    assert shop.told() == [("2", "name_unfit")]


def test_of_two_rows_with_one_key_the_second_is_refused_and_never_used(shop: Shop) -> None:
    shop.picture("chair_1.png", "table_1.png")

    made, rows = shop.plan(TABLE + "chair,Sessel\n")

    assert [row.cells[-1] for row in rows if isinstance(row.cells, tuple)] == ["Stuhl", "Tisch"]
    assert made.invalid == 1
    assert shop.told() == [("4", "join_unfit")]


@pytest.mark.parametrize("key", ["", "4,00638E+12"])
def test_a_key_that_is_empty_or_damaged_is_refused(shop: Shop, key: str) -> None:
    shop.picture("chair_1.png", "table_1.png")

    shop.plan(TABLE + f'"{key}",Sessel\n')

    assert shop.told() == [("4", "join_unfit")]


@pytest.mark.parametrize(("name", "key"), [("stu\u0308hle", "st\u00fchle"), ("st\u00fchle", "stu\u0308hle")])
def test_keys_are_the_same_in_either_unicode_form_and_with_spaces_around_them(shop: Shop, name: str, key: str) -> None:
    shop.picture(f"{name}_1.png")

    _, rows = shop.plan(f"sku,product_name\n {key} ,Stuhl\n")

    assert [row.cells[-1] for row in rows if isinstance(row.cells, tuple)] == ["Stuhl"]


def test_columns_that_the_names_make_as_well_are_told_apart(shop: Shop) -> None:
    shop.picture("chair_1.png")

    made, rows = shop.plan("sku,product_name,id,position\nchair,Stuhl,4711,left\n")

    assert made.table.columns == ("image", "id", "sku", "position", "product_name", "table_id", "table_position")
    assert rows[0].cells == ("chair_1.png", "chair_1", "chair", "1", "Stuhl", "4711", "left")


def test_a_column_of_the_table_means_what_it_means_in_any_manifest(shop: Shop) -> None:
    shop.picture("chair_1.png", "table_1.png")

    text = "sku;prompt;guidance\nchair;on white;4,5\ntable;on black;3,5\n"
    _, rows = shop.plan(text, model="flux-2-flex", prompt=None)

    assert [row.request.prompt for row in rows] == ["on white", "on black"]
    assert [row.request.params["guidance"] for row in rows] == [4.5, 3.5]


def test_a_table_of_json_lines_is_joined_and_lists_stay_as_they_are(shop: Shop) -> None:
    shop.picture("chair_1.png", "42_1.png")
    lines = [{"sku": "chair", "product_name": "Stuhl"}, {"sku": 42, "product_name": "Lampe", "tags": ["a", "b"]}]

    made, rows = shop.plan("".join(json.dumps(line) + "\n" for line in lines))

    assert made.table.columns == ("image", "id", "sku", "position", "product_name", "tags")
    assert [row.cells[-2:] for row in rows if isinstance(row.cells, tuple)] == [("Lampe", '["a", "b"]'), ("Stuhl", "")]


def test_a_workbook_is_joined(shop: Shop) -> None:
    shop.picture("chair_1.png")
    book = Workbook()
    assert book.active is not None
    for line in (("sku", "product_name"), ("chair", "Stuhl")):
        book.active.append(line)
    book.save(shop.folder / "products.xlsx")

    _, rows = shop.plan("", table=shop.folder / "products.xlsx")

    assert tuple(rows[0].cells)[-1] == "Stuhl"


def test_a_broken_line_of_the_table_leaves_the_others_alone(shop: Shop) -> None:
    shop.picture("chair_1.png", "table_1.png")

    made, _ = shop.plan("sku,product_name\nchair,Stuhl\ntable,Tisch\nlamp\n")

    assert (made.rows, made.invalid) == (2, 1)
    assert shop.told() == [("4", "row_cells")]


@pytest.mark.parametrize(
    ("text", "said", "why"),
    [
        ("SKU,product_name\nchair,Stuhl\n", {}, "no column 'sku' to join by"),
        ('{"art": "chair"}\n', {}, "no column 'sku' to join by"),
        (TABLE, {"pattern": "{name}_{position}.{ext}"}, "the pattern has no {sku} to join by"),
        ("sku\n", {}, "no rows"),
        ("sku,id,table_id\nchair,1,2\n", {}, "two columns are named 'table_id'"),
    ],
)
def test_a_table_that_cannot_be_joined_is_one_error(shop: Shop, text: str, said: dict[str, Any], why: str) -> None:
    shop.picture("chair_1.png")

    with pytest.raises(ManifestError, match=why.replace("{", r"\{")):
        shop.plan(text, **said)


def test_only_pictures_are_joined(shop: Shop) -> None:
    shop.table.write_text(TABLE, encoding="utf-8")
    options = PlanOptions(prompt="p", table=shop.table, join="sku")

    with pytest.raises(ManifestError, match="only a folder or a prefix"):
        make_plan(shop.table, options, shipped_catalogue(), errors_csv=shop.errors)
