"""Source profiles: exports of PIMs and shops as they come, and their rows back again as they were."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from config.catalogue import shipped_catalogue
from jobs.job import Job, Result, State
from jobs.outcome import outcome
from jobs.report.joining import Joined
from jobs.report.tables import ADDED, Failed, Results
from jobs.request import fingerprint
from jobs.row import Row
from producers.manifest.opened import open_manifest
from producers.manifest.problems import ManifestError
from producers.plan import Plan, PlanOptions, make_plan
from producers.sources.draft import draft, look
from producers.sources.profile import read_profile, shipped_names

FIXTURES = Path(__file__).parents[1] / "fixtures" / "manifests"
CATALOGUE = shipped_catalogue()
FLAGS = PlanOptions(prompt="on white", buckets=frozenset({"shop"}))


def plan(path: Path, folder: Path, options: PlanOptions = FLAGS, **said: Any) -> tuple[Plan, list[Row]]:
    rows: list[Row] = []
    options = replace(options, **said)
    made = make_plan(path, options, CATALOGUE, errors_csv=folder / "errors.csv", sink=rows.append)
    return made, rows


def written(folder: Path, text: str, name: str = "pim.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def report(folder: Path, made: Plan, rows: list[Row], state: State) -> Path:
    """Write results and failed as if every row had ended so, and return the folder."""
    folder.mkdir()
    result = Result(key="k.jpg", sha256="ab" * 32, bytes=1, format="jpeg", width=1, height=1)
    job = {"result": result} if state is State.STORED else {"reason": "api_error"}
    with Results(folder, made.table) as results, Failed(folder, made.table, folder) as failed:
        for row in rows:
            joined = Joined(row, outcome(Job(order=row.order("b"), state=state, **job)))
            results.add(joined)
            failed.add(joined)
        failed.write()
    return folder


def table(path: Path, like: Plan) -> Iterator[list[str]]:
    codec = "utf-8-sig" if like.table.bom else like.table.encoding
    with path.open(encoding=codec, newline="") as file:
        yield from csv.reader(file, delimiter=like.table.delimiter)


def asked(rows: list[Row]) -> list[tuple[object, ...]]:
    """Return keys and fingerprints, and what they are made of."""
    return [
        (row.id, row.output, row.request, fingerprint("bfl", row.request, row.request.inputs), row.at_most)
        for row in rows
    ]


@pytest.mark.parametrize(
    ("name", "source", "pictureless"),
    [("akeneo.csv", "akeneo", 1), ("shopify.csv", "shopify", 1), ("woocommerce.csv", "woocommerce", 1)],
)
def test_results_minus_the_added_columns_are_the_export_cell_for_cell(
    tmp_path: Path, name: str, source: str, pictureless: int
) -> None:
    made, rows = plan(FIXTURES / name, tmp_path, source=source)

    results = list(table(report(tmp_path / "report", made, rows, State.STORED) / "results.csv", made))

    own = [line[: -len(ADDED)] for line in results]
    lines = list(table(FIXTURES / name, made))
    once = [line for line, _ in groupby(own)]  # a row of three pictures stands there three times
    assert once == [line for line in lines if line in own]
    assert len(lines) - len(once) == pictureless


def test_results_of_a_german_excel_table_are_the_table_cell_for_cell(tmp_path: Path) -> None:
    made, rows = plan(FIXTURES / "german-excel.csv", tmp_path)

    results = list(table(report(tmp_path / "report", made, rows, State.STORED) / "results.csv", made))

    assert made.understood == 'german-excel.csv: Windows-1252, ";", decimal comma, 3 rows, 8 columns (5 used)'
    source = [line for line in table(FIXTURES / "german-excel.csv", made) if any(line)]
    assert [line[: -len(ADDED)] for line in results] == source
    assert (tmp_path / "report" / "results.csv").read_bytes().count(b"\r\n") == 4
    assert [row.request.params.get("guidance") for row in rows] == [4.5, None, 3.25]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("akeneo.csv", "akeneo"),
        ("shopify.csv", "shopify"),
        ("woocommerce.csv", "woocommerce"),
        ("german-excel.csv", None),
    ],
)
def test_failed_rows_run_alone_file_under_the_same_keys_and_fingerprints(
    tmp_path: Path, name: str, source: str | None
) -> None:
    made, rows = plan(FIXTURES / name, tmp_path, source=source, model="flux-2-flex", fields={"steps": "20"})
    report(tmp_path / "report", made, rows, State.FAILED)

    alone, again = plan(tmp_path / "report" / "failed.csv", tmp_path, PlanOptions(buckets=frozenset({"shop"})))

    assert not alone.invalid, alone.problems
    assert asked(again) == asked(rows)


def test_an_akeneo_export_gives_a_job_for_each_picture(tmp_path: Path) -> None:
    made, rows = plan(FIXTURES / "akeneo.csv", tmp_path, source="akeneo")

    assert [(row.number, row.id, row.group) for row in rows] == [
        (1, "1111111171-picture-01", "chair-root"),
        (2, "1111111172-picture-01", "1111111172"),
        (3, "1111111172-images-02", "1111111172"),
        (4, "1111111172-images-03", "1111111172"),
        (5, "00042-picture-01", "00042"),
    ]
    assert made.understood == (
        'akeneo.csv: UTF-8, ";", read as Akeneo product export, 4 lines, 1 without a picture, 5 rows, '
        "61 columns (5 used)"
    )


def test_only_mapped_columns_mean_anything(tmp_path: Path) -> None:
    """Its `width` of 90 cm, `seed` of spruce, `model` Kubus and `Input Image` are the user's own."""
    _, rows = plan(FIXTURES / "akeneo.csv", tmp_path, source="akeneo")

    assert all(not row.request.params and row.request.model == CATALOGUE.default for row in rows)


