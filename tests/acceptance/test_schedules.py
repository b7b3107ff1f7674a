"""What a schedule does, with the real servers and real processes, as its page shows it."""

from __future__ import annotations

import csv
import json
import os
from datetime import UTC, datetime, timedelta
from io import BytesIO, StringIO

import pytest
from PIL import Image

from producers.schedules.cron import stamp
from running.programs import ROOT, Document, eventually
from tests.acceptance.clock import Clock
from tests.acceptance.harness import MODEL, House, picture
from tests.acceptance.nights import keys, records, said, start
from tests.acceptance.test_readme import blocks

NIGHTLY = """
[[schedule]]
name = "nightly"
cron = "30 23 * * *"
time_zone = "Europe/Berlin"
manifest = "manifest.csv"
max_cost_usd = 100
settle_s = 0
"""
FIRST_NIGHT, SECOND_NIGHT = (datetime(2026, 12, day, 22, 30, tzinfo=UTC) for day in (1, 2))
SLOTS = "200"
PAGE = ROOT / "docs" / "schedules.md"


def lay(house: House, key: str, data: bytes) -> None:
    house.servers.bucket.put(f"{house.name}/{key}", data)


def table_at(house: House, key: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(house.servers.bucket.get(key).decode("utf-8-sig"))))


def test_the_example_of_pictures_joined_with_a_table_does_what_its_page_says(house: House) -> None:
    api = house.simulate()
    house.workers(1)
    for name in ("LAMP-1_1.png", "LAMP-1_2.png", "SOFA-7_1.png", "MUG-3_1.png"):
        lay(house, f"shop-photos/autumn/{name}", picture(sum(name.encode())))
    table = "sku;product_name\nLAMP-1;lamp Änne\nSOFA-7;sofa\nVASE-2;vase\n"
    lay(house, "shop-exports/products.csv", table.encode("cp1252"))
    (example,) = (text for text in blocks(PAGE, "toml") if "[schedule.manifest]" in text)
    here = f"s3://{house.servers.bucket.name}/{house.name}/"
    example = example.replace("s3://", here).replace('output = "autumn/', f'output = "{house.name}/')
    example = example.replace("max_cost_usd = 25", "max_cost_usd = 25\ntolerance = 0.3") + f'model = "{MODEL}"\n'
    (house.folder / "schedules.toml").write_text(example, encoding="utf-8")

    ran = house.retouch("schedule", "run", "autumn-photos", "--yes", "--json").document
    books = house.ended(ran["batch"], 60)

    assert (ran["rows"], ran["invalid"], ran["without_picture"]) == (4, 1, 1)
    told = [(row["code"], row["problem"]) for row in table_at(house, ran["errors"])]
    assert [code for code, _ in told] == ["picture_without_row", "row_without_picture"]
    assert ("MUG-3" in told[0][1], "VASE-2" in told[1][1]) == (True, True)
    results = table_at(house, f"{house.prefix}batches/{ran['batch']}/results.csv")
    assert [(row["sku"], row["position"], row["product_name"]) for row in results] == [
        ("LAMP-1", "1", "lamp Änne"),
        ("LAMP-1", "2", "lamp Änne"),
        ("MUG-3", "1", ""),  # left out, and shown with its reason
        ("SOFA-7", "1", "sofa"),
    ]
    outputs = sorted(outcome["output"].partition("/")[2] for outcome in books.outcomes)
    assert outputs == ["lamp-1/01.jpg", "lamp-1/02.jpg", "sofa-7/01.jpg"]
    assert len(api.ledger()["entries"]) == 3


def jpeg(number: int, taken_by: str = "") -> bytes:
    """Return a picture of which there are many; who took it stands in its Exif."""
    squares = Image.frombytes("L", (4, 4), bytes(255 * (number >> bit & 1) for bit in range(16)))
    file = BytesIO()
    squares.resize((64, 64), Image.Resampling.NEAREST).save(file, "JPEG")
    data = file.getvalue()
    if not taken_by:
        return data
    exif = Image.Exif()
    exif[0x013B] = taken_by  # Artist
    block = exif.tobytes()
    return data[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + data[2:]


PRODUCTS = int(os.environ.get("NIGHT_PRODUCTS", "200"))
"""`make long` plays the night of 1,000."""

NEW = range(2000, 2010)
"""The products that come in the second night."""


def product(number: int, prompt: str = "on white") -> dict[str, str]:
    return {"id": f"p{number:04d}", "image": f"photos/{number}.jpg", "prompt": prompt, "model": MODEL}


@pytest.mark.timeout(900)
def test_the_second_night_buys_what_is_new_or_changed_and_nothing_else(
    turned_house: tuple[House, Clock],
) -> None:
    house, clock = turned_house
    api = house.simulate("--latency", "0.02", "--active-limit", SLOTS)
    (house.folder / "schedules.toml").write_text(NIGHTLY, encoding="utf-8")
    photos = house.folder / "photos"
    photos.mkdir()
    for n in range(PRODUCTS):
        (photos / f"{n}.jpg").write_bytes(jpeg(n))
    house.manifest([product(n) for n in range(PRODUCTS)])
    clock.run_from(FIRST_NIGHT - timedelta(seconds=30))
    house.workers(1, RETOUCH_API__ACTIVE_LIMIT=SLOTS)
    programs = [start(house, "beat"), start(house, "intake")]

    def night(at: datetime) -> tuple[Document, Document]:
        """Let it become a night; return its record and the summary of its batch."""
        eventually(lambda: keys(house, "schedules/nightly/since.json"), 60, lambda: said(*programs))
        clock.run_from(at - timedelta(seconds=1))
        last = stamp(at)
        eventually(lambda: last in [one["firing"] for one in records(house, "nightly")], 120, lambda: said(*programs))
        record = records(house, "nightly")[-1]
        assert record["outcome"] == "opened", record
        house.finished(record["batch"], 200)
        return record, json.loads(house.servers.bucket.get(f"{house.prefix}batches/{record['batch']}/summary.json"))

    first, _ = night(FIRST_NIGHT)
    bought = len(api.ledger()["entries"])
    for n in range(PRODUCTS):  # a tool has rewritten every file; 37 of them are other pictures
        (photos / f"{n}.jpg").write_bytes(jpeg(n + 5000 if n < 37 else n, taken_by="somebody"))
    for n in NEW:
        (photos / f"{n}.jpg").write_bytes(jpeg(n))
    changed = [product(n, "on black" if 100 <= n < 105 else "on white") for n in range(PRODUCTS)]
    house.manifest([*changed[:150], *(product(n) for n in NEW), *changed[150:]])
    second, summary = night(SECOND_NIGHT)

    assert (first["delta"], bought) == (PRODUCTS, PRODUCTS)
    assert len(api.ledger()["entries"]) - bought == 37 + 5 + 10
    assert second["delta"] == 37 + 5 + 10
    assert (summary["counts"]["stored"], summary["counts"]["unchanged"]) == (52, PRODUCTS - 42)
    plan = house.servers.bucket.get(f"{house.prefix}batches/{second['batch']}/plan/1/flux/000000.jsonl").decode()
    ahead = [json.loads(line)["id"] for line in plan.splitlines()[:11]]
    assert ahead == [*(f"p{n}" for n in NEW), "p0000"]
    results = table_at(house, f"{house.prefix}batches/{second['batch']}/results.csv")
    assert [row["id"] for row in results[149:161]] == ["p0149", *(f"p{n}" for n in NEW), "p0150"]
