"""Source profiles: exports of PIMs and shops as they come, and their rows back again as they were."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from config.catalogue import shipped_catalogue
from jobs.job import Job, Result, State
from jobs.outcome import outcome
from jobs.report.joining import Joined
from jobs.report.single import COLUMNS, Jobs
from jobs.report.tables import ADDED, JOB_ID, Failed, Results
from jobs.request import fingerprint
from jobs.row import IdleRow, Row
from producers.manifest.opened import open_manifest
from producers.manifest.problems import ManifestError
from producers.plan import Plan, PlanOptions, make_plan
from producers.sources.draft import draft, look
from producers.sources.profile import read_profile, shipped_names
from tests.fakes import charged

FIXTURES = Path(__file__).parents[1] / "fixtures" / "manifests"
CATALOGUE = shipped_catalogue()
FLAGS = PlanOptions(prompt="on white", buckets=frozenset({"shop"}))


def plan(
    path: Path,
    folder: Path,
    options: PlanOptions = FLAGS,
    *,
    aside: Callable[[IdleRow], object] = lambda _: None,
    **said: Any,
) -> tuple[Plan, list[Row]]:
    rows: list[Row] = []
    options = replace(options, **said)
    made = make_plan(path, options, CATALOGUE, errors_csv=folder / "errors.csv", sink=rows.append, aside=aside)
    return made, rows


def written(folder: Path, text: str, name: str = "pim.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def report(folder: Path, made: Plan, rows: list[Row], state: State, idle: Sequence[IdleRow] = ()) -> Path:
    """Write the tables as if every row had ended so, and return the folder."""
    folder.mkdir()
    with (
        Results(folder, made.table, idle) as results,
        Jobs(folder, made.table) as jobs,
        Failed(folder, made.table, folder) as failed,
    ):
        for row in rows:
            key = row.output.replace("{ext}", "jpg")
            result = Result(key=key, sha256="ab" * 32, bytes=1, format="jpeg", width=1, height=1)
            job = {"result": result, "charges": charged(30_000)} if state is State.STORED else {"reason": "api_error"}
            joined = Joined(row, outcome(Job(order=row.order("b"), state=state, **job)))
            results.add(joined)
            jobs.add(joined)
            failed.add(joined)
        failed.write()
    return folder


def table(path: Path, like: Plan) -> list[list[str]]:
    codec = "utf-8-sig" if like.table.bom else like.table.encoding
    with path.open(encoding=codec, newline="") as file:
        return list(csv.reader(file, delimiter=like.table.delimiter))


def export(name: str, folder: Path) -> Path:
    """Return a copy of an export with the pictures beside it that it names by their paths."""
    path = folder / name
    path.write_bytes((FIXTURES / name).read_bytes())
    for found in re.findall(r"files/[^;,\n]+", path.read_text("utf-8") if name == "akeneo.csv" else ""):
        (folder / found).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48)).save(folder / found)
    return path


EXPORTS = [
    ("akeneo.csv", "akeneo", b"\n"),
    ("shopify.csv", "shopify", b"\n"),
    ("shopify-2024.csv", "shopify", b"\n"),
    ("woocommerce.csv", "woocommerce", b"\n"),
    ("german-excel.csv", None, b"\r\n"),
]


def asked(rows: list[Row]) -> list[tuple[object, ...]]:
    """Return keys and fingerprints, and what they are made of."""
    return [
        (row.id, row.output, row.request, fingerprint("bfl", row.request, row.request.inputs), row.at_most)
        for row in rows
    ]


@pytest.mark.parametrize(("name", "source", "newline"), EXPORTS)
def test_results_minus_the_added_columns_are_the_export_row_for_row_and_cell_for_cell(
    tmp_path: Path, name: str, source: str | None, newline: bytes
) -> None:
    path = export(name, tmp_path)
    idle: list[IdleRow] = []
    made, rows = plan(path, tmp_path, source=source, aside=idle.append)

    written = report(tmp_path / "report", made, rows, State.STORED, idle) / "results.csv"

    header, *lines = table(written, made)
    own = [at for at, column in enumerate(header) if not column.startswith("retouch_")]
    assert [[line[at] for at in own] for line in (header, *lines)] == table(path, made)
    assert header[len(own) :] == [*([JOB_ID] if source else []), *ADDED]
    assert sum(line[header.index("retouch_status")].count("stored") for line in lines) == len(rows)
    assert written.read_bytes().startswith(path.read_bytes()[:3])  # the byte order mark, or none
    assert written.read_bytes().endswith(newline)
    assert written.read_bytes().count(b"\r") == path.read_bytes().count(b"\r")


def test_a_row_of_several_pictures_has_lists_in_the_order_of_its_pictures_and_one_cost(tmp_path: Path) -> None:
    made, rows = plan(export("akeneo.csv", tmp_path), tmp_path, source="akeneo", output="{sku}/{role}|{position}.{ext}")

    header, *lines = table(report(tmp_path / "report", made, rows, State.STORED) / "results.csv", made)

    told = dict(zip(header, lines[1], strict=True))
    assert told["retouch_id"] == "1111111172-picture-01|1111111172-images-02|1111111172-images-03"
    assert told["retouch_status"] == "stored|stored|stored"
    assert told["retouch_key"] == r"1111111172/picture\|1.jpg|1111111172/images\|2.jpg|1111111172/images\|3.jpg"
    assert told["retouch_reason"] == "||"
    assert told["retouch_cost_usd"] == "0.09"


def test_a_row_without_a_picture_comes_back_with_nothing_in_what_is_added(tmp_path: Path) -> None:
    idle: list[IdleRow] = []
    made, rows = plan(FIXTURES / "shopify.csv", tmp_path, source="shopify", aside=idle.append)

    _, *lines = table(report(tmp_path / "report", made, rows, State.STORED, idle) / "results.csv", made)

    added = [line[-len(ADDED) - 1 :] for line in lines]
    assert [cells[1] for cells in added] == ["stored", "stored", "", "stored", "stored", "stored", ""]
    assert set(added[2]) == {""}


def test_jobs_are_listed_one_by_one_with_the_place_that_each_picture_has(tmp_path: Path) -> None:
    made, rows = plan(export("akeneo.csv", tmp_path), tmp_path, source="akeneo", name="pim")

    header, *lines = table(report(tmp_path / "report", made, rows, State.STORED) / "jobs.csv", made)

    assert tuple(header) == COLUMNS
    assert [line[:7] for line in lines[4:6]] == [
        ["2", "1111111172-images-02", "1111111172", "images", "images", "2", "files/1111111172/images/side.jpg"],
        ["2", "1111111172-images-03", "1111111172", "images", "images", "3", "files/1111111172/images/back.jpg"],
    ]
    assert dict(zip(header, lines[4], strict=True))["retouch_key"] == "pim/1111111172-images-02.jpg"
    assert len(lines) == len(rows)


def test_without_a_profile_there_is_no_list_of_jobs(tmp_path: Path) -> None:
    made, rows = plan(FIXTURES / "german-excel.csv", tmp_path)

    assert not (report(tmp_path / "report", made, rows, State.STORED) / "jobs.csv").exists()


def test_rows_that_were_left_out_come_back_too_and_say_why(tmp_path: Path) -> None:
    text = 'SKU,Images,n\na,s3://shop/a.jpg,1\nb,"s3://other/b.jpg,s3://shop/b.jpg",2\nc,s3://shop/c.jpg\nd,,4,5,6\n'
    idle: list[IdleRow] = []
    made, rows = plan(written(tmp_path, text), tmp_path, source="woocommerce", aside=idle.append)

    header, *lines = table(report(tmp_path / "report", made, rows, State.STORED, idle) / "results.csv", made)

    assert [line[:3] for line in lines] == [
        ["a", "s3://shop/a.jpg", "1"],
        ["b", "s3://other/b.jpg,s3://shop/b.jpg", "2"],
        ["c", "s3://shop/c.jpg", ""],
        ["d", "", "4"],
    ]
    status, reason = header.index("retouch_status"), header.index("retouch_reason")
    assert [(line[status], line[reason]) for line in lines] == [
        ("stored", ""),
        ("left_out|stored", "bucket_refused|"),
        ("left_out", "row_cells"),
        ("left_out", "row_cells"),
    ]
    assert lines[3][len(header) :] == ["5", "6"]  # what is too much stands behind what was added


def test_json_has_lists_where_a_profile_may_make_several_jobs(tmp_path: Path) -> None:
    profile = written(tmp_path, 'id = "{sku}-{position}"\n[[images]]\ncolumns = ["images"]\n', "own.toml")
    text = '{"sku": 7, "images": ["s3://shop/a.jpg", "s3://shop/b.jpg"]}\n{"sku": 8, "images": []}\n'
    idle: list[IdleRow] = []
    made, rows = plan(written(tmp_path, text, "a.jsonl"), tmp_path, source=str(profile), aside=idle.append)

    folder = report(tmp_path / "report", made, rows, State.STORED, idle)

    both, none = (json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines())
    assert (both["retouch_id"], both["retouch_status"]) == (["7-1", "7-2"], ["stored", "stored"])
    assert both["retouch_cost_usd"] == 0.06
    assert (none["images"], none["retouch_status"], none["retouch_cost_usd"]) == ([], [], None)
    jobs = [json.loads(line) for line in (folder / "jobs.jsonl").read_text().splitlines()]
    assert [job["retouch_image"] for job in jobs] == ["s3://shop/a.jpg", "s3://shop/b.jpg"]


def test_a_german_excel_table_is_understood(tmp_path: Path) -> None:
    made, rows = plan(FIXTURES / "german-excel.csv", tmp_path)

    assert made.understood == 'german-excel.csv: Windows-1252, ";", decimal comma, 3 rows, 8 columns (5 used)'
    assert [row.request.params.get("guidance") for row in rows] == [4.5, None, 3.25]


@pytest.mark.parametrize(("name", "source", "newline"), EXPORTS)
def test_failed_rows_run_alone_file_under_the_same_keys_and_fingerprints(
    tmp_path: Path, name: str, source: str | None, newline: bytes
) -> None:
    path = export(name, tmp_path)
    made, rows = plan(path, tmp_path, source=source, model="flux-2-flex", fields={"steps": "20"})
    report(tmp_path / "report", made, rows, State.FAILED)

    alone, again = plan(tmp_path / "report" / "failed.csv", tmp_path, PlanOptions(buckets=frozenset({"shop"})))

    assert not alone.invalid, alone.problems
    assert asked(again) == asked(rows)
    assert alone.table.newline == newline.decode()


def test_an_akeneo_export_gives_a_job_for_each_picture(tmp_path: Path) -> None:
    made, rows = plan(export("akeneo.csv", tmp_path), tmp_path, source="akeneo")

    assert [(row.number, row.id, row.group) for row in rows] == [
        (1, "1111111171-picture-01", "chair-root"),
        (2, "1111111171-main_image-de_DE-02", "chair-root"),
        (3, "1111111171-main_image-en_US-03", "chair-root"),
        (4, "1111111172-picture-01", "1111111172"),
        (5, "1111111172-images-02", "1111111172"),
        (6, "1111111172-images-03", "1111111172"),
        (7, "00042-variation_image-01", "00042"),
    ]
    assert made.understood == (
        'akeneo.csv: UTF-8, ";", read as Akeneo product export, 5 lines, 2 without a picture, 7 rows, '
        "61 columns (8 used)"
    )


def test_only_mapped_columns_mean_anything(tmp_path: Path) -> None:
    """Its `width` of 90 cm, `seed` of spruce, `model` Kubus and `Input Image` are the user's own."""
    _, rows = plan(export("akeneo.csv", tmp_path), tmp_path, source="akeneo")

    assert rows
    assert all(not row.request.params and row.request.model == CATALOGUE.default for row in rows)


