"""A raw row becomes a row of the plan, or a list of everything that is wrong with it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from config.catalogue import shipped_catalogue
from jobs.reasons import ROW_REASONS
from jobs.row import Row
from producers.manifest.checking import RowChecker
from producers.manifest.learnt import Terms
from producers.manifest.options import PlanOptions
from producers.manifest.problems import PROBLEM_CODES, ManifestError, RowProblem
from producers.manifest.rows import RawRow
from producers.manifest.seen import Seen

CATALOGUE = shipped_catalogue()


def checker(columns: Sequence[str], folder: Path = Path("/nowhere"), name: str = "autumn", **said: Any) -> RowChecker:
    options = PlanOptions(**{"buckets": frozenset({"shop"}), "prompt": "tidy up", **said})
    return RowChecker(Terms(columns=tuple(columns), options=options, catalogue=CATALOGUE, folder=folder, name=name))


def check(columns: str, *lines: str, **said: Any) -> list[Row | list[RowProblem]]:
    found = checker(columns.split(","), **said)
    return [found.check(RawRow(n, n + 1, tuple(line.split(",")))) for n, line in enumerate(lines, 1)]


def row_of(columns: str, line: str, **said: Any) -> Row:
    (found,) = check(columns, line, **said)
    assert isinstance(found, Row), found
    return found


def problem_of(columns: str, *lines: str, **said: Any) -> RowProblem:
    """Return the only problem of the last row."""
    found = check(columns, *lines, **said)[-1]
    assert isinstance(found, list), found
    (one,) = found
    assert one.code in PROBLEM_CODES or one.code in ROW_REASONS
    assert one.message
    assert one.remedy
    return one


def test_a_row_carries_all_that_was_asked() -> None:
    row = row_of(
        "id,image,ref_1,model,prompt,seed,title",
        "a-1,s3://shop/a.jpg,s3://shop/b.jpg,flux-2-max,make it {red},7,A chair",
    )

    assert (row.number, row.id, row.limit_group, row.output) == (1, "a-1", "flux", "autumn/a-1.{ext}")
    assert row.request.model == "flux-2-max"
    assert row.request.prompt == "make it {red}"
    assert row.request.inputs == ("s3://shop/a.jpg", "s3://shop/b.jpg")
    assert row.request.params == {"seed": 7}
    assert row.cells[-1:] == ("A chair",)  # type: ignore[index]
    assert 0 < row.expected < row.at_most


def test_empty_cells_take_the_batchs_values_and_full_ones_keep_theirs() -> None:
    said: dict[str, Any] = {"model": "flux-2-max", "fields": {"seed": "1", "output_format": "png"}}

    rows = check("id,image,model,seed", "a,s3://shop/a.jpg,,", "b,s3://shop/a.jpg,flux-2-pro,2", **said)

    first, second = rows
    assert isinstance(first, Row)
    assert isinstance(second, Row)
    assert (first.request.model, first.request.params) == ("flux-2-max", {"seed": 1, "output_format": "png"})
    assert (second.request.model, second.request.params) == ("flux-2-pro", {"seed": 2, "output_format": "png"})


def test_the_catalogues_default_model_is_taken_where_none_is_named() -> None:
    assert row_of("image", "s3://shop/a.jpg").request.model == CATALOGUE.default


def test_a_template_is_filled_and_a_prompt_cell_is_literal() -> None:
    rows = check(
        "id,image,prompt,what", "a,s3://shop/a.jpg,,{chair}", "b,s3://shop/a.jpg,a {what},x", prompt="a {what}"
    )

    assert [row.request.prompt for row in rows if isinstance(row, Row)] == ["a {chair}", "a {what}"]


def test_the_id_is_the_file_name_and_the_key_goes_without_its_ending() -> None:
    row = row_of("image", "s3://shop/photos/Cup 1.final.JPG")

    assert (row.id, row.output) == ("Cup 1.final.JPG", "autumn/cup-1-final.{ext}")


def test_no_id_is_taken_from_a_reference_where_the_picture_is_wrong() -> None:
    rows = check("image,ref_1", "s3://other/a.jpg,s3://shop/logo.png", "s3://other/b.jpg,s3://shop/logo.png")

    assert [[one.code for one in found] for found in rows if isinstance(found, list)] == [["bucket_refused"]] * 2


def test_a_given_id_keeps_everything_in_the_key() -> None:
    assert row_of("id,image", "Stühle 12/3.5,s3://shop/a.jpg").output == "autumn/stühle-12-3-5.{ext}"


def test_an_output_template_knows_columns_and_the_rows_own_names() -> None:
    row = row_of(
        "id,image,name,kind", "A1,s3://shop/a.jpg,Chair,Soft Seats", output="{name}/{kind|slug}/{row}-{id}.{ext}"
    )

    assert row.output == "autumn/soft-seats/1-A1.{ext}"


def test_an_output_cell_is_a_literal_key() -> None:
    rows = check("id,image,output", "a,s3://shop/a.jpg,x/y.jpg", "b,s3://shop/a.jpg,z.{ext}")

    assert [row.output for row in rows if isinstance(row, Row)] == ["x/y.jpg", "z.{ext}"]


@pytest.mark.parametrize("cell", ["../x.jpg", "{name}/x", "/x.jpg", "a\u202eb.jpg", "retouch/x.jpg"])
def test_an_unsafe_output_cell_is_refused(cell: str) -> None:
    assert problem_of("id,image,output", f"a,s3://shop/a.jpg,{cell}").code == "output_unsafe"


@pytest.mark.parametrize("value", ["../x", "a\tb", "{ext}", "a{b", "/x", "x\\y"])
def test_a_value_that_makes_a_key_unsafe_is_refused_and_not_mended(value: str) -> None:
    found = problem_of("id,image,kind", f"a,s3://shop/a.jpg,{value}", output="{name}/{kind}/{id}.{ext}")

    assert found.code == "output_unsafe"


def test_braces_that_are_meant_have_no_place_in_a_key() -> None:
    with pytest.raises(ManifestError, match="--output"):
        checker(["image"], output="{{ext}}/{id}")


def test_a_batch_named_like_our_own_folder_is_one_error() -> None:
    with pytest.raises(ManifestError, match="give --name"):
        checker(["image"], name="retouch")


def test_two_rows_of_one_id_name_the_first_line() -> None:
    found = problem_of("id,image", "a,s3://shop/a.jpg", "b,s3://shop/b.jpg", "a,s3://shop/c.jpg")

    assert (found.line, found.code) == (4, "id_duplicate")
    assert "line 2 " in found.message


def test_one_picture_twice_needs_ids() -> None:
    assert problem_of("image", "s3://shop/a.jpg", "s3://shop/a.jpg").code == "id_duplicate"


@pytest.mark.parametrize("pair", [("Chair 1", "chair-1"), ("STÜHLE", "stühle"), ("a", "A")])
def test_two_rows_of_one_output_key_name_the_first_line(pair: tuple[str, str]) -> None:
    found = problem_of("id,image", *(f"{id_},s3://shop/x.jpg" for id_ in pair))

    assert found.code == "output_duplicate"
    assert "line 2 " in found.message


def test_keys_that_differ_in_unicode_form_alone_are_one_key() -> None:
    found = problem_of("id,image", "Café,s3://shop/a.jpg", "Cafe\u0301,s3://shop/b.jpg")

    assert found.code == "output_duplicate"


def test_an_open_key_and_a_literal_one_that_will_meet_are_one_key() -> None:
    found = problem_of(
        "id,image,output,output_format",
        "a,s3://shop/a.jpg,x.{ext},jpeg",
        "b,s3://shop/a.jpg,x.png,jpeg",
        "c,s3://shop/a.jpg,x.jpg,jpeg",
    )

    assert found.code == "output_duplicate"
    assert "line 2 " in found.message


@pytest.mark.parametrize(
    ("columns", "line", "column", "code"),
    [
        ("id,image", "a,", "image", "image_missing"),
        ("id,input_image", "a, ", "input_image", "image_missing"),
        ("id,image", "a,missing.jpg", "image", "image_not_found"),
        ("id,image", "a,s3://other/a.jpg", "image", "bucket_refused"),
        ("id,image", "a,http://x.example/a.jpg", "image", "url_refused"),
        ("id,image", "a,s3://shop/a.jpg,extra", "", "row_cells"),
        ("id,image,note", "a,s3://shop/a.jpg", "", "row_cells"),
        ("image", "https://x.example/", "id", "id_missing"),
        ("id,image", "a\tb,s3://shop/a.jpg", "id", "id_unsafe"),
        ("id,image", f"{'x' * 513},s3://shop/a.jpg", "id", "id_unsafe"),
        ("id,image,ref_2", "a,s3://shop/a.jpg,s3://shop/b.jpg", "ref_2", "reference_gap"),
        ("id,image,ref_1,ref_2", "a,s3://shop/a.jpg,,s3://shop/b.jpg", "ref_2", "reference_gap"),
        ("id,image,ref_1", "a,s3://shop/a.jpg,s3://other/b.jpg", "ref_1", "bucket_refused"),
        ("id,image,model", "a,s3://shop/a.jpg,flux-2-por", "model", "model_unknown"),
        ("id,image,model,width", "a,s3://shop/a.jpg,flux-kontext-pro,1024", "width", "field_unknown"),
        ("id,image,width", "a,s3://shop/a.jpg,big", "width", "value_invalid"),
        ("id,image,width,height", "a,s3://shop/a.jpg,4096,4096", "width", "value_invalid"),
        ("id,image,what", "a,s3://shop/a.jpg,", "what", "value_missing"),
    ],
)
def test_what_is_wrong_is_told_with_its_column_and_code(columns: str, line: str, column: str, code: str) -> None:
    found = problem_of(columns, line, prompt="the {what}" if "what" in columns else "tidy up")

    assert (found.line, found.column, found.code) == (2, column, code)


def test_every_problem_of_a_row_is_told_at_once() -> None:
    (found,) = check("id,image,model,width,seed", "a,s3://other/a.jpg,flux-2-pro,1,x")

    assert isinstance(found, list)
    assert [(one.column, one.code) for one in found] == [
        ("image", "bucket_refused"),
        ("seed", "value_invalid"),
        ("width", "value_invalid"),
    ]


def test_an_unknown_model_gets_the_likely_one() -> None:
    found = problem_of("image,model", "s3://shop/a.jpg,flux-2-por")

    assert "did you mean 'flux-2-pro'" in found.message


def test_a_field_that_the_model_has_not_is_nothing_while_its_cell_is_empty() -> None:
    row = row_of("image,model,width", "s3://shop/a.jpg,flux-kontext-pro,")

    assert row.request.params == {}


def test_more_references_than_the_model_takes_are_refused() -> None:
    columns = "image,model," + ",".join(f"ref_{n}" for n in range(1, 5))
    cells = ",".join(f"s3://shop/{n}.jpg" for n in range(1, 5))

    found = problem_of(columns, f"s3://shop/a.jpg,flux-2-klein-4b,{cells}")

    assert (found.column, found.code) == ("ref_4", "references_too_many")
    assert "takes 4 pictures, and the row has 5" in found.message
    assert row_of(columns, f"s3://shop/a.jpg,flux-2-pro,{cells}").request.inputs[4] == "s3://shop/4.jpg"


def test_batch_wide_references_fill_empty_cells() -> None:
    said: dict[str, Any] = {"references": ("s3://shop/logo.png", "s3://shop/wall.png")}

    assert row_of("image,ref_1", "s3://shop/a.jpg,s3://shop/own.png", **said).request.inputs[1:] == (
        "s3://shop/own.png",
        "s3://shop/wall.png",
    )
    assert row_of("image", "s3://shop/a.jpg", **said).request.inputs[1:] == said["references"]


def test_a_prompt_over_the_cap_is_refused_after_substitution() -> None:
    found = problem_of("image,what", f"s3://shop/a.jpg,{'x' * 16_000}", prompt="{what} and {what}")

    assert found.code == "prompt_too_long"


def test_a_row_without_a_prompt_is_a_problem_where_no_template_is_given() -> None:
    assert problem_of("image,prompt", "s3://shop/a.jpg,  ", prompt=None).code == "prompt_missing"


@pytest.mark.parametrize(
    ("columns", "said", "says"),
    [
        ("id,picture", {}, "no column 'image'"),
        ("id,image", {"prompt": None}, "no prompt"),
        ("id,image", {"prompt": " "}, "no prompt"),
        ("id,image", {"prompt": "the {wat}"}, "no such column"),
        ("id,image", {"output": "{wat}.{ext}"}, "no such column"),
        ("id,image", {"output": "{id|loud}.{ext}"}, "filter"),
        ("id,image", {"model": "flux-9"}, "no model 'flux-9'"),
        ("id,image", {"fields": {"sede": "1"}}, "did you mean 'seed'"),
        ("id,image", {"group": "categry"}, "no column 'categry'"),
        ("id,image", {"references": ("s3://shop/a",) * 8}, "over 7 references"),
        ("id,image,promt", {}, "looks like 'prompt'"),
    ],
)
def test_what_is_wrong_for_every_row_is_one_error(columns: str, said: dict[str, Any], says: str) -> None:
    with pytest.raises(ManifestError, match=says):
        checker(columns.split(","), **said)


def test_urls_are_passed_only_where_all_inputs_are_urls() -> None:
    rows = check(
        "id,image,ref_1",
        "a,https://x.example/a.jpg,https://x.example/b.jpg",
        "b,https://x.example/a.jpg,s3://shop/b.jpg",
        pass_urls=True,
    )

    assert [row.request.pass_urls for row in rows if isinstance(row, Row)] == [True, False]
    assert not row_of("image", "https://x.example/a.jpg").request.pass_urls


def test_the_group_is_the_cell_of_the_group_column() -> None:
    assert row_of("image,kind", "s3://shop/a.jpg, chairs ", group="kind").group == "chairs"


def test_a_local_picture_gives_its_size_to_the_price_and_its_stamp_to_the_row(tmp_path: Path) -> None:
    held = io.BytesIO()
    Image.new("RGB", (1024, 1024)).save(held, "JPEG")
    (tmp_path / "a.jpg").write_bytes(held.getvalue())

    row = row_of("image", "a.jpg", folder=tmp_path)

    stat = (tmp_path / "a.jpg").stat()
    assert row.local
    assert row.sizes == {(tmp_path / "a.jpg").as_uri(): (stat.st_size, stat.st_mtime_ns)}
    assert row.expected == 45_000


def json_check(*objects: Mapping[str, Any], **said: Any) -> list[Row | list[RowProblem]]:
    found = checker((), **said)
    results = [found.check(RawRow(n, n, cells)) for n, cells in enumerate(objects, 1)]
    found.judge.finish()
    return results


def test_json_values_are_read_like_cells() -> None:
    (row,) = json_check({"id": 12, "image": "s3://shop/a.jpg", "seed": 7, "width": None, "tags": ["x"], "on": True},
                        prompt="{on} {id}")  # fmt: skip

    assert isinstance(row, Row)
    assert (row.id, row.request.params, row.request.prompt) == ("12", {"seed": 7}, "true 12")
    assert row.cells == {"id": 12, "image": "s3://shop/a.jpg", "seed": 7, "width": None, "tags": ["x"], "on": True}


def test_rows_of_json_may_have_different_keys() -> None:
    rows = json_check(
        {"image": "s3://shop/a.jpg", "prompt": "one"},
        {"image": "s3://shop/b.jpg", "seed": 7, "what": "chair"},
        prompt="the {what}",
    )

    assert [row.request.prompt for row in rows if isinstance(row, Row)] == ["one", "the chair"]


def test_a_json_row_without_a_key_that_the_template_uses_is_a_problem() -> None:
    _, found = json_check({"image": "s3://shop/a.jpg", "what": "x"}, {"image": "s3://shop/b.jpg"}, prompt="the {what}")

    assert isinstance(found, list)
    assert (found[0].column, found[0].code) == ("what", "value_missing")


@pytest.mark.parametrize("name", ["image", "what"])
def test_a_nested_json_value_where_one_value_is_needed_is_a_problem(name: str) -> None:
    (found,) = json_check({"image": "s3://shop/a.jpg", "what": "x", name: ["a"]}, prompt="the {what}")

    assert isinstance(found, list)
    assert [(one.column, one.code) for one in found] == [(name, "value_nested")]


def test_a_template_whose_name_no_json_row_has_is_one_error() -> None:
    with pytest.raises(ManifestError, match=r"\{what\}, and no row has such a key .did you mean 'waht'"):
        json_check({"image": "s3://shop/a.jpg", "waht": "x"}, prompt="the {what}")


def test_a_near_miss_among_json_keys_is_an_error_with_its_line() -> None:
    with pytest.raises(ManifestError) as caught:
        json_check({"image": "s3://shop/a.jpg"}, {"image": "s3://shop/b.jpg", "promt": "x"})

    assert caught.value.line == 2


def test_a_json_group_or_data_column_that_no_row_has_is_an_error() -> None:
    for said in ({"group": "kind"}, {"data_columns": frozenset({"kind"})}):
        with pytest.raises(ManifestError, match="no column 'kind'"):
            json_check({"image": "s3://shop/a.jpg"}, **said)


def test_only_columns_that_mean_something_are_counted_as_used() -> None:
    found = checker(
        ["id", "image", "seed", "title", "what", "kind", "slot", "width"],
        prompt="{what}",
        group="kind",
        output="{slot}/{id}.{ext}",
        data_columns=frozenset({"width"}),
    )

    assert len(found.judge.used) == 6


def test_ten_thousand_texts_are_told_apart() -> None:
    seen = Seen()

    assert all(seen.first(f"id-{n}", n) is None for n in range(10_000))
    assert [seen.first(f"id-{n}", 0) for n in range(0, 10_000, 999)] == list(range(0, 10_000, 999))
    assert seen.used == 10_000


def test_even_the_empty_text_is_remembered() -> None:
    seen = Seen()

    assert [seen.first("", 5), seen.first("", 6)] == [None, 5]


@pytest.mark.parametrize(
    "id_",
    [
        "4,00638E+12",
        "4.00638133393112E+18",
        "12.03.2026",
        "2026-03-12",
        "2026-03-12 08:30:00",
        "3/12/26",
        "12. Mrz",
        "12-Mar",
        "Mar-12",
        "Mrz 12",
        "#N/A",
        "#BEZUG!",
    ],
)
def test_an_id_that_a_spreadsheet_has_damaged_is_an_error_that_says_so(id_: str) -> None:
    (found,) = (
        found
        for found in [checker(["id", "image"]).check(RawRow(1, 2, (id_, "s3://shop/a.jpg")))]
        if isinstance(found, list)
    )

    assert [one.code for one in found] == ["id_damaged"]
    assert "spreadsheet" in found[0].message


def test_an_id_that_is_a_date_is_taken_where_that_is_said() -> None:
    found = checker(["id", "image"], date_ids=True)

    dated = found.check(RawRow(1, 2, ("2026-03-12", "s3://shop/a.jpg")))
    rounded = found.check(RawRow(2, 3, ("4,00638E+12", "s3://shop/a.jpg")))

    assert isinstance(dated, Row)
    assert dated.output == "autumn/2026-03-12.{ext}"
    assert isinstance(rounded, list)


def test_an_id_that_looks_like_a_date_is_taken_where_the_key_is_given() -> None:
    found = checker(["id", "image", "output"])

    row = found.check(RawRow(1, 2, ("2026-03-12", "s3://shop/a.jpg", "autumn/12.{ext}")))
    bad = found.check(RawRow(2, 3, ("2026-03-13", "s3://shop/a.jpg", "")))

    assert isinstance(row, Row)
    assert isinstance(bad, list)
    assert "--date-ids" in bad[0].remedy


@pytest.mark.parametrize("sku", ["4,00638E+12", "#N/A"])
def test_a_key_is_not_made_of_what_a_spreadsheet_has_damaged(sku: str) -> None:
    found = checker(["id", "image", "sku"], output="{sku}/{id}.{ext}")

    bad = found.check(RawRow(1, 2, ("a", "s3://shop/a.jpg", sku)))

    assert isinstance(bad, list)
    assert [(one.column, one.code) for one in bad] == [("sku", "id_damaged")]


@pytest.mark.parametrize("id_", ["4006381333931", "1E5", "12-3", "1.2.3", "12.10.24", "Mar", "May 1st", "#7", "00042"])
def test_an_id_that_only_looks_odd_is_taken(id_: str) -> None:
    assert row_of("id,image", f"{id_},s3://shop/a.jpg").id == id_


def test_a_date_in_a_file_name_is_no_damage() -> None:
    assert row_of("image", "s3://shop/2026-03-12").id == "2026-03-12"


def test_the_error_of_a_formula_never_gets_into_a_prompt() -> None:
    found = problem_of("id,image,title", "a,s3://shop/a.jpg,#N/A", prompt="put the {title} on white")

    assert found.code == "value_damaged"


@pytest.mark.parametrize(
    ("template", "key"),
    [
        ("{name}/{id|upper}.{ext}", "autumn/CHAIR 7.{ext}"),
        ("{id|lower|slug}.{ext}", "chair-7.{ext}"),
        ("{id|first8}_{n|pad2}.{ext}", "Chair 7_07.{ext}"),
        ("{n|pad3}.{ext}", "007.{ext}"),
        ("{name|upper}/{n|slug|pad3}.{ext}", "AUTUMN/007.{ext}"),
    ],
)
def test_filters_of_key_templates_are_applied_from_left_to_right(template: str, key: str) -> None:
    assert row_of("id,image,n", "Chair 7,s3://shop/a.jpg,7", output=template).output == key


def test_padding_leaves_what_is_no_number_alone() -> None:
    assert row_of("id,image,n", "a,s3://shop/a.jpg,front", output="{n|pad3}.{ext}").output == "front.{ext}"


@pytest.mark.parametrize(
    "lines",
    [
        ("a,s3://shop/photos/a.jpg,photos/a.jpg",),
        ("a,s3://shop/photos/a.jpg,x/a.jpg", "b,s3://shop/photos/b.jpg,photos/a.jpg"),
        ("a,s3://shop/photos/a.jpg,photos/B.JPG", "b,s3://shop/photos/b.jpg,x/b.jpg"),
        ("a,s3://shop/photos/a.jpg,photos/b.{ext}", "b,s3://shop/photos/b.jpg,x/b.jpg"),
    ],
)
def test_an_output_that_is_the_picture_of_any_row_is_refused(lines: tuple[str, ...]) -> None:
    assert problem_of("id,image,output", *lines, bucket="shop").code == "output_is_input"


@pytest.mark.parametrize("image", ["autumn/b.jpg", "Autumn/B.JPG"])
def test_a_picture_in_the_folder_of_all_outputs_is_kept_apart_from_them_too(image: str) -> None:
    lines = f"a,s3://shop/{image}", "b,s3://shop/photos/b.jpg"

    assert problem_of("id,image", *lines, bucket="shop").code == "output_is_input"
    assert problem_of("id,image", *reversed(lines), bucket="shop").code == "output_is_input"


def test_the_same_key_in_another_bucket_is_no_picture_of_ours() -> None:
    row_of("id,image,output", "a,s3://shop/photos/a.jpg,photos/a.jpg", bucket="results")


@pytest.mark.parametrize(
    ("first", "second"),
    [("Chair 7", "chair-7"), ("Stühle", "Stu\u0308hle"), ("CHAIR", "chair"), ("STRASSE", "straße")],
)
def test_two_ids_whose_keys_become_one_are_refused(first: str, second: str) -> None:
    lines = f"{first},s3://shop/a.jpg", f"{second},s3://shop/b.jpg"

    template = {} if first == "Chair 7" else {"output": "{id|lower|slug}.{ext}"}
    if first == "STRASSE":
        template = {"output": "{id|slug}.{ext}"}

    assert problem_of("id,image", *lines, **template).code == "output_duplicate"
