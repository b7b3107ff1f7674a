"""Every promise in docs/promises.md has the test that it names."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "promises.md"
LINK = re.compile(r"\[(\w+(?:\.py)?)\]\(\.\./(tests/[\w/]+\.py)\)")


def test_every_test_that_a_promise_names_exists() -> None:
    text = PAGE.read_text(encoding="utf-8")

    links = LINK.findall(text)
    wrong = [name for name, file in links if not stands(name, ROOT / file)]

    assert wrong == []
    assert len(links) == text.count("](../tests/"), "every link names a test, or a file, in the form that is checked"


def stands(name: str, file: Path) -> bool:
    if name.endswith(".py"):
        return file.is_file() and file.name == name
    return file.is_file() and f"def {name}(" in file.read_text(encoding="utf-8")


def test_every_promise_in_the_table_of_what_was_seen_names_a_test() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("## What was seen")[2].partition("*Under fire*")[0]

    rows = [line for line in table.splitlines() if line.startswith("|")][2:]

    assert len(rows) >= 10
    assert [row for row in rows if not LINK.search(row)] == []
