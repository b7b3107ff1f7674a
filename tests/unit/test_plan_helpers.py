"""A long table is checked by several processes; nothing that comes of it shows how many there were."""

from __future__ import annotations

import csv
import io
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.catalogue import shipped_catalogue
from jobs.row import IdleRow, Row
from producers import plan as module
from producers.manifest import helpers as helpers_module
from producers.manifest.helpers import Bench
from producers.manifest.problems import ManifestError
from producers.plan import Plan, PlanOptions, make_plan
from tests.servers import wait_until

CATALOGUE = shipped_catalogue()
OPTIONS = PlanOptions(
    prompt="make {title} shine",
    name="autumn",
    output="{name}/{id|slug}.{ext}",
    bucket="shop",
    buckets=frozenset({"shop"}),
    group="title",
)
HEADER = "id,image,ref_1,model,prompt,seed,title,output"


class Made:
    """Everything that a plan tells, writes and returns."""

    def __init__(self, path: Path, helpers: int, settle: Callable[[Row], bool] | None = None) -> None:
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
                helpers=helpers,
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
    monkeypatch.setattr(module, "ALONE_ROWS", 3)
    monkeypatch.setattr(helpers_module, "ROWS_PER_BLOCK", 2)
    begin = helpers_module._Helper.__init__

    def begun(helper: Any, *args: Any, **said: Any) -> None:
        begin(helper, *args, **said)
        wait_until(lambda: helper._begun or helper._ended, what="a helper to be ready")

    monkeypatch.setattr(helpers_module._Helper, "__init__", begun)


def table(path: Path, rows: list[list[str]]) -> Path:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    path.write_text(f"{HEADER}\n{text.getvalue()}", encoding="utf-8")
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
        st.sampled_from(["", "", "s3://shop/b.jpg"]),
        st.sampled_from(["", "", "flux-2-max", "flux-3"]),
        st.sampled_from(["", "", "on white", "#REF!"]),
        st.sampled_from(["", "7", "many"]),
        st.sampled_from(["A chair", "", "two\nlines", "Stühle \u2028"]),
        st.sampled_from(["", "", "", "autumn/b.{ext}", "../up.{ext}", "autumn/{title}.jpg"]),
    ).map(list)
    | st.just([""] * 8)
    | st.just(["too", "short"]),
    min_size=10,
    max_size=40,
)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_rows_come_to_the_same_one_by_one_in_blocks_and_in_several_processes(
    tmp_path: Path, rows: list[list[str]]
) -> None:
    path = table(tmp_path / "shop.csv", rows)

    several, one = Made(path, helpers=2), Made(path, helpers=0)

    assert several == one == Made(path, helpers=0, settle=lambda _: False)


def good(rows: int) -> list[list[str]]:
    return [[f"r-{n}", f"s3://shop/in/{n}.jpg", "", "", "", "", "chair", ""] for n in range(rows)]


def test_a_file_that_breaks_late_is_refused_in_the_same_words(tmp_path: Path) -> None:
    path = table(tmp_path / "shop.csv", good(100))
    path.write_text(path.read_text() + 'r-100,"s3://shop/never closed\n')

    found = Made(path, helpers=2)

    assert "never closed" in found.error
    assert found.error == Made(path, helpers=0).error


@contextmanager
def watching(monkeypatch: pytest.MonkeyPatch, sent: Callable[[Any, int], None]) -> Iterator[list[Any]]:
    """Call `sent` with a helper and the number of its block, before the block goes there."""
    seen: list[Any] = []
    send = helpers_module._Helper.send

    def watched(helper: Any, rows: Any) -> bool:
        seen.append(helper)
        sent(helper, len(seen))
        return send(helper, rows)

    monkeypatch.setattr(helpers_module._Helper, "send", watched)
    yield seen


def test_a_helper_that_dies_costs_nothing_but_its_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path / "shop.csv", good(200))

    def kill(helper: Any, block: int) -> None:
        if block == 5:
            os.kill(helper._process.pid, signal.SIGKILL)

    with watching(monkeypatch, kill) as seen:
        found = Made(path, helpers=1)

    assert len(seen) >= 5
    assert found == Made(path, helpers=0)


def test_helpers_end_with_a_plan_that_is_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path / "shop.csv", good(200))

    def interrupt(helper: Any, block: int) -> None:
        if block == 5:
            raise KeyboardInterrupt

    with watching(monkeypatch, interrupt) as seen, pytest.raises(KeyboardInterrupt):
        Made(path, helpers=2)

    assert {helper._process.poll() for helper in seen} == {-signal.SIGKILL}
    assert not any(helper._reader.is_alive() for helper in seen)


def test_blocks_that_are_in_memory_are_few_however_slow_helpers_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = table(tmp_path / "shop.csv", good(300))
    own: list[int] = []
    verdicts = Bench.verdicts

    def counted(bench: Bench, rows: Any) -> list[tuple[Any, ...]]:
        found = verdicts(bench, rows)
        own.append(len(found))
        return found

    def stop(helper: Any, block: int) -> None:
        os.kill(helper._process.pid, signal.SIGSTOP)
        if block == 3:
            os.kill(helper._process.pid, signal.SIGKILL)

    monkeypatch.setattr(Bench, "verdicts", counted)
    with watching(monkeypatch, stop) as seen:
        found = Made(path, helpers=1)

    assert len(seen) == 3
    assert sum(own) == 300
    assert found == Made(path, helpers=0)


def test_a_short_table_starts_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path / "shop.csv", good(3))

    with watching(monkeypatch, lambda *_: None) as seen:
        found = Made(path, helpers=2)

    assert found.plan is not None
    assert not seen


def test_rows_that_may_be_settled_are_looked_at_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path / "shop.csv", good(50))
    asked: list[str] = []

    def settle(row: Row) -> bool:
        asked.append(row.id)
        return True

    with watching(monkeypatch, lambda *_: None) as seen:
        made = make_plan(
            path,
            OPTIONS,
            CATALOGUE,
            errors_csv=tmp_path / "e.csv",
            settle=settle,
            helpers=2,
        )

    assert made.unchanged == len(asked) == 50
    assert not seen
