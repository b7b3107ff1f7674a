"""How a manifest is opened and read: dialects, encodings, caps, and files that are no manifests."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from producers.manifest import dialect, opening, rows
from producers.manifest.opened import open_manifest
from producers.manifest.problems import ManifestError
from producers.manifest.reading import TextManifest
from producers.manifest.rows import BrokenRow, RawRow


def manifest(folder: Path, content: bytes | str, name: str = "autumn.csv") -> TextManifest:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    opened = open_manifest(path)
    assert isinstance(opened, TextManifest)
    return opened


def good(opened: TextManifest) -> list[RawRow]:
    rows = list(opened.rows())
    assert all(isinstance(row, RawRow) for row in rows)
    return [row for row in rows if isinstance(row, RawRow)]


def broken(opened: TextManifest) -> BrokenRow:
    (row,) = (row for row in opened.rows() if isinstance(row, BrokenRow))
    return row


def refused(folder: Path, content: bytes | str, name: str = "autumn.csv") -> ManifestError:
    with pytest.raises(ManifestError) as caught:
        list(manifest(folder, content, name).rows())
    return caught.value


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_told_from_the_header(tmp_path: Path, delimiter: str) -> None:
    content = f"id{delimiter}image{delimiter}note\n1{delimiter}a.jpg{delimiter}x\n"

    opened = manifest(tmp_path, content)

    assert opened.table.delimiter == delimiter
    assert good(opened)[0].cells == ("1", "a.jpg", "x")


def test_a_delimiter_inside_quotes_of_the_header_does_not_count(tmp_path: Path) -> None:
    opened = manifest(tmp_path, 'image;"size, large, small, tiny";note\na.jpg;1;2\n')

    assert opened.table.columns == ("image", "size, large, small, tiny", "note")


def test_known_names_weigh_more_than_the_number_of_delimiters(tmp_path: Path) -> None:
    opened = manifest(tmp_path, "image;width, height, depth in cm;id\na.jpg;1,2,3;7\n")

    assert opened.table.delimiter == ";"


def test_a_single_column_is_a_manifest_too(tmp_path: Path) -> None:
    opened = manifest(tmp_path, "image\na.jpg\nb.jpg\n")

    assert [row.cells for row in good(opened)] == [("a.jpg",), ("b.jpg",)]


def test_utf8_is_read_as_such(tmp_path: Path) -> None:
    opened = manifest(tmp_path, "id,image\nStühle,a.jpg\n")

    assert good(opened)[0].cells == ("Stühle", "a.jpg")
    assert (opened.table.encoding, opened.table.bom) == ("utf-8", False)


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    opened = manifest(tmp_path, b"\xef\xbb\xbfid,image\n1,a.jpg\n")

    assert opened.table.columns == ("id", "image")
    assert opened.table.bom


def test_windows_1252_is_read_as_such(tmp_path: Path) -> None:
    opened = manifest(tmp_path, "id;image\nStühle – 5 €;a.jpg\n".encode("cp1252"))

    assert good(opened)[0].cells == ("Stühle – 5 €", "a.jpg")
    assert opened.table.encoding == "cp1252"


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_the_first_non_ascii_byte_may_come_after_megabytes(tmp_path: Path, encoding: str) -> None:
    filler = "12345,photos/a.jpg\n" * 130_000  # over two chunks
    opened = manifest(tmp_path, f"id,image\n{filler}Stühle,a.jpg\n".encode(encoding))

    assert opened.table.encoding == encoding
    assert good(opened)[-1].cells == ("Stühle", "a.jpg")


@pytest.mark.parametrize("shift", range(4))
def test_a_letter_cut_in_two_by_a_chunk_is_still_one_letter(tmp_path: Path, shift: int) -> None:
    head = "id,image\n"
    row = "x" * 98 + "\n"
    filler = head + row * ((opening.CHUNK - len(head)) // 99)
    filler += "y" * (opening.CHUNK - len(filler) - 3 + shift)
    opened = manifest(tmp_path, (filler + "€uro,a.jpg\n").encode())

    assert opened.table.encoding == "utf-8"
    cells = good(opened)[-1].cells
    assert isinstance(cells, tuple)
    assert cells[0].endswith("€uro")


def test_a_file_of_two_encodings_is_refused_with_the_line(tmp_path: Path) -> None:
    content = "id,image\nStühle,a.jpg\n".encode() + "Tür,b.jpg\n".encode("cp1252")

    error = refused(tmp_path, content)

    assert error.line == 3
    assert "UTF-8" in error.message


def test_a_marked_utf8_file_is_never_taken_for_windows_1252(tmp_path: Path) -> None:
    error = refused(tmp_path, b"\xef\xbb\xbfid,image\nT\xfcr,b.jpg\n")

    assert error.line == 2


def test_bytes_that_windows_1252_does_not_have_are_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, b"id,image\n1,a.jpg\nT\x81r,b.jpg\n").line == 3


def test_a_multibyte_letter_cut_off_at_the_end_is_noticed(tmp_path: Path) -> None:
    assert refused(tmp_path, "id,image\nü,a.jpg\nü".encode()[:-1]).line == 3


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_both_line_ends_are_read_and_remembered(tmp_path: Path, newline: str) -> None:
    opened = manifest(tmp_path, f"id,image{newline}1,a.jpg{newline}2,b.jpg{newline}")

    assert [row.cells for row in good(opened)] == [("1", "a.jpg"), ("2", "b.jpg")]
    assert opened.table.newline == newline


def test_a_quoted_cell_keeps_its_newlines_and_the_line_is_where_its_row_starts(tmp_path: Path) -> None:
    opened = manifest(tmp_path, 'id,note\r\n1,"a\r\nb"\r\n\r\n2,"say ""hi"""\r\n')

    assert [(row.number, row.line, row.cells) for row in good(opened)] == [
        (1, 2, ("1", "a\r\nb")),
        (2, 5, ("2", 'say "hi"')),
    ]


