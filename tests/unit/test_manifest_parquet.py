"""Parquet files, read with the extra package and refused in one sentence without it."""

from __future__ import annotations

import builtins
import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from producers.manifest.opened import open_manifest
from producers.manifest.problems import ManifestError
from producers.manifest.rows import BrokenRow, RawRow


def written(folder: Path, **columns: list[Any]) -> Path:
    path = folder / "autumn.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def test_each_value_is_a_text_as_a_csv_would_have_it(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        id=["a", None],
        n=[1, None],
        f=[4.5, 7.0],
        b=[True, False],
        d=[dt.date(2026, 3, 12), None],
        m=[Decimal("1.50"), None],
        tags=[["x"], []],
    )

    opened = open_manifest(path)

    assert [row.cells for row in opened.rows() if isinstance(row, RawRow)] == [
        ("a", "1", "4.5", "true", "2026-03-12", "1.50", '["x"]'),
        ("", "", "7", "false", "", "", "[]"),
    ]
    assert opened.table.columns == ("id", "n", "f", "b", "d", "m", "tags")
    assert opened.understood(1) == "autumn.parquet: Parquet, 2 rows, 7 columns (1 used)"


def test_a_long_text_that_many_rows_share_is_a_problem_of_each_and_held_once(tmp_path: Path) -> None:
    path = written(tmp_path, id=[str(n) for n in range(30)], note=["x" * 1_000_000] * 29 + ["short"])

    rows = list(open_manifest(path).rows())

    assert [type(row) for row in rows] == [BrokenRow] * 29 + [RawRow]
    assert isinstance(rows[0], BrokenRow)
    assert (rows[0].problem.line, rows[0].problem.column) == (1, "note")


def test_bytes_are_a_problem_of_their_row(tmp_path: Path) -> None:
    (row,) = open_manifest(written(tmp_path, id=[b"\xff"])).rows()

    assert isinstance(row, BrokenRow)
    assert "bytes" in row.problem.message


def test_a_parquet_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, id=["a"])
    path.write_bytes(path.read_bytes()[:-20])

    with pytest.raises(ManifestError, match="damaged"):
        open_manifest(path)


def test_without_the_package_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, id=["a"])
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)

    with pytest.raises(ManifestError, match=r"retouch\[parquet\]"):
        open_manifest(path)
