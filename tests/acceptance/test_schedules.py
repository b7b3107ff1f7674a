"""What a schedule does, with the real servers and real processes, as its page shows it."""

from __future__ import annotations

import csv
from io import StringIO

from tests.acceptance.harness import MODEL, House, picture
from tests.acceptance.programs import ROOT
from tests.acceptance.test_readme import blocks

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
        ("SOFA-7", "1", "sofa"),
    ]
    outputs = sorted(outcome["output"].partition("/")[2] for outcome in books.outcomes)
    assert outputs == ["lamp-1/01.jpg", "lamp-1/02.jpg", "sofa-7/01.jpg"]
    assert len(api.ledger()["entries"]) == 3
