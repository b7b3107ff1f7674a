"""A whole manifest becomes a plan: counts, price, problems, and rows handed on as a stream."""

from __future__ import annotations

import csv
import gc
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.catalogue import shipped_catalogue
from jobs.bounds import Shares
from jobs.request import Param, Request
from jobs.row import Cells, Picture, Row
from producers.manifest import dialect
from producers.plan import ManifestError, Plan, PlanOptions, make_plan

CATALOGUE = shipped_catalogue()
EXAMPLES = Path(__file__).parents[2] / "examples"
TEMPLATE = "Put the {product_name} on {surface}, {lighting}."


def plan(folder: Path, content: str, file: str = "autumn.csv", **said: Any) -> tuple[Plan, list[Row]]:
    path = folder / file
    path.write_text(content, encoding="utf-8", newline="")
    rows: list[Row] = []
    options = PlanOptions(**{"buckets": frozenset({"shop"}), "prompt": "tidy up", **said})
    made = make_plan(path, options, CATALOGUE, errors_csv=folder / "errors.csv", sink=rows.append)
    return made, rows


def problems_file(folder: Path) -> list[dict[str, str]]:
    with (folder / "errors.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_the_example_manifest_is_valid_and_costs_about_what_its_readme_says(tmp_path: Path) -> None:
    rows: list[Row] = []

    made = make_plan(
        EXAMPLES / "catalogue.csv",
        PlanOptions(prompt=TEMPLATE),
        CATALOGUE,
        errors_csv=tmp_path / "errors.csv",
        sink=rows.append,
    )

    assert made.problems == ()
    assert made.rows == len(rows) == sum(made.groups.values()) >= 24
    assert made.local
    assert 1_000_000 < made.estimate.expected < 1_600_000
    assert not (tmp_path / "errors.csv").exists()


def test_a_plan_says_what_would_run(tmp_path: Path) -> None:
    made, rows = plan(
        tmp_path,
        "id,image,model,note\na,s3://shop/a.jpg,,x\nb,s3://shop/b.jpg,flux-kontext-max,y\n",
        "autumn_2026-11-22.csv",
    )

    assert (made.name, made.rows, made.invalid, made.local) == ("autumn", 2, 0, False)
    assert made.groups == {"flux": 1, "kontext-max": 1}
    assert made.understood == 'autumn_2026-11-22.csv: UTF-8, ",", 2 rows, 4 columns (3 used)'
    assert made.table.columns == ("id", "image", "model", "note")
    assert made.estimate.expected == sum(row.expected for row in rows)
    assert made.ceiling == made.estimate.at_most
    assert rows[0].cells == ("a", "s3://shop/a.jpg", "", "x")


def test_a_batch_is_one_group_where_nothing_in_its_plan_makes_several(tmp_path: Path) -> None:
    one, _ = plan(tmp_path, "id,image,kind\na,s3://shop/a.jpg,x\nb,s3://shop/b.jpg,x\n")
    named, _ = plan(tmp_path, "id,image,kind\na,s3://shop/a.jpg,x\nb,s3://shop/b.jpg,y\n", group="kind")
    models, _ = plan(tmp_path, "id,image,model\na,s3://shop/a.jpg,\nb,s3://shop/b.jpg,flux-kontext-max\n")

    assert (one.lone, named.lone, models.lone) == (True, False, False)


def test_a_plan_has_the_bounds_of_the_settings_for_what_it_is_expected_to_cost(tmp_path: Path) -> None:
    made, _ = plan(tmp_path, "id,image\na,s3://shop/a.jpg\n", shares=Shares(failed=0.1, moderated_cost=7))

    assert (made.bounds.failed, made.bounds.failed_batch, made.bounds.moderated) == (3, 10, 15)
    assert made.bounds.moderated_cost == 7


def test_the_ceiling_that_was_given_holds(tmp_path: Path) -> None:
    made, _ = plan(tmp_path, "image\ns3://shop/a.jpg\n", ceiling=20_000)

    assert made.ceiling == 20_000


def test_the_good_rows_are_handed_on_and_the_bad_ones_are_listed_with_their_lines(tmp_path: Path) -> None:
    made, rows = plan(tmp_path, 'image,note\ns3://shop/a.jpg,"two\nlines"\ns3://other/b.jpg,\ns3://shop/c.jpg,\n')

    assert [row.number for row in rows] == [1, 3]
    assert (made.rows, made.invalid, made.problem_count) == (2, 1, 1)
    assert made.problems[0].line == 4
    assert made.errors_csv == tmp_path / "errors.csv"
    assert [(line["line"], line["column"], line["code"]) for line in problems_file(tmp_path)] == [
        ("4", "image", "bucket_refused")
    ]


def test_the_plan_holds_50_problems_and_the_file_all(tmp_path: Path) -> None:
    made, _ = plan(tmp_path, "image,seed\n" + ",x\n" * 60)

    assert len(made.problems) == 50
    assert (made.invalid, made.problem_count) == (60, 120)
    assert len(problems_file(tmp_path)) == 120


def test_no_cell_of_the_problems_file_is_a_formula(tmp_path: Path) -> None:
    plan(tmp_path, '{"image": "s3://shop/a.jpg", "=cmd()": 1, "=cmd()": 2}\n')

    assert problems_file(tmp_path)[0]["column"] == "'=cmd()"


def test_nothing_is_left_behind_by_a_plan_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="never closed"):
        plan(tmp_path, 'image,note\ns3://other/a.jpg,\ns3://shop/b.jpg,"open\n')

    assert [path.name for path in tmp_path.iterdir()] == ["autumn.csv"]