def test_shopify_gives_each_picture_the_position_that_it_has_there(tmp_path: Path) -> None:
    _, rows = plan(FIXTURES / "shopify.csv", tmp_path, source="shopify")

    assert [(row.id, row.group) for row in rows] == [
        ("oak-chair-01", "oak-chair"),
        ("oak-chair-02", "oak-chair"),
        ("lamp-ü-01", "lamp-ü"),
    ]


def test_woocommerce_parts_a_cell_of_addresses_and_takes_each_once(tmp_path: Path) -> None:
    _, rows = plan(FIXTURES / "woocommerce.csv", tmp_path, source="woocommerce")

    base = "https://shop.example/wp-content/uploads/"
    assert [(row.id, row.request.inputs) for row in rows] == [
        ("OC-01", (f"{base}a.jpg",)),
        ("OC-02", (f"{base}b,c.jpg",)),
        ("11-01", (f"{base}s.jpg",)),
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

    _, rows = plan(FIXTURES / "akeneo.csv", tmp_path, source="akeneo", **said)

    assert (rows[3].request.prompt, rows[3].output) == ("TISCH; EICHE, images 3", "1111111172/images_003.{ext}")


def test_a_problem_of_a_picture_names_the_column_that_it_stands_in(tmp_path: Path) -> None:
    path = written(tmp_path, "SKU,Images\na,s3://private/a.jpg\n")

    made, _ = plan(path, tmp_path, source="woocommerce")

    assert [(p.line, p.column, p.code) for p in made.problems] == [(2, "Images", "bucket_refused")]


def test_a_damaged_id_is_noticed_although_something_is_added_to_it(tmp_path: Path) -> None:
    path = written(tmp_path, 'SKU,Images\n"4,00638E+12",s3://shop/a.jpg\n')

    made, _ = plan(path, tmp_path, source="woocommerce")

    assert [problem.code for problem in made.problems] == ["id_damaged"]


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