def test_shopify_gives_each_picture_the_position_that_it_has_there(tmp_path: Path) -> None:
    _, rows = plan(FIXTURES / "shopify.csv", tmp_path, source="shopify")

    assert [(row.id, row.group) for row in rows] == [
        ("oak-chair-01", "oak-chair"),
        ("oak-chair-02", "oak-chair"),
        ("oak-chair-03", "oak-chair"),
        ("oak-chair-04", "oak-chair"),
        ("lamp-u-01", "lamp-u"),
    ]


def test_a_line_that_goes_on_with_a_product_knows_its_title_and_comes_back_without_it(tmp_path: Path) -> None:
    said: dict[str, Any] = {"prompt": "the {Title} of {Vendor} on white", "group": "Vendor"}
    idle: list[IdleRow] = []

    made, rows = plan(FIXTURES / "shopify.csv", tmp_path, source="shopify", aside=idle.append, **said)

    assert [row.request.prompt for row in rows[:4]] == ["the Oak chair of Möbel & Söhne on white"] * 4
    assert [row.group for row in rows] == ["Möbel & Söhne"] * 5
    header, *lines = table(report(tmp_path / "report", made, rows, State.STORED, idle) / "results.csv", made)
    titles = [line[header.index("Title")] for line in lines]
    assert titles == ["Oak chair", "", "", "", "", "Lamp", "Gift card"]


