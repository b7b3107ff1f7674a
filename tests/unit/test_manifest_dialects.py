"""The dialects of Excel, PIMs and shop systems: what is read, what is said, and that it is written back the same."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from config.catalogue import shipped_catalogue
from jobs.report.lines import TableFile
from jobs.row import IdleRow, Row
from producers.manifest.opened import open_manifest
from producers.manifest.problems import ManifestError
from producers.manifest.rows import BrokenRow, Manifest, RawRow
from producers.plan import Plan, PlanOptions, make_plan


def manifest(folder: Path, content: bytes | str, name: str = "autumn.csv") -> Manifest:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_manifest(path)


def read(opened: Manifest) -> list[RawRow]:
    return [row for row in opened.rows() if isinstance(row, RawRow)]


def plan(folder: Path, content: bytes | str, name: str = "autumn.csv") -> tuple[Plan, list[Row]]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    rows: list[Row] = []
    options = PlanOptions(prompt="p", model="flux-2-flex", buckets=frozenset({"shop"}))
    made = make_plan(path, options, shipped_catalogue(), errors_csv=folder / "errors.csv", sink=rows.append)
    return made, rows


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;", "sep=;;;;"])
def test_a_line_that_names_the_delimiter_is_no_header(tmp_path: Path, line: str) -> None:
    opened = manifest(tmp_path, f"{line}\r\nid;image\r\n1;a,b.jpg\r\n")

    rows = read(opened)

    assert opened.table.columns == ("id", "image")
    assert [(row.number, row.line, row.cells) for row in rows] == [(1, 3, ("1", "a,b.jpg"))]
    assert (opened.table.delimiter, opened.table.sep, opened.table.newline) == (";", line, "\r\n")


def test_the_line_that_names_the_delimiter_may_name_an_unusual_one(tmp_path: Path) -> None:
    opened = manifest(tmp_path, "sep=^\nid^image\n1^a;b,c.jpg\n")

    assert [row.cells for row in read(opened)] == [("1", "a;b,c.jpg")]


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_utf_16_with_a_mark_is_read(tmp_path: Path, codec: str) -> None:
    opened = manifest(tmp_path, "\ufeffid\timage\r\n1\tStühle 😀.jpg\r\n".encode(codec))

    assert [row.cells for row in read(opened)] == [("1", "Stühle 😀.jpg")]
    assert (opened.table.encoding, opened.table.bom, opened.table.delimiter) == (codec, True, "\t")
    assert opened.understood(2) == "autumn.csv: UTF-16, TAB, 1 row, 2 columns (2 used)"


def test_utf_16_that_breaks_off_in_a_letter_is_refused_with_a_line(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="not UTF-16") as caught:
        manifest(tmp_path, "\ufeffid,image\n1,a.jpg\n".encode("utf-16-le") + b"x")

    assert caught.value.line == 3


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("sep", [False, True])
def test_a_table_is_written_back_byte_for_byte(
    tmp_path: Path, encoding: str, delimiter: str, newline: str, sep: bool
) -> None:
    mark = "\ufeff" if encoding.startswith("utf-16") else ""
    first = f"sep={delimiter}{newline}" if sep else ""
    lines = [("id", "image", "note"), ("1", "a.jpg", "Öl"), ("2", "b.jpg", "two\nlines"), ("3", "c.jpg", 'a "b"')]
    text = first + "".join(
        delimiter.join(f'"{c}"' if set(c) & set('"\n') else c for c in row) + newline for row in lines
    )
    text = text.replace('"a "b""', '"a ""b"""')
    source = (mark + text).encode(encoding)
    opened = manifest(tmp_path, source)

    with TableFile(tmp_path / "back.csv", opened.table) as file:
        file.row(opened.table.columns)
        for row in read(opened):
            assert isinstance(row.cells, tuple)
            file.row(row.cells)

    assert (tmp_path / "back.csv").read_bytes() == source


def test_rows_whose_cells_are_all_empty_have_no_number_and_are_kept_as_they_were(tmp_path: Path) -> None:
    opened = manifest(tmp_path, "id;image;note\n1;a.jpg;x\n;;\n ; ;\n2;b.jpg;\n\n;;\n;;\n")

    assert [(row.number, row.line, row.record) for row in read(opened)] == [(1, 2, 1), (2, 5, 4)]
    assert [row for row in opened.rows() if isinstance(row, IdleRow)] == [
        IdleRow(record=2, cells=("", "", "")),
        IdleRow(record=3, cells=(" ", " ", "")),
        IdleRow(record=5, cells=("", "", ""), times=2),
    ]