def test_a_problems_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    path = tmp_path / "autumn.csv"
    path.write_text("image\ns3://other/a.jpg\n")

    with pytest.raises(ManifestError, match=r"errors\.csv cannot be written"):
        make_plan(path, PlanOptions(prompt="x"), CATALOGUE, errors_csv=tmp_path / "taken" / "errors.csv")


def test_a_broken_json_line_is_one_bad_row(tmp_path: Path) -> None:
    made, rows = plan(tmp_path, '{"image": "s3://shop/a.jpg"}\n{"image": \n{"image": "s3://shop/b.jpg"}\n', "a.jsonl")

    assert [row.number for row in rows] == [1, 3]
    assert (made.invalid, made.problems[0].line, made.problems[0].code) == (1, 2, "row_unreadable")
    assert made.table.form == "jsonl"


def test_progress_is_told_now_and_then(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,image\n" + "".join(f"{n},s3://shop/a.jpg\n" for n in range(2_500)))
    told: list[tuple[int, float | None]] = []

    make_plan(
        path,
        PlanOptions(prompt="x", buckets=frozenset({"shop"})),
        CATALOGUE,
        errors_csv=tmp_path / "e.csv",
        on_progress=lambda rows, share: told.append((rows, share)),
    )

    assert told == [(1_000, 1.0), (2_000, 1.0)]  # the file is one block, and was read at once


def test_memory_does_not_grow_with_the_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialect, "CHUNK", 1 << 16)

    def peak(rows: int) -> int:
        path = tmp_path / f"{rows}.csv"
        with path.open("w") as file:
            file.write("id,image,note\n")
            file.writelines(f"sku-{n},s3://shop/{n}.jpg,{'x' * 1_000}\n" for n in range(rows))
        options = PlanOptions(prompt="tidy up", buckets=frozenset({"shop"}))
        gc.collect()
        tracemalloc.start()
        make_plan(path, options, CATALOGUE, errors_csv=tmp_path / "errors.csv", sink=Row.as_line)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(100)  # what is made once

    small, large = peak(500), peak(2_500)

    assert large - small < 2_000 * 400  # what is remembered of ids and keys; the rows alone are over 2 MB


FLAGS: dict[str, Any] = {
    "prompt": "Put the {what} on {{oak}}",
    "model": "flux-2-flex",
    "name": "Herbst",
    "fields": {"seed": "7", "guidance": "4.50", "prompt_upsampling": "no"},
    "references": ("s3://shop/logo.png",),
    "output": "{name}/{kind|slug}/{id}.{ext}",
}


def by_flags(folder: Path) -> list[Row]:
    made, rows = plan(
        folder,
        "image;what;kind;seed\n"
        "s3://shop/Stuhl 1.jpg;=a {red} chair;Soft Seats;\n"
        "s3://shop/b.jpg;  a bench  ;Garden;9\n",
        **FLAGS,
    )
    assert not made.problems
    return rows