def test_a_quoted_newline_in_the_header_is_part_of_a_name(tmp_path: Path) -> None:
    opened = manifest(tmp_path, '"size\nin cm",image\r\n3,a.jpg\r\n')

    assert opened.table.columns == ("size\nin cm", "image")
    assert opened.table.newline == "\r\n"


def test_the_last_row_needs_no_line_end(tmp_path: Path) -> None:
    assert len(good(manifest(tmp_path, "image\na.jpg\nb.jpg"))) == 2


def test_json_lines_are_told_by_their_first_character(tmp_path: Path) -> None:
    opened = manifest(tmp_path, '{"image": "a.jpg", "n": 1}\n\n{"image": "b.jpg", "x": [1]}\n', "anything.txt")

    rows = good(opened)

    assert [(row.number, row.line, row.cells) for row in rows] == [
        (1, 1, {"image": "a.jpg", "n": 1}),
        (2, 3, {"image": "b.jpg", "x": [1]}),
    ]
    assert opened.table.form == "jsonl"
    assert opened.table.columns == ("image", "n", "x")


@pytest.mark.parametrize("content", ["id,image\n1,a.jpg\n", '{"id": "1", "image": "a.jpg"}\n'])
def test_gzip_is_told_by_its_bytes_and_not_by_a_name(tmp_path: Path, content: str) -> None:
    opened = manifest(tmp_path, gzip.compress(content.encode()), "manifest")

    assert opened.dialect.zipped
    assert len(good(opened)) == 1


def test_what_was_understood_is_one_sentence(tmp_path: Path) -> None:
    opened = manifest(tmp_path, "id;image;a;b\nTür;a.jpg;;\nÖl;b.jpg;;\n".encode("cp1252"))
    good(opened)

    assert opened.understood(2) == 'autumn.csv: Windows-1252, ";", 2 rows, 4 columns (2 used)'


