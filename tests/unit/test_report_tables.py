"""The user's own rows come back: dialects, added columns, formulas, and what is left to run."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.batch import Table
from jobs.job import Job, Result, State
from jobs.outcome import outcome
from jobs.report.joining import Joined
from jobs.report.tables import ADDED, Failed, Results, planned
from jobs.request import Param, Request
from jobs.row import Cells, Row
from tests.fakes import charged

COLUMNS = ("id", "image", "product", "price")
HOSTILE = (
    'say "hi", he said',
    "two\r\nlines",
    "a\rb",
    "tab\there; and | there",
    " padded ",
    "=1+1",
    "@SUM(A1)",
    "'=1",
    "\u202egpj.exe",
    "<img src=x onerror=alert(1)>",
    "",
    "007",
    "1e5",
)


def a_row(
    cells: Cells,
    *,
    number: int = 1,
    inputs: tuple[str, ...] = ("s3://in/cup.jpg",),
    prompt: str = "p",
    output: str = "shop/cup.{ext}",
    pass_urls: bool = False,
    **params: Param,
) -> Row:
    request = Request(model="flux-2-pro", prompt=prompt, inputs=inputs, params=params, pass_urls=pass_urls)
    return Row(
        number=number,
        id="cup",
        group="",
        limit_group="flux",
        request=request,
        output=output,
        expected=1,
        at_most=2,
        cells=cells,
        sizes={},
    )


def ended(row: Row, state: State = State.STORED, key: str = "shop/cup.jpg", **changes: Any) -> Joined:
    result = None
    if state in (State.STORED, State.UNCHANGED):
        result = Result(key=key, sha256="ab" * 32, bytes=10, format="jpeg", width=1024, height=768)
    return Joined(row, outcome(Job(order=row.order("b"), state=state, result=result, **changes)))


def results(folder: Path, table: Table, *rows: Joined) -> bytes:
    with Results(folder, table) as file:
        for row in rows:
            file.add(row)
    return (folder / f"results.{table.form}").read_bytes()


def failed(folder: Path, table: Table, *rows: Joined) -> bytes:
    with Failed(folder, table, folder) as file:
        for row in rows:
            file.add(row)
        path = file.write()
    assert path is not None
    return path.read_bytes()


def cells_of(written: bytes, table: Table, encoding: str | None = None) -> list[list[str]]:
    text = written.decode(encoding or table.encoding)
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=table.delimiter))


def dicts_of(written: bytes, table: Table) -> list[dict[str, str]]:
    header, *rows = cells_of(written, table)
    assert len(set(header)) == len(header)
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_results_are_the_user_s_cells_and_what_became_of_them(tmp_path: Path) -> None:
    table = Table(columns=COLUMNS)

    header, row = cells_of(
        results(tmp_path, table, ended(a_row(("cup", "cup.jpg", "Cup", "7")), charges=charged(45_000))), table
    )

    assert header == [*COLUMNS, *ADDED]
    assert row == ["cup", "cup.jpg", "Cup", "7", "stored", "", "shop/cup.jpg", "ab" * 32, "1024", "768", "0.045"]


def test_a_row_that_did_not_make_it_has_its_reason_and_no_sizes(tmp_path: Path) -> None:
    table = Table(columns=COLUMNS)
    row = ended(a_row(("cup", "", "", "")), State.FAILED, reason="image_not_found")

    (told,) = dicts_of(results(tmp_path, table, row), table)

    assert [told[name] for name in ADDED] == ["failed", "image_not_found", "", "", "", "", "0"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_cell_of_the_user_s_reads_back_as_it_was(tmp_path: Path, delimiter: str, newline: str) -> None:
    table = Table(columns=HOSTILE, delimiter=delimiter, newline=newline)

    header, row = cells_of(results(tmp_path, table, ended(a_row(HOSTILE))), table)

    assert header[: len(HOSTILE)] == list(HOSTILE)
    assert row[: len(HOSTILE)] == list(HOSTILE)


@given(cells=st.lists(st.text(st.characters(codec="utf-8"), max_size=12), min_size=1, max_size=5))
def test_any_cells_at_all_read_back_equal(tmp_path_factory: pytest.TempPathFactory, cells: list[str]) -> None:
    table = Table(columns=tuple(f"c{n}" for n in range(len(cells))), delimiter=";")

    written = results(tmp_path_factory.mktemp("t"), table, ended(a_row(tuple(cells))))

    assert cells_of(written, table)[1][: len(cells)] == cells


def test_windows_1252_stays_windows_1252(tmp_path: Path) -> None:
    table = Table(columns=("id", "Stühle €"), encoding="cp1252", newline="\r\n", delimiter=";")

    written = results(tmp_path, table, ended(a_row(("cup", "œuvre – “fin”"))))

    assert cells_of(written, table)[1][1] == "œuvre – “fin”"
    assert written.startswith("id;Stühle €;retouch_status".encode("cp1252"))
    assert written.endswith(b"\r\n")
    assert written.count(b"\n") == written.count(b"\r\n") == 2


def test_a_key_that_the_encoding_does_not_have_takes_the_file_to_utf_8_and_loses_nothing(tmp_path: Path) -> None:
    table = Table(columns=("id", "name"), encoding="cp1252")
    first, second = ended(a_row(("a", "Stühle"))), ended(a_row(("b", "€"), number=2), key="łódź/b.jpg")

    written = results(tmp_path, table, first, second, ended(a_row(("a", "Stühle"), number=3)))

    assert written.startswith(b"\xef\xbb\xbf")
    rows = cells_of(written, table, "utf-8-sig")
    assert [row[1] for row in rows] == ["name", "Stühle", "€", "Stühle"]
    assert rows[2][4] == "łódź/b.jpg"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_comes_back_once(tmp_path: Path, encoding: str) -> None:
    table = Table(columns=("id",), encoding=encoding, bom=True)

    written = results(tmp_path, table, ended(a_row(("cup",))))

    assert written.startswith(b"\xef\xbb\xbfid,")
    assert written.count(b"\xef\xbb\xbf") == 1


def test_without_a_byte_order_mark_none_is_added(tmp_path: Path) -> None:
    assert results(tmp_path, Table(columns=("id",)), ended(a_row(("cup",)))).startswith(b"id,")


@pytest.mark.parametrize("key", ["=cmd|' /C calc'!A0.jpg", "+1.jpg", "-1.jpg", "@a.jpg", "  =1.jpg", "＝1.jpg"])
def test_a_key_that_looks_like_a_formula_is_disarmed(tmp_path: Path, key: str) -> None:
    table = Table(columns=("id",))

    (told,) = dicts_of(results(tmp_path, table, ended(a_row(("=1",)), key=key)), table)

    assert told["retouch_key"] == f"'{key}"
    assert told["id"] == "=1"


def test_results_run_again_replace_the_added_columns_in_their_place(tmp_path: Path) -> None:
    table = Table(columns=("retouch_cost_usd", "id", *ADDED[:6]))
    old = ("9", "cup", "failed", "api_error", "", "", "", "")

    header, row = cells_of(results(tmp_path, table, ended(a_row(old))), table)

    assert header == list(table.columns)
    assert row == ["0", "cup", "stored", "", "shop/cup.jpg", "ab" * 32, "1024", "768"]


def test_a_short_row_is_filled_up_so_that_the_added_columns_stand_under_their_names(tmp_path: Path) -> None:
    table = Table(columns=COLUMNS)

    (told,) = dicts_of(results(tmp_path, table, ended(a_row(("cup", "cup.jpg")))), table)

    assert (told["price"], told["retouch_status"]) == ("", "stored")


def test_json_lines_keep_their_keys_values_and_order(tmp_path: Path) -> None:
    cells = {
        "id": "cup",
        "tags": ["a", {"b": None}],
        "price": 7.50,
        "note": "Stühle \u2028 \ud800",
        "retouch_status": 1,
    }
    table = Table(form="jsonl", columns=tuple(cells))

    told = json.loads(results(tmp_path, table, ended(a_row(cells), charges=charged(45_000))))

    assert list(told) == [*cells, *ADDED[1:]]
    assert {key: told[key] for key in list(cells)[:4]} == {key: cells[key] for key in list(cells)[:4]}
    assert (told["retouch_status"], told["retouch_width"], told["retouch_cost_usd"]) == ("stored", 1024, 0.045)


def test_rows_that_made_it_are_not_in_the_failed_file(tmp_path: Path) -> None:
    table = Table(columns=("id", "n"))
    ends = [State.STORED, State.UNCHANGED, State.FAILED, State.MODERATED, State.CANCELLED, State.IN_DOUBT]

    told = dicts_of(failed(tmp_path, table, *(ended(a_row(("c", state)), state) for state in ends)), table)

    assert [row["n"] for row in told] == ["failed", "moderated", "cancelled", "in_doubt"]
    assert [row["retouch_status"] for row in told] == ["failed", "moderated", "cancelled", "in_doubt"]


def test_where_every_row_made_it_there_is_no_failed_file_and_an_older_one_is_removed(tmp_path: Path) -> None:
    (tmp_path / "failed.csv").write_text("old")

    with Failed(tmp_path, Table(columns=("id",)), tmp_path) as file:
        file.add(ended(a_row(("cup",))))
        path = file.write()

    assert path is None
    assert not (tmp_path / "failed.csv").exists()


def test_a_failed_row_says_everything_that_a_flag_or_a_template_had_said(tmp_path: Path) -> None:
    table = Table(columns=("picture_of", "image"))
    row = a_row(
        ("a red cup", "cup.jpg"),
        inputs=("s3://in/cup.jpg", "https://x.example/wall.jpg?v=1"),
        prompt='put the a red cup, "as is", on white',
        seed=7,
        guidance=5.0,
        disable_pup=True,
    )

    (told,) = dicts_of(failed(tmp_path, table, ended(row, State.FAILED, reason="api_error")), table)

    assert told == {
        "picture_of": "a red cup",
        "image": "s3://in/cup.jpg",
        "id": "cup",
        "ref_1": "https://x.example/wall.jpg?v=1",
        "prompt": 'put the a red cup, "as is", on white',
        "model": "flux-2-pro",
        "output": "shop/cup.{ext}",
        "seed": "7",
        "guidance": "5.0",
        "disable_pup": "true",
        "retouch_status": "failed",
        "retouch_reason": "api_error",
    }


def test_known_columns_of_the_user_s_are_rewritten_in_their_place_under_their_own_names(tmp_path: Path) -> None:
    table = Table(columns=("seed", "input_image", "input_image_3", "ref_1", "id", "prompt", "note"))
    row = a_row(
        ("", "a.jpg", "second.jpg", "", "", "put {x}", "kept"),
        inputs=("s3://in/a.jpg", "s3://in/second.jpg"),
        prompt="rendered",
        seed=3,
    )

    header, cells = cells_of(failed(tmp_path, table, ended(row, State.FAILED)), table)

    assert header == [*table.columns, "model", "output", "retouch_status", "retouch_reason"]
    assert cells[:7] == ["3", "s3://in/a.jpg", "", "s3://in/second.jpg", "cup", "rendered", "kept"]


def test_rows_with_other_parameters_and_references_share_one_header(tmp_path: Path) -> None:
    table = Table(columns=("id", "image", "seed"))
    one = a_row(("a", "a.jpg", "5"), seed=5)
    other = a_row(("b", "b.jpg", ""), inputs=("s3://in/b", "s3://in/r1", "s3://in/r2"), steps=20)

    told = dicts_of(failed(tmp_path, table, ended(one, State.FAILED), ended(other, State.FAILED)), table)

    assert [(row["seed"], row["steps"], row["ref_1"], row["ref_2"]) for row in told] == [
        ("5", "", "", ""),
        ("", "20", "s3://in/r1", "s3://in/r2"),
    ]


def test_a_local_picture_is_named_by_its_absolute_path(tmp_path: Path) -> None:
    picture = tmp_path / "café #1 100%.jpg"

    assert planned(a_row((), inputs=(picture.as_uri(),)))["image"] == str(picture)


def test_that_urls_are_passed_on_is_said_too_because_it_is_part_of_the_purchase() -> None:
    assert planned(a_row((), pass_urls=True))["pass_urls"] is True
    assert "pass_urls" not in planned(a_row(()))


def test_a_prompt_that_begins_like_a_formula_stays_the_prompt_that_was_asked(tmp_path: Path) -> None:
    table = Table(columns=("id",))
    row = a_row(("cup",), prompt='=HYPERLINK("http://x")\nand more')

    (told,) = dicts_of(failed(tmp_path, table, ended(row, State.FAILED)), table)

    assert told["prompt"] == '=HYPERLINK("http://x")\nand more'


def test_a_prompt_outside_the_encoding_is_not_changed_in_the_failed_file(tmp_path: Path) -> None:
    table = Table(columns=("id",), encoding="cp1252")

    written = failed(tmp_path, table, ended(a_row(("cup",), prompt="from day → night"), State.FAILED))

    assert cells_of(written, table, "utf-8-sig")[1][2] == "from day → night"


def test_failed_json_lines_keep_types_and_drop_the_other_name_of_a_column(tmp_path: Path) -> None:
    cells = {"id": None, "input_image": "a.jpg", "image": None, "ref_2": "x", "price": 7, "seed": "9"}
    row = a_row(cells, seed=9, disable_pup=False)

    told = json.loads(failed(tmp_path, Table(form="jsonl", columns=tuple(cells)), ended(row, State.MODERATED)))

    assert told == {
        "id": "cup",
        "input_image": "s3://in/cup.jpg",
        "price": 7,
        "seed": 9,
        "prompt": "p",
        "model": "flux-2-pro",
        "output": "shop/cup.{ext}",
        "disable_pup": False,
        "retouch_status": "moderated",
        "retouch_reason": "",
    }
