"""Plain rows are taken quickly; nothing that comes of a plan shows it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.catalogue import shipped_catalogue
from jobs.row import IdleRow, Row
from producers import plan as module
from producers.manifest.problems import ManifestError
from producers.plan import Plan, PlanOptions, make_plan

CATALOGUE = shipped_catalogue()
OPTIONS = PlanOptions(
    prompt="make {title} shine",
    name="autumn",
    output="{name}/{id|slug}.{ext}",
    bucket="shop",
    buckets=frozenset({"shop"}),
    group="title",
)
HEADER = ("id", "image", "model", "prompt", "seed", "title", "output")


class Made:
    """Everything that a plan tells, writes and returns."""

    def __init__(self, path: Path, settle: Callable[[Row], bool] | None = None) -> None:
        self.lines: list[tuple[str, str, bool]] = []
        self.aside: list[IdleRow] = []
        self.told: list[int] = []
        self.plan: Plan | None = None
        self.error = ""
        errors = path.with_name("errors.csv")
        errors.unlink(missing_ok=True)
        try:
            self.plan = make_plan(
                path,
                OPTIONS,
                CATALOGUE,
                errors_csv=errors,
                lines=lambda *line: self.lines.append(line),
                aside=self.aside.append,
                settle=settle,
                on_progress=lambda rows, _: self.told.append(rows),
            )
        except ManifestError as error:
            self.error = f"{error.file} {error}"
        self.errors = errors.read_text() if errors.exists() else ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Made) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(self.error)


@pytest.fixture(autouse=True)
def _early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXPECTED_AFTER", 3)
    monkeypatch.setattr(module, "KINDS", 1)


def table(path: Path, rows: list[list[str]]) -> Path:
    text = io.StringIO()
    csv.writer(text).writerows([HEADER, *rows])
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


IDS = st.text("abc/{}", max_size=4) | st.sampled_from(
    ["a-1", "a-2", "A-1", "b", "", "12-3", "1,2E+05", "ä", "x" * 600, " "]
)
PLACES = st.sampled_from(
    [
        "s3://shop/in/a.jpg",
        "s3://shop/autumn/a-1.jpg",
        "s3://shop/autumn/b.png",
        "s3://other/a.jpg",
        "https://example.com/a%20b.jpg?x=1",
        "http://10.0.0.1/a.jpg",
        "nowhere.png",
        "",
    ]
)
ROWS = st.lists(
    st.tuples(
        IDS,
        PLACES,
        st.sampled_from(["", "", "flux-2-max", "flux-3"]),
        st.sampled_from(["", "", "on white", "#REF!"]),
        st.sampled_from(["", "7", "many"]),
        st.sampled_from(["A chair", "", "two\nlines", "Stühle \u2028"]),
        st.sampled_from(["", "", "", "autumn/b.{ext}", "../up.{ext}", "autumn/{title}.jpg"]),
    ).map(list)
    | st.just([""] * 7)
    | st.just(["too", "short"]),
    min_size=10,
    max_size=40,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_a_plan_is_the_same_whether_its_plain_rows_are_taken_quickly_or_like_all_others(
    tmp_path: Path, rows: list[list[str]]
) -> None:
    path = table(tmp_path / "shop.csv", rows)

    assert Made(path) == Made(path, settle=lambda _: False)


def test_models_of_as_many_rows_are_told_in_the_same_order_whichever_row_comes_first(tmp_path: Path) -> None:
    rows = good(12)
    for row in rows[6:]:
        row[2] = "flux-2-max"

    plans = [Made(table(tmp_path / "shop.csv", each)).plan for each in (rows, rows[::-1])]

    assert [[line.model for line in plan.estimate.models] for plan in plans if plan] == [
        ["flux-2-max", "flux-2-pro"]
    ] * 2


def good(rows: int) -> list[list[str]]:
    return [[f"r-{n}", f"s3://shop/in/{n}.jpg", "", "", "", "chair", ""] for n in range(rows)]


def test_a_file_that_breaks_late_is_refused_in_the_same_words(tmp_path: Path) -> None:
    path = table(tmp_path / "shop.csv", good(100))
    path.write_text(path.read_text() + 'r-100,"s3://shop/never closed\n')

    found = Made(path)

    assert "never closed" in found.error
    assert found.error == Made(path, settle=lambda _: False).error


def test_plain_rows_are_told_apart_from_rows_before_them_that_are_not(tmp_path: Path) -> None:
    rows = good(3)
    odd = ["r-1", "s3://shop/in/{1}.jpg", "", "", "", "chair", ""]

    found = Made(table(tmp_path / "shop.csv", [odd, *rows, odd]))

    assert found.plan is not None
    assert [(one.line, one.code) for one in found.plan.problems] == [(4, "id_duplicate"), (6, "id_duplicate")]


def test_rows_that_may_be_settled_are_looked_at_one_by_one(tmp_path: Path) -> None:
    path = table(tmp_path / "shop.csv", good(50))
    asked: list[str] = []

    def settle(row: Row) -> bool:
        asked.append(row.id)
        return True

    made = make_plan(path, OPTIONS, CATALOGUE, errors_csv=tmp_path / "e.csv", settle=settle)

    assert made.unchanged == len(asked) == 50