def test_a_million_blank_rows_at_the_end_of_a_sheet_are_one_line_beside_the_plan(tmp_path: Path) -> None:
    opened = manifest(tmp_path, "id;image;note\n1;a.jpg;x\n" + ";;\n" * 1_048_000)

    assert list(opened.rows())[1:] == [IdleRow(record=2, cells=("", "", ""), times=1_048_000)]


def test_a_decimal_comma_is_read_and_said_where_the_table_writes_numbers_so(tmp_path: Path) -> None:
    made, rows = plan(
        tmp_path, "id;image;guidance;price\n1;s3://shop/a.jpg;4,5;19,90\n2;s3://shop/b.jpg;4,125;1.200,00\n"
    )

    assert [row.request.params["guidance"] for row in rows] == [4.5, 4.125]
    assert made.understood == 'autumn.csv: UTF-8, ";", decimal comma, 2 rows, 4 columns (3 used)'


def test_a_quoted_decimal_comma_is_one_too(tmp_path: Path) -> None:
    _, rows = plan(tmp_path, 'id,image,guidance\n1,s3://shop/a.jpg,"4,5"\n')

    assert rows[0].request.params["guidance"] == 4.5


@pytest.mark.parametrize("cells", [("4,500",), ("4,5", "4.5")])
def test_a_comma_that_could_be_anything_is_an_error(tmp_path: Path, cells: tuple[str, ...]) -> None:
    lines = "".join(f"{n};s3://shop/{n}.jpg;{cell}\n" for n, cell in enumerate(cells))

    made, _ = plan(tmp_path, f"id;image;guidance\n{lines}")

    assert made.problems[0].code == "value_invalid"
    assert "decimal point" in made.problems[0].remedy
    assert "decimal comma" not in made.understood


def test_a_json_array_is_read_element_by_element(tmp_path: Path) -> None:
    text = '[\n {"id": "a", "image": "x\\"]}.jpg"},\r\n {"id": "b",\n  "tags": [[1], {"y": "]"}]}\n]\n'

    opened = manifest(tmp_path, text, "autumn.json")

    assert [(row.number, row.line, row.cells) for row in read(opened)] == [
        (1, 2, {"id": "a", "image": 'x"]}.jpg'}),
        (2, 3, {"id": "b", "tags": [[1], {"y": "]"}]}),
    ]
    assert opened.table.form == "jsonl"
    assert opened.understood(2) == "autumn.json: UTF-8, a JSON array, 2 rows, 3 columns (2 used)"


def test_a_json_array_on_one_line_of_megabytes_is_read_as_a_stream(tmp_path: Path) -> None:
    objects = ",".join(f'{{"id":"{n}","image":"s3://shop/{n}.jpg"}}' for n in range(30_000))

    opened = manifest(tmp_path, f"[{objects}]", "autumn.json")

    assert read(opened)[-1].cells == {"id": "29999", "image": "s3://shop/29999.jpg"}


def test_a_bad_element_of_a_json_array_is_a_problem_of_its_row_alone(tmp_path: Path) -> None:
    opened = manifest(tmp_path, '[{"image": "a"},\n{"image": NaN},\n7,\n{"image": "b", "image": "c"},{"image": "d"}]')

    rows = list(opened.rows())

    assert [(type(row), row.number) for row in rows] == [
        (RawRow, 1),
        (BrokenRow, 2),
        (BrokenRow, 3),
        (BrokenRow, 4),
        (RawRow, 5),
    ]
    assert [row.problem.line for row in rows if isinstance(row, BrokenRow)] == [2, 3, 4]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[", "cut off"),
        ('[{"image": "a"}', "cut off"),
        ('[{"image": "a"},\n]', "expected"),
        ('[{"image": "a"} {"image": "b"}]', "expected"),
        ('[{"image": "a"}] x', "comes after"),
        ('[{"image": "a', "never closes"),
        ("[" * 100_000, "never closes"),
        ('[{"image": "' + "x" * 10_000_000 + '"}]', "65,536"),
        ("[]", "no rows"),
    ],
)
def test_a_json_array_that_breaks_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ManifestError, match=says) as caught:
        list(manifest(tmp_path, text).rows())

    assert caught.value.line is not None
    assert caught.value.remedy


def test_written_cells_are_what_a_csv_reader_gives_back(tmp_path: Path) -> None:
    opened = manifest(tmp_path, 'sep=|\nid|note\n1|"a|b"\n')
    with TableFile(tmp_path / "back.csv", opened.table) as file:
        file.row(("1", "a|b"))

    lines = (tmp_path / "back.csv").read_text().splitlines()

    assert list(csv.reader(lines[1:], delimiter="|")) == [["1", "a|b"]]
