"""Long forms of what the other tests hold: at the size that a promise names, behind a make target of their own.

`pytest` alone does not come here. `SCALE_IMAGES` (100,000) and `SCALE_ROWS` (1,000,000) in the
environment say how large.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from tests.acceptance.conftest import house, servers

__all__ = ["Tell", "house", "scale_images", "scale_rows", "servers", "spacious", "tell"]


class Tell(Protocol):
    """Says figures by name."""

    def __call__(self, **figures: object) -> None: ...


@pytest.fixture(scope="session")
def scale_images() -> int:
    """How many pictures the large batch has."""
    return int(os.environ.get("SCALE_IMAGES", "100000"))


@pytest.fixture(scope="session")
def scale_rows() -> int:
    """How many rows the largest batch has."""
    return int(os.environ.get("SCALE_ROWS", "1000000"))


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Tell:
    """Write what was measured to the terminal, whether or not the test holds."""

    def write(**figures: object) -> None:
        with capsys.disabled():
            sys.stdout.write("".join(f"\n  {name.replace('_', ' ')}: {value}" for name, value in figures.items()))

    return write


@pytest.fixture
def spacious(tmp_path: Path) -> Iterator[Path]:
    """A folder for gigabytes; unlike `tmp_path` it is gone after the test."""
    folder = tmp_path / "spacious"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