def test_the_sentence_names_tabs_marks_and_gzip(tmp_path: Path) -> None:
    opened = manifest(tmp_path, gzip.compress(b"\xef\xbb\xbfid\timage\n1\ta.jpg\n"), "autumn.tsv.gz")
    good(opened)

    assert opened.understood(2) == "autumn.tsv.gz: UTF-8 with BOM, TAB, gzip, 1 row, 2 columns (2 used)"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf \r\n\n", "is empty"),
        (b"PK\x03\x04...", "Excel"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old Excel"),
        (b"\xff\xfe\0\0i\0\0\0", "UTF-32"),
        (b"\xff\xfei\0d", "UTF-16"),
        (b"\x89PNG\r\n\x1a\n", "picture"),
        (b"PAR1....", "Parquet"),
        (b"id,image\n1,a\0.jpg\n", "NUL"),
        (b"id,image\r1,a.jpg\r", "CR only"),
    ],
)
def test_what_is_no_manifest_is_named_with_a_remedy(tmp_path: Path, content: bytes, says: str) -> None:
    error = refused(tmp_path, content)

    assert says in error.message
    assert error.remedy


def test_a_nul_byte_is_found_on_its_line_wherever_it_is(tmp_path: Path) -> None:
    content = b"id,image\n" + b"1,a.jpg\n" * 300_000 + b"2,b\0.jpg\n"

    assert refused(tmp_path, content).line == 300_002


def test_a_header_without_rows_is_refused(tmp_path: Path) -> None:
    assert "no rows" in refused(tmp_path, "id,image\n").message


def test_a_manifest_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"nowhere\.csv does not exist"):
        open_manifest(tmp_path / "nowhere.csv")


def test_a_pipe_is_no_manifest_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")

    with pytest.raises(ManifestError, match="is not a file"):
        open_manifest(tmp_path / "pipe.csv")


def test_a_name_that_stands_twice_in_the_header_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, "id,image,note,note\n1,a,b,c\n")

    assert "'note': 3 and 4" in error.message


def test_columns_without_a_name_are_data(tmp_path: Path) -> None:
    opened = manifest(tmp_path, ",id,image,,\n0,a,b.jpg,,\n")

    assert opened.table.columns == ("", "id", "image", "", "")
    assert good(opened)[0].cells == ("0", "a", "b.jpg", "", "")


def test_1001_columns_are_refused(tmp_path: Path) -> None:
    header = ",".join(f"c{n}" for n in range(1_001))

    assert "1,000 columns" in refused(tmp_path, f"{header}\n{header}\n").message


def test_a_quote_that_never_closes_names_the_line_where_its_row_starts(tmp_path: Path) -> None:
    error = refused(tmp_path, 'id,image\n1,a.jpg\n2,"b.jpg\n3,c.jpg\n')

    assert error.line == 3
    assert "never closed" in error.message


def test_a_quote_that_never_closes_does_not_swallow_a_large_file(tmp_path: Path) -> None:
    content = 'id,image\n1,"a.jpg\n' + "2,b.jpg\n" * 100_000

    assert refused(tmp_path, content).line == 2


def test_text_after_a_closing_quote_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, 'id,image\n1,"a"b.jpg\n').line == 2


def test_a_long_cell_is_a_problem_of_its_row_alone(tmp_path: Path) -> None:
    opened = manifest(tmp_path, f"image,note\na.jpg,{'x' * 32_769}\nb.jpg,{'x' * 32_768}\n")

    rows = list(opened.rows())

    assert isinstance(rows[0], BrokenRow)
    assert (rows[0].problem.line, rows[0].problem.column, rows[0].problem.code) == (2, "note", "row_unreadable")
    assert isinstance(rows[1], RawRow)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_cell_of_10_mb_is_refused_without_reading_it_whole(tmp_path: Path, name: str) -> None:
    big = b"x" * 10_000_000
    content = b"image\nok.jpg\n" + big if name == "a.csv" else b'{"image": "a"}\n{"image": "' + big + b'"}\n'

    error = refused(tmp_path, content, name)

    assert error.line == (3 if name == "a.csv" else 2)
    assert "65,536 bytes" in error.message


