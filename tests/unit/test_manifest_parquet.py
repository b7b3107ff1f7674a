"""Parquet files, read with the extra package and refused in one sentence without it."""

from __future__ import annotations

import builtins
import contextlib
import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.manifest import pages
from producers.manifest.opened import open_manifest
from producers.manifest.problems import ManifestError
from producers.manifest.rows import AnyRow, BrokenRow, RawRow


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


def grown(call: Callable[[], object]) -> int:
    """Return how many bytes Arrow held at most during this call."""
    usual = pyarrow.default_memory_pool()
    counted = pyarrow.proxy_memory_pool(usual)
    pyarrow.set_memory_pool(counted)
    try:
        call()
    finally:
        pyarrow.set_memory_pool(usual)
    return int(counted.max_memory())


@pytest.mark.parametrize("dictionary", [True, False])
def test_a_text_that_is_a_gigabyte_unpacked_is_refused_before_it_is(tmp_path: Path, dictionary: bool) -> None:
    path = tmp_path / "bomb.parquet"
    text = pyarrow.array(["x" * 90_000_000, "a"])
    pyarrow.parquet.write_table(
        pyarrow.table({"id": ["a", "b"], "note": text}), path, use_dictionary=dictionary, compression="zstd"
    )
    assert path.stat().st_size < 1_000_000

    with pytest.raises(ManifestError, match="pages of over 64 MB") as caught:
        open_manifest(path)

    assert (caught.value.column, "row groups" in caught.value.remedy) == ("note", True)


def test_many_columns_of_large_pages_are_refused_together(tmp_path: Path) -> None:
    columns = {f"c{n}": ["x" * 900_000] * 20 for n in range(10)}
    path = tmp_path / "wide.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path, use_dictionary=False, data_page_size=1 << 26)

    with pytest.raises(ManifestError, match="pages of over 64 MB"):
        open_manifest(path)


def test_files_in_a_column_are_read_some_at_a_time_and_each_is_a_problem_of_its_row(tmp_path: Path) -> None:
    path = tmp_path / "files.parquet"
    columns = {"id": [str(n) for n in range(300)], "file": [b"\xff" * 1_500_000] * 300}
    pyarrow.parquet.write_table(
        pyarrow.table(columns), path, use_dictionary=False, compression="zstd", write_batch_size=4
    )

    opened = open_manifest(path)
    rows: list[AnyRow] = []
    peak = grown(lambda: rows.extend(opened.rows()))

    assert [type(row) for row in rows] == [BrokenRow] * 300
    assert 0 < peak < 150_000_000  # all of them are 450 MB


def test_what_is_measured_is_what_the_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    columns = {"id": [str(n) for n in range(5_000)], "note": ["ab" * 500] * 5_000}
    for version in ("1.0", "2.0"):
        pyarrow.parquet.write_table(
            pyarrow.table(columns),
            path,
            use_dictionary=["id"],
            data_page_version=version,
            row_group_size=2_000,
            write_page_checksum=True,
        )
        with pyarrow.parquet.ParquetFile(path) as file, path.open("rb") as raw:
            groups = [file.metadata.row_group(n) for n in range(file.metadata.num_row_groups)]
            for group in groups:
                for chunk in (group.column(n) for n in range(group.num_columns)):
                    found = list(pages._pages(raw, chunk))
                    assert sum(page.values for page in found) == chunk.num_values
                    assert sum(page.bytes for page in found) <= chunk.total_uncompressed_size
                    assert sum(page.bytes for page in found) > chunk.total_uncompressed_size * 0.9
            assert pages.rows_at_once(path, file.metadata) == 256


@given(data=st.binary(max_size=200))
def test_no_header_at_all_keeps_the_reader_for_ever_or_breaks_it(data: bytes) -> None:
    with contextlib.suppress(pages.BadPage, IndexError):
        pages._Compact(data).struct()


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
