"""What benchmarks are made of: scenarios that the simulator takes, and inputs that are always the same."""

import csv
import io
from hashlib import sha256
from pathlib import Path

import pytest
from PIL import Image

from bench.inputs import picture, write_manifest
from bench.scenarios import KONTEXT_MAX, SCENARIOS, Scenario
from config.catalogue import shipped_catalogue
from simulator.__main__ import options_from


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_simulator_takes_the_options_of_every_scenario(scenario: Scenario) -> None:
    options = options_from(scenario.simulator(seed=3))

    assert (options.seed, options.latency, options.spread) == (3, scenario.latency_s, scenario.spread)
    assert options.upload_mbit == scenario.upload_mbit
    limit = shipped_catalogue().with_limit(options.active_limit).groups["flux"].size
    assert limit == scenario.slots


def test_a_quick_form_has_fewer_edits_and_never_shorter_ones() -> None:
    pairs = [(scenario, scenario.quick()) for scenario in SCENARIOS]

    for full, quick in pairs:
        if quick is not None:
            assert quick.edits < full.edits
            assert (quick.latency_s, quick.slots, quick.picture_kb) == (full.latency_s, full.slots, full.picture_kb)
    assert any(quick is not None for _, quick in pairs)


@pytest.mark.parametrize("kilobytes", [20, 200, 300])
def test_a_picture_weighs_what_is_asked_and_no_other_has_its_pixels(kilobytes: int) -> None:
    pictures = [picture(number, kilobytes) for number in range(3)]

    assert all(0.85 * kilobytes * 1000 <= len(data) <= 1.1 * kilobytes * 1000 for data in pictures)
    assert len({sha256(Image.open(io.BytesIO(data)).tobytes()).digest() for data in pictures}) == 3
    assert picture(1, kilobytes) == pictures[1]


def test_a_manifest_asks_for_as_many_different_edits_and_sorts_them_by_model(tmp_path: Path) -> None:
    scenario = Scenario(name="s", title="", entrants=(), edits=10, kontext_max_share=0.2, output_format="jpeg")

    write_manifest(tmp_path / "m.csv", scenario, ["s3://b/1.jpg", "s3://b/2.jpg"])

    with (tmp_path / "m.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len({(row["image"], row["prompt"]) for row in rows}) == len({row["id"] for row in rows}) == 10
    assert [row["model"] == KONTEXT_MAX for row in rows] == [False] * 8 + [True] * 2
    assert {row["output_format"] for row in rows} == {"jpeg"}


def test_rows_that_are_alike_ask_for_one_edit_of_each_picture(tmp_path: Path) -> None:
    scenario = Scenario(name="s", title="", entrants=(), edits=10, alike=True)

    write_manifest(tmp_path / "m.csv", scenario, ["s3://b/1.jpg", "s3://b/2.jpg"])

    with (tmp_path / "m.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len({(row["image"], row["prompt"]) for row in rows}) == 2
    assert len({row["id"] for row in rows}) == 10
