"""The whole report in one pass: its files, their agreement, and the memory it takes."""

import csv
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.batch import Batch, BatchState, Progress, Table, document
from jobs.job import Job, Result, State
from jobs.outcome import outcome
from jobs.report import joining
from jobs.report.build import Report, build_report
from jobs.report.joining import OutcomeMissing
from jobs.request import Request
from jobs.row import Row
from tests.fakes import charged


def a_row(number: int) -> Row:
    return Row(
        number=number,
        id=f"id-{number}",
        group="",
        limit_group="flux",
        request=Request(model="flux-2-pro", prompt=f"prompt {number}", inputs=(f"s3://in/{number}.jpg",)),
        output=f"shop/{number}.{{ext}}",
        expected=1,
        at_most=2,
        cells=(f"id-{number}", f"{number}.jpg"),
        sizes={},
    )


def ended(number: int, state: State = State.STORED, **changes: Any) -> dict[str, Any]:
    result = None
    if state == State.STORED:
        result = Result(key=f"shop/{number}.jpg", sha256="ab" * 32, bytes=10, format="jpeg", width=8, height=6)
    return outcome(Job(order=a_row(number).order("b"), state=state, result=result, **changes))


def none(row: Row, told: dict[str, Any]) -> tuple[None, None]:
    return None, None


def build(
    folder: Path,
    rows: int,
    outcomes: Iterator[dict[str, Any]] | list[dict[str, Any]],
    *,
    state: BatchState = BatchState.DONE,
    form: str = "csv",
    **options: Any,
) -> Report:
    batch = Batch(
        id="b",
        name="spring",
        created_at=1.0,
        rows=rows,
        groups={},
        expected=1,
        at_most=2,
        ceiling=3,
        allowance=0,
        table=Table(form=form, columns=("id", "image")),
    )
    progress = Progress(state=state, cursors={}, staged={}, hot={}, counts={})
    plan = (a_row(number) for number in range(1, rows + 1))
    return build_report(batch, document(batch, progress), plan, outcomes, folder, pictures=none, at=99.0, **options)


def test_the_files_agree_with_each_other_row_for_row(tmp_path: Path) -> None:
    outcomes = [ended(3), ended(2, State.FAILED, reason="image_empty"), ended(1, charges=charged(45_000)), ended(3)]

    report = build(tmp_path, 3, outcomes)

    lines = [json.loads(line) for line in (tmp_path / "outcomes.jsonl").read_text().splitlines()]
    with (tmp_path / "results.csv").open(newline="") as file:
        results = list(csv.DictReader(file))
    with (tmp_path / "failed.csv").open(newline="") as file:
        failed = list(csv.DictReader(file))
    assert [line["row"] for line in lines] == [1, 2, 3]
    assert [row["id"] for row in results] == ["id-1", "id-2", "id-3"]
    assert [row["retouch_status"] for row in results] == [line["state"] for line in lines]
    assert [row["id"] for row in failed] == ["id-2"]
    assert json.loads((tmp_path / "summary.json").read_text()) == report.summary
    assert report.summary["counts"]["stored"] == 2
    assert "id-2" in (tmp_path / "report.html").read_text()


def test_the_summary_is_named_last_and_exactly_the_named_files_are_left_behind(tmp_path: Path) -> None:
    report = build(tmp_path, 2, [ended(1), ended(2, State.FAILED)])

    assert report.files == ("outcomes.jsonl", "results.csv", "failed.csv", "report.html", "summary.json")
    assert {path.name for path in tmp_path.iterdir()} == set(report.files)
    assert report.summary["files"] == list(report.files)


def test_a_batch_in_which_every_row_made_it_has_no_failed_file(tmp_path: Path) -> None:
    build(tmp_path, 1, [ended(1, State.FAILED)])

    report = build(tmp_path, 1, [ended(1)])

    assert "failed.csv" not in report.files
    assert not (tmp_path / "failed.csv").exists()


def test_a_cancelled_batch_has_an_outcome_for_every_row(tmp_path: Path) -> None:
    report = build(tmp_path, 3, [ended(2)], state=BatchState.CANCELLED)

    lines = [json.loads(line) for line in (tmp_path / "outcomes.jsonl").read_text().splitlines()]
    assert [line["state"] for line in lines] == ["cancelled", "stored", "cancelled"]
    assert report.summary["counts"]["cancelled"] == 2
    assert report.summary["counts"]["queued"] == 0


def test_a_report_is_not_written_over_a_gap(tmp_path: Path) -> None:
    with pytest.raises(OutcomeMissing, match="Row 2"):
        build(tmp_path, 3, [ended(1), ended(3)])

    assert not (tmp_path / "summary.json").exists()
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_the_same_report_written_twice_is_the_same_to_the_byte(tmp_path: Path) -> None:
    outcomes = [ended(2, State.FAILED, reason="api_error"), ended(1)]
    names = build(tmp_path, 3, outcomes, state=BatchState.CANCELLED).files
    first = [(tmp_path / name).read_bytes() for name in names]

    build(tmp_path, 3, [*reversed(outcomes), *outcomes], state=BatchState.CANCELLED)

    assert [(tmp_path / name).read_bytes() for name in names] == first


def test_memory_does_not_grow_with_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "LINES_PER_WRITE", 50)

    def peak(rows: int) -> int:
        # a third fails, and outcomes come in no order at all (211 is prime)
        numbers = (number * 211 % rows + 1 for number in range(rows))
        outcomes = (ended(n, State.FAILED if n % 3 else State.STORED, reason="api_error") for n in numbers)
        tracemalloc.start()
        build(tmp_path, rows, outcomes, cards=5, rows_per_range=50)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(100)  # warms the caches: the template, the style sheet, the codecs
    # What other threads of this process allocate meanwhile is traced, too, but not each time.
    small, large = peak(200), min(peak(800) for _ in range(3))

    assert large < small * 1.25