def test_a_line_of_another_product_takes_nothing_from_the_one_before(tmp_path: Path) -> None:
    text = "Handle,Title,Variant SKU,Image Src\na,Chair,S-1,s3://shop/a.jpg\nb,,S-2,s3://shop/b.jpg\n"

    made, _ = plan(written(tmp_path, text), tmp_path, source="shopify", prompt="the {Title}")

    assert [(problem.line, problem.code) for problem in made.problems] == [(3, "value_missing")]


def test_what_belongs_to_a_variant_is_not_taken_for_the_next_line(tmp_path: Path) -> None:
    text = "Handle,Title,Variant SKU,Image Src,Image Position\na,Chair,S-1,s3://shop/a.jpg,1\na,,,s3://shop/b.jpg,2\n"

    made, _ = plan(written(tmp_path, text), tmp_path, source="shopify", prompt="the {Variant SKU}")

    assert [(problem.line, problem.code) for problem in made.problems] == [(3, "value_missing")]


def test_woocommerce_parts_a_cell_of_addresses_and_takes_each_once(tmp_path: Path) -> None:
    _, rows = plan(FIXTURES / "woocommerce.csv", tmp_path, source="woocommerce")

    base = "https://shop.example/wp-content/uploads/2026/03/"
    assert [(row.id, row.request.inputs) for row in rows] == [
        ("OC-01", (f"{base}a.jpg",)),
        ("OC-02", (f"{base}b,c.jpg",)),
        ("11-01", (f"{base}s.jpg",)),
        ("00042-01", (f"{base}shelf.png",)),
    ]


