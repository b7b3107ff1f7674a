"""Folders, profiles and their drafts, as the command line gives them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from producers.cli import run

FIXTURES = Path(__file__).parents[1] / "fixtures" / "manifests"


@pytest.fixture(autouse=True)
def _an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_folder_is_planned_with_a_pattern(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "oak_1.png")

    code = run(["plan", "photos", "--pattern", "{sku}_{n}.{ext}", "--prompt", "the {sku}", "--json"])

    document = json.loads(capsys.readouterr().out)
    assert (code, document["rows"], document["name"]) == (0, 1, "photos")


def test_a_drafted_profile_plans_the_export_that_it_was_drafted_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export = str(FIXTURES / "shopify.csv")

    assert run(["columns", export]) == 0
    (tmp_path / "shop.toml").write_text(capsys.readouterr().out, encoding="utf-8")
    code = run(["plan", export, "--source", "shop.toml", "--prompt", "the {Title}", "--json"])

    document = json.loads(capsys.readouterr().out)
    assert (code, document["rows"], document["invalid"]) == (2, 2, 3)  # the draft does not know that they go on
    assert {problem["code"] for problem in document["problems"]} == {"value_missing"}


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("s3://retouch/in/", "lies in the local store, and none was ever started in this folder"),
        ("s3://shop/in/", "No store is set in which 's3://shop/in/' could lie"),
    ],
)
def test_a_prefix_of_a_store_that_is_nowhere_is_an_error_that_says_which_store_to_set(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)

    code = run(["plan", place, "--prompt", "x", "--json"])

    document = json.loads(capsys.readouterr().out)
    assert code == 2
    assert message.replace("'", "") in document["error"]["message"].replace("'", "")
    assert "RETOUCH_S3__BUCKET" in document["error"]["remedy"]
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_a_manifest_names_its_file_line_and_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "m.csv").write_text("id,image,note,note\n1,a,b,c\n")

    code = run(["plan", "m.csv", "--prompt", "x", "--json"])

    document = json.loads(capsys.readouterr().out)
    assert code == 2
    assert document["error"]["message"].startswith("m.csv, line 1: two columns are named 'note'")
    assert (document["file"], document["line"], document["column"]) == ("m.csv", 1, "note")
