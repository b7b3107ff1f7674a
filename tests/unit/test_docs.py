"""The pages that are drawn from tables say what the tables say."""

import importlib.util
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_every_drawn_page_is_as_its_table_stands() -> None:
    spec = importlib.util.spec_from_file_location("draw", DOCS / "draw.py")
    assert spec is not None
    assert spec.loader is not None
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)

    stale = [name for name, text in draw.pages().items() if (DOCS / name).read_text(encoding="utf-8") != text]

    assert stale == [], "run `make docs`"
