"""Excel workbooks: cells as their users mean them, and files that are not what they say."""

from __future__ import annotations

import datetime as dt
import re
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from jobs.row import IdleRow
from producers.manifest import formulas, workbook
from producers.manifest.opened import open_manifest
from producers.manifest.problems import ManifestError
from producers.manifest.rows import BrokenRow, Manifest, RawRow


def book(folder: Path, *rows: tuple[Any, ...], formats: dict[str, str] | None = None) -> Manifest:
    made = openpyxl.Workbook()
    sheet = made.active
    for row in rows:
        sheet.append(row)
    for place, shape in (formats or {}).items():
        sheet[place].number_format = shape
    path = folder / "autumn.xlsx"
    made.save(path)
    return open_manifest(path)


def cells(opened: Manifest) -> list[tuple[str, ...]]:
    return [row.cells for row in opened.rows() if isinstance(row, RawRow) and isinstance(row.cells, tuple)]


def refused(path: Path) -> ManifestError:
    with pytest.raises(ManifestError) as caught:
        list(open_manifest(path).rows())
    return caught.value


def test_the_first_visible_sheet_is_the_manifest(tmp_path: Path) -> None:
    made = openpyxl.Workbook()
    made.active.title = "notes"
    made.active.sheet_state = "hidden"
    sheet = made.create_sheet("Herbst")
    sheet.append(["id", "image"])
    sheet.append(["a", "a.jpg"])
    made.create_sheet("prices")
    made.save(tmp_path / "autumn.xlsx")

    opened = open_manifest(tmp_path / "autumn.xlsx")

    assert cells(opened) == [("a", "a.jpg")]
    assert opened.understood(2) == "autumn.xlsx: Excel, sheet 'Herbst' of 2, 1 row, 2 columns (2 used)"


@pytest.mark.parametrize(
    ("value", "shape", "text"),
    [
        (42, "00000", "00042"),
        (42, '"A-"0000', "A-0042"),
        (42, "0", "42"),
        (42.0, "General", "42"),
        (4006381333931, "General", "4006381333931"),
        (4006381333931, "0.00E+00", "4006381333931"),
        (4.5, "0.00", "4.5"),
        (1234567890123456789, "General", "1.23456789012346E+18"),
        (True, "General", "true"),
        (dt.date(2026, 3, 12), "dd.mm.yyyy", "2026-03-12"),
        (dt.datetime(2026, 3, 12, 8, 30), "dd.mm.yyyy hh:mm", "2026-03-12 08:30:00"),  # noqa: DTZ001
        ("  text ", "General", "  text "),
        (None, "General", ""),
    ],
)
def test_a_cell_is_the_text_that_its_user_means(tmp_path: Path, value: Any, shape: str, text: str) -> None:
    opened = book(tmp_path, ("a", "b", "c"), ("x", value, "y"), formats={"B2": shape})

    assert cells(opened) == [("x", text, "y")]


def test_the_line_of_a_row_is_its_row_in_the_sheet_and_empty_ones_are_none(tmp_path: Path) -> None:
    opened = book(tmp_path, ("id", "image", None), ("a", "a.jpg"), (None, " "), (), ("b",), (None, None))

    rows = [row for row in opened.rows() if isinstance(row, RawRow)]

    assert [(row.number, row.line, row.cells) for row in rows] == [(1, 2, ("a", "a.jpg")), (2, 5, ("b", ""))]
    assert [row for row in opened.rows() if isinstance(row, IdleRow)] == [
        IdleRow(record=2, cells=("", ""), times=2),
    ]


def test_results_of_a_workbook_are_a_csv_that_excel_opens(tmp_path: Path) -> None:
    table = book(tmp_path, ("id", "image"), ("a", "a.jpg")).table

    assert (table.form, table.encoding, table.bom, table.newline) == ("csv", "utf-8", True, "\r\n")


