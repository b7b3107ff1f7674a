"""Plain rows are judged quickly, and come to what any row is judged to be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.catalogue import shipped_catalogue
from producers.manifest.judging import Judge
from producers.manifest.learnt import Terms
from producers.manifest.options import PlanOptions
from producers.manifest.plain import Plain
from producers.manifest.problems import ManifestError
from producers.manifest.rows import RawRow

CATALOGUE = shipped_catalogue()
COLUMNS = ("sku", "image", "title", "id", "prompt", "model", "seed", "output", "pass_urls")
ODD = [
    "#REF!",
    "1,2E+05",
    "12-Mar",
    "x" * 1_100,
    "x" * 600,
    ".",
    "..",
    "./a",
    "a//b",
    "/",
    "a/",
    " ",
    "",
    "{ext}",
    "}",
    "{",
]
ODD += ["\\", '"', "\u2028", "a\tb", "\u00a0", "İ", "a\u0301", "ß", "\ufeff", "Autumn", "%", "1\n2"]
UNUSUAL = {
    "image": [
        *("s3://shop/" + odd for odd in ODD),
        " s3://shop/Autumn/b.jpg ",
        "s3://shop/AUTUMN/b.jpg",
        "s3://shop/ÄUTUMN/b.jpg",
        "s3://shop/ .jpg",
        "s3://other/a.jpg",
        "https://example.com/a.jpg?x=1",
        "https://example.com/a%22%7b.jpg",
        "https://10.0.0.1/a.jpg",
        "http://example.com/a.jpg",
        "nowhere.png",
    ],
    "output": ["a/b.jpg", "a/b.{ext}", "../a.jpg"],
    "model": ["flux-2-max", " flux-2-pro ", "flux-9"],
    "seed": ["7", "many"],
    "pass_urls": ["yes"],
}
USUAL = {"sku": "B-1", "image": "s3://shop/in/a.jpg", "title": "Stühle, 4,5 cm"}
CELLS = {
    name: st.just(USUAL.get(name, "")) | st.sampled_from(UNUSUAL.get(name, ODD)) | st.text(max_size=4)
    for name in COLUMNS
}
PROMPTS = ["make {title} shine", 'no. #{sku} "{title}"\n', "x" * 31_987 + "{title}"]
OUTPUTS = [
    None,
    "{name}/{title|slug}/{sku}.{ext}",
    "{name}/{row|pad3}-{id|upper|first8}.{ext}",
    "{name}/{id}",
    "{title}/{sku|lower}",
    "Retouch{sku}/{ext}",
    "{sku}/{title}",
    "ä/{sku}.{ext}",
    "{ext}/{title}",
]
USED = PlanOptions(bucket="shop", buckets=frozenset({"shop"}), prefix="b-1/")
OPTIONS = st.builds(
    PlanOptions,
    prompt=st.sampled_from(PROMPTS),
    output=st.sampled_from(OUTPUTS),
    bucket=st.sampled_from(["shop", ""]),
    buckets=st.just(USED.buckets),
    prefix=st.sampled_from(["retouch/", "Autumn/a", "b-1/"]),
    group=st.sampled_from([None, "title"]),
    pass_urls=st.booleans(),
    date_ids=st.booleans(),
)


def judge(options: PlanOptions, columns: tuple[str, ...], name: str = "Autumn") -> Judge:
    return Judge(Terms(columns=columns, options=options, catalogue=CATALOGUE, folder=Path("/nowhere"), name=name))


def slowly(judge: Judge, raw: RawRow) -> tuple[object, ...] | None:
    """Return what the judge makes of a row, as `Plain` would say it; None where something is wrong with it."""
    _, row, id_, key, place, pictures, _, _ = judge.judge(raw)
    if row is None:
        return None
    request = row.request
    numbers = len(request.inputs) - 1, row.megapixels, row.expected, row.at_most
    assert not row.local
    return id_, key, place, pictures, (row.limit_group, request.model, *numbers), row.as_line()


def assert_same(found: Judge, cells: Iterable[tuple[str, ...]]) -> None:
    raws = [RawRow(n, n + 1, each, record=n) for n, each in enumerate(cells, 1)]
    for lines in (True, False):
        plain = Plain(found, lines=lines)
        verdicts = [(plain.verdict(raw), slowly(found, raw)) for raw in raws] if plain.any else []

        assert [quick for quick, _ in verdicts if quick is not None] == [
            full if lines or full is None else (*full[:5], "") for quick, full in verdicts if quick is not None
        ]


@given(data=st.data(), options=OPTIONS, columns=st.sampled_from([COLUMNS, COLUMNS[:3], COLUMNS[:4]]))
def test_a_plain_row_comes_to_what_any_row_does(
    data: st.DataObject, options: PlanOptions, columns: tuple[str, ...]
) -> None:
    cells = data.draw(st.lists(st.tuples(*(CELLS[name] for name in columns)), min_size=1))
    try:
        found = judge(options, columns)
    except ManifestError:
        return

    assert_same(found, cells)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("columns", [COLUMNS, COLUMNS[:3]])
def test_one_odd_cell_is_seen_whatever_it_is_for(columns: tuple[str, ...], prompt: str, output: str | None) -> None:
    found = judge(replace(USED, prompt=prompt, output=output), columns)
    usual = {name: USUAL.get(name, "") for name in columns}

    assert_same(
        found,
        [tuple({**usual, name: odd}.values()) for name in columns for odd in (usual[name], *UNUSUAL.get(name, ODD))],
    )


@pytest.mark.parametrize(
    "cells",
    [
        ("A-1", "s3://shop/in/a.jpg", "Chair, 4,5 cm"),
        ("A-1", "https://example.com/a.jpg?x=1&y=2", "Stühle"),
    ],
)
def test_what_a_shop_exports_is_plain(cells: tuple[str, ...]) -> None:
    options = PlanOptions(prompt="make {title} shine", bucket="shop", buckets=frozenset({"shop"}))
    plain = Plain(judge(options, COLUMNS[:3]), lines=True)

    assert plain.any
    assert plain.verdict(RawRow(1, 2, cells, record=1)) is not None


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (PlanOptions(prompt="x", references=("s3://shop/style.jpg",)), "Autumn"),
        (PlanOptions(prompt="x", output="a\\{sku}.{ext}"), "Autumn"),
        (PlanOptions(prompt="x"), "Autumn {x}"),
    ],
)
def test_no_row_is_plain_where_each_has_a_reference_or_an_odd_key(options: PlanOptions, name: str) -> None:
    assert not Plain(judge(options, COLUMNS[:3], name), lines=True).any
