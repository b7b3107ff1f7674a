"""100,000 local photographs of 200 KB: the first edit starts soon, memory and bucket hold a window of them."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import pytest

from running.programs import eventually
from tests.acceptance.harness import MODEL, House
from tests.acceptance.terminal import at_terminal
from tests.long.conftest import Tell
from tests.long.photographs import write_photographs
from tests.long.watch import watching

FIRST_POST_S = 60
PRODUCER_MB = 200
AHEAD = 2_000
CHUNK = 32
MORE = 500
"""Rows that are fed while staging, which has all that it may have, has to wait for the feed."""
WATCHED_S = 900
PLAN_S = 1_800
"""How long the plan may take: every header is read before the price can be shown."""

pytestmark = pytest.mark.timeout(7_200)


def shop(folder: Path, images: int) -> Path:
    """Write photographs into `folder`, and a manifest that names each of them once."""
    names = write_photographs(folder / "photos", images)
    path = folder / "shop.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "image", "model", "prompt"))
        writer.writerows((Path(name).stem, f"photos/{name}", MODEL, "Put it on white marble") for name in names)
    return path


def test_the_first_post_is_soon_after_the_yes_and_memory_and_bucket_hold_a_window(
    house: House, spacious: Path, scale_images: int, tell: Tell
) -> None:
    house.simulate("--latency", "1")
    house.workers(1)
    manifest = shop(spacious, scale_images)
    began = time.monotonic()

    with at_terminal("run", manifest, "--name", house.name, folder=house.folder, env=house.env()) as terminal:
        terminal.until(r"Start .* \[y/N\] ", within=PLAN_S)
        with watching(house, terminal.pid) as watch:
            planned, yes = time.monotonic(), time.time()
            terminal.type("y")
            eventually(lambda: terminal.runs and posts(house), FIRST_POST_S, lambda: terminal.text[-2_000:])
            full = CHUNK * (AHEAD // CHUNK)
            eventually(lambda: terminal.runs and watch.most_ahead >= full, WATCHED_S, lambda: terminal.text[-2_000:])
            more = watch.marks()[1] + MORE
            eventually(lambda: terminal.runs and watch.marks()[1] >= more, WATCHED_S, lambda: terminal.text[-2_000:])
            staged, fed = watch.marks()
            terminal.press_ctrl_c()
            batch = terminal.until(r"`retouch resume (\S+)`").group(1)
            code = terminal.ended()
    first = min(task["accepted_at"] for task in ledger(house)["entries"])
    paused = house.status(batch)
    tell(
        images=scale_images,
        plan_rows_a_second=round(scale_images / (planned - began)),
        seconds_from_yes_to_first_post=round(first - yes, 2),
        producer_peak_mb=round(watch.peak_mb),
        most_rows_staged_ahead=watch.most_ahead,
        most_pictures_in_the_bucket_ahead=watch.most_pictures_ahead,
        looks=watch.looks,
        rows_staged_and_fed=(staged, fed),
    )

    assert first - yes < FIRST_POST_S
    assert watch.peak_mb < PRODUCER_MB
    assert full <= watch.most_ahead <= AHEAD
    assert watch.most_pictures_ahead <= AHEAD
    assert staged < scale_images, "it was broken off long before its end"
    assert (code, paused["state"], paused["reason"]) == (130, "paused", "staging")


def test_every_photograph_of_3000_is_edited_as_it_is_and_stored_as_delivered(
    house: House, spacious: Path, tell: Tell
) -> None:
    house.simulate("--latency", "0.5")
    house.workers(1)
    manifest = shop(spacious, 3_000)

    with at_terminal("run", manifest, "--name", house.name, "--yes", folder=house.folder, env=house.env()) as terminal:
        with watching(house, terminal.pid) as watch:
            code = terminal.ended(within=1_800)
        batch = terminal.text
    name = next(iter(house.servers.bucket.keys(f"{house.prefix}batches/"))).key.split("/")[-2]
    books = house.books(name)
    tell(images=3_000, producer_peak_mb=round(watch.peak_mb), most_rows_staged_ahead=watch.most_ahead)

    assert code == 0, batch[-2_000:]
    books.check([path.stem for path in (spacious / "photos").iterdir()])
    assert books.states == {"stored": 3_000}
    assert len(books.charged) == 3_000
    assert staged_bytes(house) == {sha256(path.read_bytes()).hexdigest() for path in (spacious / "photos").iterdir()}
    assert watch.most_ahead <= AHEAD


def posts(house: House) -> int:
    assert house.api is not None
    return int(house.api.totals()["posts"])


def ledger(house: House) -> Mapping[str, list[dict[str, float]]]:
    assert house.api is not None
    return house.api.ledger()


def staged_bytes(house: House) -> set[str]:
    """Return the sha256 of each staged picture, by the bytes that lie there."""
    bucket = house.servers.bucket
    return {sha256(bucket.get(head.key)).hexdigest() for head in bucket.keys(f"{house.prefix}inputs/")}