def test_a_formula_without_a_result_is_an_error_that_names_its_cell(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        book(tmp_path, ("id", "image"), ("a", "a.jpg"), ("b", '=A3&".jpg"'))

    assert (caught.value.line, caught.value.column) == (3, "image")
    assert "the cell B3 is a formula without a result" in caught.value.message
    assert "open it in Excel, save it" in caught.value.remedy


@pytest.mark.parametrize(
    ("cell", "wish", "text"),
    [
        ('<c r="B3" t="str"><f>A3&amp;".jpg"</f><v>b.jpg</v></c>', "0", "b.jpg"),
        ('<c r="B3" t="str"><f>""</f><v></v></c>', "0", ""),
        ('<c r="B3"><f>C1*2</f><v>0</v></c>', "0", "0"),
        ('<c r="B3"><f>C1*2</f><v>4</v></c>', "1", "4"),
        ('<c r="B3"><f>A3&amp;".jpg"</f><v>0</v></c>', "1", None),
        ('<c r="B3" t="str"><f>A3&amp;".jpg"</f></c>', "0", None),
        ('<c r="B3"><f t="shared" si="0"/></c>', "0", None),
    ],
)
def test_a_formula_counts_as_its_result_where_the_program_that_wrote_it_has_worked_it_out(
    tmp_path: Path, cell: str, wish: str, text: str | None
) -> None:
    book(tmp_path, ("id", "image"), ("a", "a.jpg"), ("b", "here"))
    path = tmp_path / "worked-out.xlsx"
    with zipfile.ZipFile(tmp_path / "autumn.xlsx") as plain, zipfile.ZipFile(path, "w") as other:
        for name in plain.namelist():
            data = plain.read(name).decode()
            data = re.sub(r'<c r="B3".*?</c>', lambda _: cell, data)
            other.writestr(name, data.replace('fullCalcOnLoad="1"', f'fullCalcOnLoad="{wish}"'))

    if text is None:
        assert "B3" in refused(path).message
    else:
        assert cells(open_manifest(path)) == [("a", "a.jpg"), ("b", text)]


@pytest.mark.parametrize("block", range(40, 60))
def test_a_formula_is_found_wherever_the_sheet_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(formulas, "_BLOCK", block)
    monkeypatch.setattr(formulas, "_TAIL", 30)

    with pytest.raises(ManifestError, match="the cell C4 is a formula"):
        book(tmp_path, ("id", "image", "n"), ("a", "a.jpg", 1), ("b", "b.jpg", 2), ("c", "c.jpg", "=C3+1"))


def test_an_empty_sheet_is_refused(tmp_path: Path) -> None:
    made = openpyxl.Workbook()
    made.save(tmp_path / "a.xlsx")

    assert "is empty" in refused(tmp_path / "a.xlsx").message


def test_a_sheet_with_a_header_only_is_refused(tmp_path: Path) -> None:
    book(tmp_path, ("id", "image"))

    assert "no rows" in refused(tmp_path / "autumn.xlsx").message


def test_a_workbook_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    book(tmp_path, ("id", "image"), ("a", "b"))
    path = tmp_path / "autumn.xlsx"
    path.write_bytes(path.read_bytes()[:-200])

    assert "damaged" in refused(path).message


def test_a_workbook_with_a_broken_sheet_is_refused(tmp_path: Path) -> None:
    book(tmp_path, ("id", "image"), ("a", "b"))
    with (
        zipfile.ZipFile(tmp_path / "autumn.xlsx") as good,
        zipfile.ZipFile(tmp_path / "bad.xlsx", "w", zipfile.ZIP_DEFLATED) as bad,
    ):
        for name in good.namelist():
            data = good.read(name)
            bad.writestr(name, data[:-60] if "sheet1" in name else data)

    assert "damaged" in refused(tmp_path / "bad.xlsx").message


def test_a_zip_archive_that_is_no_workbook_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.csv", "w") as archive:
        archive.writestr("autumn.csv", "id,image\n")

    assert "ZIP archive" in refused(tmp_path / "a.csv").message


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/worksheets/sheet1.xml", b" " * 20_000_000)

    assert "bomb" in refused(tmp_path / "a.xlsx").message


def test_texts_that_do_not_fit_in_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "MAX_SHARED_BYTES", 100)
    made = openpyxl.Workbook()
    made.active.append(["id", "image"])
    made.save(tmp_path / "a.xlsx")

    assert "of texts" in refused(tmp_path / "a.xlsx").message


def test_a_long_cell_is_a_problem_of_its_row_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "MAX_CELL", 1_000)

    opened = book(tmp_path, ("id", "note"), ("a", "x" * 1_001), ("b", "y"))
    rows = list(opened.rows())

    assert isinstance(rows[0], BrokenRow)
    assert (rows[0].problem.line, rows[0].problem.column) == (2, "note")
    assert isinstance(rows[1], RawRow)


def test_a_workbook_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    opened = book(tmp_path, ("id", "image"), ("a", "b"))
    with (tmp_path / "autumn.xlsx").open("ab") as file:
        file.write(b"x")

    with pytest.raises(ManifestError, match="changed while it was read"):
        list(opened.rows())