def test_a_long_line_is_noticed_across_chunks(tmp_path: Path) -> None:
    filler = "image\n" + ("x" * 99 + "\n") * ((opening.CHUNK - 40_000) // 100)

    error = refused(tmp_path, filler + "y" * 70_000 + "\nb.jpg\n")

    assert error.line == filler.count("\n") + 1
    assert "65,536 bytes" in error.message


def test_too_many_rows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_ROWS", 3)

    assert "over 3 rows" in refused(tmp_path, "image\n" + "a.jpg\n" * 4).message


def test_a_gzip_bomb_is_refused(tmp_path: Path) -> None:
    bomb = gzip.compress(b"image\n" + b"a.jpg\n" * 5_000_000)

    assert "bomb" in refused(tmp_path, bomb).message


def test_a_gzip_over_the_absolute_cap_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "MAX_UNZIPPED_BYTES", 1_000)
    noise = b"image\n" + b"".join(os.urandom(16).hex().encode() + b"\n" for _ in range(100))

    assert "8 GB" in refused(tmp_path, gzip.compress(noise)).message


@pytest.mark.parametrize("cut", [20, -8])
def test_a_damaged_gzip_is_refused(tmp_path: Path, cut: int) -> None:
    packed = gzip.compress(b"image\n" + os.urandom(64).hex().encode() + b"\n")

    assert "damaged" in refused(tmp_path, packed[:cut]).message


def test_a_file_zipped_twice_is_refused(tmp_path: Path) -> None:
    assert "zipped twice" in refused(tmp_path, gzip.compress(gzip.compress(b"image\na.jpg\n"))).message


def test_a_file_over_4_gb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialect, "MAX_FILE_BYTES", 10)

    assert "4 GB" in refused(tmp_path, "image\nabcdefgh.jpg\n").message


def test_a_manifest_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    opened = manifest(tmp_path, "image\na.jpg\nb.jpg\n")
    rows = opened.rows()
    next(rows)

    with opened.path.open("a") as file:
        file.write("c.jpg\n")

    with pytest.raises(ManifestError, match="changed while it was read"):
        list(rows)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"image": "a", "n": NaN}', "NaN"),
        ('{"image": "a", "n": -Infinity}', "-Infinity"),
        ('{"image": "a", "n": 1e999}', "too large"),
        ('{"image": "a", "n": ' + "9" * 5_000 + "}", "too long"),
        ('{"image": "a", "image": "b"}', "'image' stands twice"),
        ('["a"]', "not a JSON object"),
        ('"a"', "not a JSON object"),
        ('{"image": "a"', "not JSON"),
        ("[" * 30_000, "nested too deeply"),
        ('{"x": ' + "[" * 40 + "]" * 40 + "}", "nested too deeply"),
        ('{"image": "a\\u0000"}', "NUL"),
        ('{"image": "\\ud800"}', "surrogate"),
        ('{"": "a"}', "key is empty"),
        ('{"image": "' + "x" * 33_000 + '"}', "32,768"),
    ],
)
def test_a_bad_json_line_is_a_problem_of_its_row_alone(tmp_path: Path, line: str, says: str) -> None:
    opened = manifest(tmp_path, f'{{"image": "ok.jpg"}}\n{line}\n{{"image": "ok2.jpg"}}\n')

    row = broken(opened)

    assert says in row.problem.message
    assert (row.number, row.problem.line) == (2, 2)
    assert row.problem.remedy
    assert opened.rows_read == 3


def test_nested_values_of_json_travel(tmp_path: Path) -> None:
    nested = {"image": "a.jpg", "tags": ["x", {"y": None}], "emoji": "\U0001f600"}
    opened = manifest(tmp_path, json.dumps(nested) + "\n")

    assert good(opened)[0].cells == nested