def test_rules_fill_prompt_model_references_and_fields(tmp_path: Path) -> None:
    profile = written(
        tmp_path,
        """
        id = "{sku}-{role}"
        prompt = ["{text}", "put the {name} on white"]
        references = ["{logo}"]
        [[images]]
        columns = ["front"]
        role = "f"
        base = "s3://shop/pim/"
        [[images]]
        columns = ["side"]
        role = "s"
        model = "flux-2-flex"
        prompt = "{role} of {name}, picture {position|pad2}"
        [fields]
        seed = "{no}"
        """,
        "own.toml",
    )
    path = written(
        tmp_path,
        "sku,name,text,logo,front,side,no\n"
        "a,chair,,s3://shop/logo.png,a.jpg,s3://shop/b.jpg,7\n"
        "b,lamp,own words,,/b.jpg,,\n",
    )

    _, rows = plan(path, tmp_path, source=str(profile))

    assert [(row.id, row.request.prompt, row.request.model) for row in rows] == [
        ("a-f", "put the chair on white", "flux-2-pro"),
        ("a-s", "s of chair, picture 02", "flux-2-flex"),
        ("b-f", "own words", "flux-2-pro"),
    ]
    assert rows[0].request.inputs == ("s3://shop/pim/a.jpg", "s3://shop/logo.png")
    assert [dict(row.request.params) for row in rows] == [{"seed": 7}, {"seed": 7}, {}]


def test_flags_may_use_position_and_role_and_any_column(tmp_path: Path) -> None:
    said: dict[str, Any] = {"prompt": "{name-en_US}, {role} {position}", "output": "{sku}/{role}_{position|pad3}.{ext}"}

    _, rows = plan(export("akeneo.csv", tmp_path), tmp_path, source="akeneo", **said)

    assert (rows[5].request.prompt, rows[5].output) == ("Table; oak, images 3", "1111111172/images_003.{ext}")


def test_a_problem_of_a_picture_names_the_column_that_it_stands_in(tmp_path: Path) -> None:
    path = written(tmp_path, "SKU,Images\na,s3://private/a.jpg\n")

    made, _ = plan(path, tmp_path, source="woocommerce")

    assert [(p.line, p.column, p.code) for p in made.problems] == [(2, "Images", "bucket_refused")]


def test_a_damaged_id_is_noticed_although_something_is_added_to_it(tmp_path: Path) -> None:
    path = written(tmp_path, 'SKU,Images\n"4,00638E+12",s3://shop/a.jpg\n')

    made, _ = plan(path, tmp_path, source="woocommerce")

    assert [problem.code for problem in made.problems] == ["id_damaged"]


