"""The same catalogue again: what is done is settled by the plan, and exactly what is not as it was runs."""

from __future__ import annotations

import csv
import io
import json
import os
from typing import Any

import pytest

from jobs.queues import KEY_PREFIX, QUEUES
from running.programs import eventually
from tests.acceptance.counting import counted
from tests.acceptance.harness import House, picture
from tests.acceptance.test_main_job import ids_of, keys_left

ROWS = 60


def catalogue(house: House, rows: int = ROWS) -> list[dict[str, str]]:
    """Return rows that ask for edits of pictures in the bucket, each its own."""
    bucket = house.servers.bucket
    for n in range(rows):
        bucket.put(f"{house.name}/originals/{n}.png", picture(n), content_type="image/png")
    return [
        dict(row, image=f"s3://{bucket.name}/{house.name}/originals/{n}.png") for n, row in enumerate(house.rows(rows))
    ]


def messages(house: House) -> dict[str, int]:
    """Return how many messages wait in each of the workers' queues."""
    return {queue: int(str(house.redis.llen(f"{KEY_PREFIX}{queue}"))) for queue in QUEUES}


def agreed(house: House, batch: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(house.servers.bucket.get(f"{house.prefix}batches/{batch}/batch.json"))
    return found


def results(house: House, batch: str) -> list[dict[str, str]]:
    text = house.servers.bucket.get(f"{house.prefix}batches/{batch}/results.csv").decode()
    return list(csv.DictReader(io.StringIO(text.replace(batch, "BATCH"))))


def test_the_second_run_makes_no_job_no_message_and_no_request_for_a_row(house: House) -> None:
    api = house.simulate("--latency", "0.1")
    (worker,) = house.workers(1)
    rows = catalogue(house)
    manifest = house.manifest(rows)
    bought = house.ended(house.submit(manifest), 60)
    for head in list(house.servers.bucket.keys(f"{house.prefix}names/")):
        house.servers.bucket.delete(head.key)
    by_workers = house.submit(manifest)
    house.ended(by_workers, 60)
    worker.kill()

    with counted(house.servers.env["RETOUCH_S3__ENDPOINT_URL"]) as passing:
        said = house.begin(*house.submission(manifest), RETOUCH_S3__ENDPOINT_URL=passing.url).ended()
        by_plan = str(said.document["batch"])
        asked, waiting = passing.verbs(), messages(house)
        house.worker(RETOUCH_S3__ENDPOINT_URL=passing.url)
        books = house.ended(by_plan, 60)

    assert bought.states == {"stored": ROWS}
    assert said.code == 0
    assert asked["HEAD"] == 0
    assert asked["LIST"] <= 4, passing.requests()
    assert asked["GET"] <= 4, passing.requests()
    assert asked["PUT"] <= 4, passing.requests()
    assert waiting == {"paid": 0, "house": 1, "edits": 0}, "the one message is: finish"
    books.check(ids_of(rows))
    assert books.states == {"unchanged": ROWS}
    assert api.totals()["posts"] == ROWS
    assert books.summary["how"] == {"bought": 0, "kept": ROWS, "copied": 0}
    assert results(house, by_plan) == results(house, by_workers)
    eventually(lambda: not keys_left(house), 15, lambda: f"Redis holds nothing that lasts: {keys_left(house)}")


def test_exactly_the_rows_that_are_not_as_they_were_run_again(house: House) -> None:
    api = house.simulate("--latency", "0.1")
    house.workers(1)
    bucket = house.servers.bucket
    rows = catalogue(house, 12)
    first = house.ended(house.submit(house.manifest(rows)), 60)
    outputs = {id_: line["output"] for id_, line in first.by_id.items()}

    bucket.put(outputs["row-001"], b"somebody else's", content_type="image/jpeg")
    bucket.delete(outputs["row-002"])
    bucket.put(f"{house.name}/originals/3.png", picture(99), content_type="image/png")
    rows[4]["prompt"] = "put it on black"
    new = dict(rows[0], id="row-012", prompt="another one")
    batch = house.submit(house.manifest([*rows, new]))
    books = house.ended(batch, 60)

    assert (agreed(house, batch)["unchanged"], sum(agreed(house, batch)["groups"].values())) == (8, 5)
    assert {id_: (line["state"], line["how"], line["reason"]) for id_, line in books.by_id.items()} == {
        "row-000": ("unchanged", "kept", ""),
        "row-001": ("failed", "", "output_not_ours"),
        "row-002": ("unchanged", "copied", ""),
        "row-003": ("stored", "bought", ""),
        "row-004": ("stored", "bought", ""),
        **{f"row-{n:03d}": ("unchanged", "kept", "") for n in range(5, 12)},
        "row-012": ("stored", "bought", ""),
    }
    assert api.totals()["posts"] == 12 + 3
    assert bucket.get(outputs["row-001"]) == b"somebody else's"

    said = house.retouch("explain", batch, "row-005")
    assert "is filed already, so nothing was bought" in said.out
    over = house.submit(house.manifest([*rows, new]), "--overwrite")
    assert house.ended(over, 60).states == {"unchanged": 13}
    assert agreed(house, over)["unchanged"] == 12
    fresh = house.submit(house.manifest([*rows, new]), "--fresh")
    assert house.ended(fresh, 60).states == {"stored": 13}


def test_local_pictures_are_known_again_also_where_they_were_only_touched(house: House) -> None:
    api = house.simulate("--latency", "0.1")
    (worker,) = house.workers(1)
    for n in range(6):
        (house.folder / f"{n}.png").write_bytes(picture(n))
    rows = [dict(row, image=f"{n}.png") for n, row in enumerate(house.rows(6))]
    manifest = house.manifest(rows)
    house.ended(house.submit(manifest), 60)

    os.utime(house.folder / "1.png", (1_000_000_000, 1_000_000_000))
    (house.folder / "2.png").write_bytes(picture(77))
    batch = house.submit(manifest)
    books = house.ended(batch, 60)

    assert (agreed(house, batch)["unchanged"], agreed(house, batch)["rows"]) == (5, 6)
    assert books.states == {"unchanged": 5, "stored": 1}
    assert api.totals()["posts"] == 7
    assert worker.runs


@pytest.mark.parametrize("ending", ["plan", "run"])
def test_the_price_is_that_of_what_is_left_to_do(house: House, ending: str) -> None:
    house.simulate("--latency", "0.1")
    house.workers(1)
    rows = catalogue(house, 5)
    house.ended(house.submit(house.manifest(rows)), 60)
    rows[0]["prompt"] = "put it on black"
    options = ["--name", house.name, "--json"]

    if ending == "plan":
        said = house.retouch("plan", house.manifest(rows), *options).document
        assert (said["rows"], said["unchanged"], said["models"][0]["rows"]) == (5, 4, 1)
        whole = house.retouch("plan", house.manifest(rows), *options, "--fresh").document
        assert (whole["unchanged"], whole["models"][0]["rows"]) == (0, 5)
        assert said["expected_usd"] == pytest.approx(whole["expected_usd"] / 5)
    else:
        said = house.retouch("run", house.manifest(rows), *options, "--yes").document
        assert (said["rows"], said["counts"]["unchanged"], said["counts"]["stored"]) == (5, 4, 1)
        assert 0 < said["expected_usd"] < 2 * said["cost_usd"]
