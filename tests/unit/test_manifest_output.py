"""Output keys: safe or refused, slugs, and the batch's name."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.manifest.output import batch_name, same_place, slug, unsafe
from producers.manifest.problems import ManifestError


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("Stühle 12/3", "stühle-12-3"),
        ("  A  B__C  ", "a-b-c"),
        ("../../etc/passwd", "etc-passwd"),
        ("कुर्सी लाल", "कुर्सी-लाल"),
        ("椅子 01", "椅子-01"),
        ("Cafe\u0301", "café"),
        ("a\u202eb", "a-b"),
    ],
)
def test_a_slug_keeps_letters_and_digits_of_any_script(text: str, made: str) -> None:
    assert slug(text) == made


def test_a_slug_is_never_empty_and_different_texts_stay_different() -> None:
    assert slug("???") != slug("!!!")
    assert slug("???") == slug("???")
    assert slug("")


@given(st.text(max_size=60))
def test_a_slug_is_always_a_safe_key_and_its_own_slug(text: str) -> None:
    made = slug(text)

    assert not unsafe(f"autumn/{made}.jpg", "retouch/")
    assert "/" not in made
    assert slug(made) == made


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/a.jpg",
        "a//b.jpg",
        "a/",
        "../a.jpg",
        "a/../b.jpg",
        "a/./b.jpg",
        "a/..",
        "a\\b.jpg",
        "a\n.jpg",
        "a\x7f.jpg",
        "a\u202egpj.exe",
        "a\u200b.jpg",
        "\ud800.jpg",
        "Cafe\u0301.jpg",
        "a{b}.jpg",
        "{{ext}",
        "retouch/results/x.jpg",
        "Retouch/x.jpg",
        "retouch",
        "a" * 1_021 + ".{ext}",
        "ü" * 511 + ".jpg",
    ],
)
def test_an_unsafe_key_is_refused(key: str) -> None:
    assert unsafe(key, "retouch/")


@pytest.mark.parametrize(
    "key",
    ["a.jpg", "autumn/stühle-1.{ext}", "a/b..c/.hidden", "retouched/x.jpg", "a b/(1).png", "x" * 1_019 + ".{ext}"],
)
def test_a_safe_key_is_left_alone(key: str) -> None:
    assert unsafe(key, "retouch/") == ""


@given(st.text(max_size=40))
def test_a_key_that_passes_is_what_it_seems(key: str) -> None:
    if unsafe(key, "retouch/"):
        return

    parts = key.split("/")
    assert not {"", ".", ".."} & set(parts)
    assert unicodedata.is_normalized("NFC", key)
    assert not any(unicodedata.category(letter) == "Cc" for letter in key)
    assert not key.startswith("retouch/")


def test_keys_that_differ_in_case_or_form_alone_are_one_place() -> None:
    assert same_place("a/Stühle.{ext}", "jpg") == same_place("A/stu\u0308hle.jpg", "png")


def test_keys_of_different_formats_are_different_places() -> None:
    assert same_place("a.{ext}", "jpg") != same_place("a.{ext}", "png")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("autumn_2026-11-22 (3).csv", "autumn"),
        ("autumn.csv", "autumn"),
        ("20261122_autumn.csv.gz", "autumn"),
        ("autumn-2026-11-22T2330.jsonl", "autumn"),
        ("autumn 22.11.2026 - Copy (2).csv", "autumn"),
        ("export_20261122_233000.csv", "export"),
        ("Stühle Herbst.csv", "stühle-herbst"),
        ("set_1.csv", "set-1"),
        ("spring_2026.csv", "spring-2026"),
        ("2026-11-22.csv", "2026-11-22"),
        ("product-20991.csv", "product-20991"),
        ("manifest", "manifest"),
        (".csv", "csv"),
    ],
)
def test_a_batch_is_named_after_its_manifest_without_dates_and_copies(file: str, name: str) -> None:
    assert batch_name(Path("/somewhere") / file) == name


def test_a_given_name_is_taken_as_it_is() -> None:
    assert batch_name(Path("autumn.csv"), "Team/Herbst 2026") == "Team/Herbst 2026"


@pytest.mark.parametrize("name", ["", "../x", "/x", "a{ext}", "x\n"])
def test_a_given_name_that_is_not_safe_is_refused(name: str) -> None:
    with pytest.raises(ManifestError, match="--name"):
        batch_name(Path("autumn.csv"), name)