@pytest.mark.parametrize(("profile", "flag"), [("date_ids = true\n", False), ("", True)])
def test_ids_that_are_dates_are_taken_where_the_profile_or_a_flag_says_so(
    tmp_path: Path, profile: str, flag: bool
) -> None:
    own = written(tmp_path, f'id = "{{no}}-{{role}}"\n{profile}[[images]]\ncolumns = ["front"]\n', "own.toml")
    path = written(tmp_path, "no,front\n2026-03-12,s3://shop/a.jpg\n")

    made, rows = plan(path, tmp_path, source=str(own), date_ids=flag)
    alone, again = plan(report(tmp_path / "r", made, rows, State.FAILED) / "failed.csv", tmp_path)

    assert [row.id for row in rows] == ["2026-03-12-front"]
    assert asked(again) == asked(rows)
    assert not alone.invalid


def test_columns_without_a_name_come_back_and_do_not_stop_what_failed(tmp_path: Path) -> None:
    path = written(tmp_path, ",id,image,,\n0,a,s3://shop/a.jpg,x,\n")
    made, rows = plan(path, tmp_path)

    folder = report(tmp_path / "report", made, rows, State.FAILED)
    _, again = plan(folder / "failed.csv", tmp_path)

    header, line = table(folder / "results.csv", made)
    assert header[:5] == ["", "id", "image", "", ""]
    assert line[:5] == ["0", "a", "s3://shop/a.jpg", "x", ""]
    assert asked(again) == asked(rows)


def test_rows_of_json_are_mapped_too_and_lists_are_several_pictures(tmp_path: Path) -> None:
    profile = written(tmp_path, 'id = "{sku}-{position}"\n[[images]]\ncolumns = ["images"]\n', "own.toml")
    text = '[{"sku": 7, "images": ["s3://shop/a.jpg", {"src": "s3://shop/b.jpg"}]}, {"images": [], "width": "x"}]'

    made, rows = plan(written(tmp_path, text, "a.json"), tmp_path, source=str(profile))

    assert [row.id for row in rows] == ["7-1", "7-2"]
    assert not made.invalid


def test_a_table_that_the_profile_is_not_for_is_refused_with_its_columns(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="none of the columns with pictures of Shopify") as caught:
        plan(FIXTURES / "woocommerce.csv", tmp_path, source="shopify")

    assert "the columns are: ID, Type, SKU" in caught.value.remedy


def test_a_table_without_the_id_of_the_profile_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="the id of WooCommerce"):
        plan(written(tmp_path, "Images\ns3://shop/a.jpg\n"), tmp_path, source="woocommerce")


def test_an_export_without_any_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="names a picture"):
        plan(written(tmp_path, "SKU,Images\na,\n"), tmp_path, source="woocommerce")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id = ", "not TOML"),
        ("idd = 'x'", "did you mean 'id'"),
        ("id = '{sku}'", "no column with pictures"),
        ("[[images]]\nrole = 'x'", "without columns"),
        ("[[images]]\ncolumns = 7", "is no text"),
        ("[[images]]\ncolumns = ['a']\n[fields]\nsede = '{a}'", "did you mean 'seed'"),
        ("id = '{sku'\n[[images]]\ncolumns = ['a']", "brace"),
        ("\x00", "not TOML"),
    ],
)
def test_a_bad_profile_says_what_is_wrong_with_it(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ManifestError, match=says) as caught:
        read_profile(str(written(tmp_path, text, "own.toml")), CATALOGUE)

    assert caught.value.remedy


def test_a_profile_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="did you mean 'akeneo'") as caught:
        read_profile("akeno", CATALOGUE)

    assert "akeneo, shopify, woocommerce" in caught.value.remedy


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_profile_can_be_read_by_its_name_with_or_without_ending(name: str) -> None:
    assert read_profile(name, CATALOGUE) == read_profile(f"{name}.toml", CATALOGUE)


@pytest.mark.parametrize("name", ["akeneo.csv", "shopify.csv", "woocommerce.csv"])
def test_a_drafted_profile_finds_the_pictures_that_the_shipped_one_finds(tmp_path: Path, name: str) -> None:
    text = draft(name.partition(".")[0], look(open_manifest(FIXTURES / name)))
    own = written(tmp_path, text, "draft.toml")

    _, drafted = plan(FIXTURES / name, tmp_path, source=str(own))
    _, shipped = plan(FIXTURES / name, tmp_path, source=name.partition(".")[0])

    assert {row.request.inputs for row in shipped} <= {row.request.inputs for row in drafted}


def test_a_table_without_pictures_gives_no_draft(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no column looks like pictures"):
        draft("x", look(open_manifest(written(tmp_path, "a,b\n1,2\n"))))