def test_a_row_that_says_everything_itself_is_the_same_row_as_the_flags_made(tmp_path: Path) -> None:
    flagged = by_flags(tmp_path)

    _, literal = plan(
        tmp_path,
        "id;image;what;kind;seed;prompt;model;output;guidance;prompt_upsampling;ref_1\r\n"
        "Stuhl 1.jpg;s3://shop/Stuhl 1.jpg;=a {red} chair;Soft Seats;7;Put the =a {red} chair on {oak};flux-2-flex;"
        "Herbst/soft-seats/Stuhl 1.{ext};4.5;False;s3://shop/logo.png\r\n"
        "b.jpg;s3://shop/b.jpg;  a bench  ;Garden;9;Put the   a bench   on {oak};flux-2-flex;"
        "Herbst/garden/b.{ext};4.5;False;s3://shop/logo.png\r\n",
        "failed.csv",
        prompt=None,
    )

    assert [(row.request, row.output, row.id) for row in literal] == [
        (row.request, row.output, row.id) for row in flagged
    ]


def test_a_row_that_is_written_out_by_machine_comes_back_the_same(tmp_path: Path) -> None:
    flagged = by_flags(tmp_path)
    path = tmp_path / "failed.csv"
    fields = sorted({name for row in flagged for name in row.request.params})
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "image", "ref_1", "prompt", "model", "output", *fields])
        for row in flagged:
            asked = row.request
            params = [str(asked.params.get(name, "")) for name in fields]
            writer.writerow([row.id, *asked.inputs, asked.prompt, asked.model, row.output, *params])

    again: list[Row] = []
    make_plan(
        path,
        PlanOptions(buckets=frozenset({"shop"})),
        CATALOGUE,
        errors_csv=tmp_path / "errors.csv",
        sink=again.append,
    )

    assert [(row.request, row.output, row.id) for row in again] == [
        (row.request, row.output, row.id) for row in flagged
    ]


def test_a_planned_row_survives_its_way_through_the_bucket(tmp_path: Path) -> None:
    for row in by_flags(tmp_path):
        assert Row.from_line(row.as_line()) == row
        assert isinstance(row.request, Request)


TEXTS = st.text(max_size=20)


@given(
    texts=st.tuples(TEXTS, TEXTS, TEXTS, TEXTS),
    inputs=st.lists(TEXTS, min_size=1, max_size=3),
    params=st.dictionaries(TEXTS, TEXTS | st.integers() | st.booleans() | st.floats(), max_size=2),
    cells=st.lists(TEXTS, max_size=4).map(tuple)
    | st.dictionaries(TEXTS, TEXTS | st.none() | st.integers(), max_size=3),
    sizes=st.dictionaries(TEXTS, st.tuples(st.integers(), st.integers()), max_size=2),
    numbers=st.tuples(st.integers(1), st.integers(0), st.integers(0), st.integers(0), st.integers(-1)),
    passes=st.booleans(),
    picture=st.none() | st.builds(Picture, TEXTS, TEXTS, TEXTS, TEXTS),
)
def test_a_line_is_what_the_json_encoder_writes(
    texts: tuple[str, str, str, str],
    inputs: list[str],
    params: dict[str, Param],
    cells: Cells,
    sizes: dict[str, tuple[int, int]],
    numbers: tuple[int, int, int, int, int],
    passes: bool,
    picture: Picture | None,
) -> None:
    number, expected, at_most, record, megapixels = numbers
    id_, group, prompt, output = texts
    request = Request(model="m", prompt=prompt, inputs=tuple(inputs), params=params, pass_urls=passes)
    row = Row(number, id_, group, "flux", request, output, expected, at_most, cells, sizes, record, picture, megapixels)
    data = row._asdict() | {"request": request.as_json()}
    left_out = {"record": 0, "picture": None, "megapixels": -1}
    data = {name: value for name, value in data.items() if name not in left_out or value != left_out[name]}

    line = row.as_line()

    assert line == json.dumps(data, ensure_ascii=False, separators=(",", ":"))
