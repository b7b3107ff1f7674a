"""Another round: what failed runs again, whatever Redis still knows, and the report covers every row."""

from __future__ import annotations

import csv
import io
import os
import re

from running.programs import eventually
from tests.acceptance.harness import MODEL, House, picture
from tests.acceptance.terminal import at_terminal
from tests.acceptance.test_main_job import ids_of, keys_left

ROWS, FAIL = (int(n) for n in os.environ.get("RETRY_SIZE", "100/8").split("/"))
"""`RETRY_SIZE=500/40` plays the same at the size that was promised."""


def rows_with_missing(house: House) -> tuple[list[dict[str, str]], str]:
    """Return rows of which FAIL name a picture that does not lie in the bucket, and the key where it belongs."""
    key = f"{house.name}/originals/late.png"
    rows = house.rows(ROWS)
    for row in rows[5 : 5 + FAIL]:
        row["image"] = f"s3://{house.servers.bucket.name}/{key}"
    return rows, key


def test_what_failed_runs_again_after_the_ledger_was_emptied_and_nothing_else_does(house: House) -> None:
    api = house.simulate("--latency", "0.2")
    house.workers(2)
    rows, key = rows_with_missing(house)
    batch = house.submit(house.manifest(rows))
    first = house.ended(batch, 120)
    eventually(lambda: not house.redis.exists(f"retouch:batch:{batch}"), 15, "the batch has left Redis")
    house.redis.flushall()
    house.servers.bucket.put(key, picture(3), content_type="image/png")

    said = house.retouch("retry", batch, "--yes", "--json", "--watch")
    books = house.books(batch)

    assert first.states == {"stored": ROWS - FAIL, "failed": FAIL}
    assert said.code == 0, said
    assert said.document["counts"]["stored"] == said.document["rows"] == ROWS
    books.check(ids_of(rows))
    assert books.states == {"stored": ROWS}
    assert (first.api["posts"], api.totals()["posts"]) == (ROWS - FAIL, ROWS)
    assert set(books.charged.values()) == {1}
    assert books.summary["cost_usd"] > first.summary["cost_usd"]
    assert books.summary["expected_usd"] > first.summary["expected_usd"]
    assert "failed.csv" in first.files
    assert "failed.csv" not in books.files
    text = house.servers.bucket.get(f"{house.prefix}batches/{batch}/results.csv").decode()
    assert [row["retouch_status"] for row in csv.DictReader(io.StringIO(text))] == ["stored"] * ROWS
    eventually(lambda: not keys_left(house), 15, lambda: f"Redis holds nothing that lasts: {keys_left(house)}")


def test_rounds_follow_each_other_and_a_row_that_fails_again_is_told_once(house: House) -> None:
    house.simulate("--latency", "0.1")
    house.workers(1)
    rows = house.rows(12)
    bucket = house.servers.bucket
    for n in (2, 7):
        rows[n]["image"] = f"s3://{bucket.name}/{house.name}/originals/late-{n}.png"
    batch = house.submit(house.manifest(rows))
    house.ended(batch, 60)
    bucket.put(f"{house.name}/originals/late-2.png", picture(1), content_type="image/png")

    second = house.retouch("retry", batch, "--yes", "--json", "--watch")
    middle = house.books(batch)
    bucket.put(f"{house.name}/originals/late-7.png", picture(2), content_type="image/png")
    third = house.retouch("retry", batch, "--yes", "--json", "--watch")
    books = house.books(batch)

    assert (second.code, third.code) == (1, 0), (second, third)
    assert middle.states == {"stored": 11, "failed": 1}
    assert sum(reason["rows"] for reason in middle.summary["reasons"]) == 1
    books.check(ids_of(rows))
    assert {line["round"] for line in books.outcomes} == {1, 2, 3}
    assert books.by_id["row-007"]["round"] == 3
    assert books.api["posts"] == 12


def test_only_the_named_reason_and_group_run_again(house: House) -> None:
    house.simulate("--latency", "0.1")
    house.workers(1)
    rows = [dict(row, category="chairs" if n % 2 else "tables") for n, row in enumerate(house.rows(8))]
    bucket = house.servers.bucket
    for n in (0, 1):
        rows[n]["image"] = f"s3://{bucket.name}/{house.name}/originals/late-{n}.png"
    rows[2]["prompt"] = "[[request-moderated]] view"
    batch = house.submit(house.manifest(rows), "--group", "category")
    house.ended(batch, 60)
    for n in (0, 1):
        bucket.put(f"{house.name}/originals/late-{n}.png", picture(n), content_type="image/png")

    chairs = house.retouch("retry", batch, "--group", "chairs", "--yes", "--json", "--watch")
    states = {line["id"]: line["state"] for line in house.books(batch).outcomes}
    other = house.retouch("retry", batch, "--reason", "url_not_found", "--yes", "--json")
    moderated = house.retouch("retry", batch, "--reason", "request_moderated", "--yes", "--json", "--watch")

    assert chairs.code == 1, chairs
    assert (states["row-000"], states["row-001"], states["row-002"]) == ("failed", "stored", "moderated")
    assert other.code == 2
    assert other.document["error"]["code"] == "nothing_to_retry"
    assert moderated.code == 1, moderated
    rounds = {line["id"]: line["round"] for line in house.books(batch).outcomes}
    assert rounds["row-002"] == 3
    assert rounds["row-000"] == 1


def test_rows_that_a_cancelled_batch_never_fed_run_in_the_next_round(house: House) -> None:
    api = house.simulate("--latency", "0.1")
    rows = house.rows(6)
    batch = house.submit(house.manifest(rows))
    house.retouch("cancel", batch, "--yes", "--json")
    house.workers(1)
    cancelled = house.ended(batch, 60)

    said = house.retouch("retry", batch, "--yes", "--json", "--watch")
    books = house.books(batch)

    assert cancelled.states == {"cancelled": 6}
    assert said.code == 0, said
    books.check(ids_of(rows))
    assert books.states == {"stored": 6}
    assert api.totals()["posts"] == 6


def test_a_local_picture_that_was_uploaded_is_not_needed_again(house: House) -> None:
    house.simulate("--latency", "0.1")
    (house.folder / "chair.png").write_bytes(picture(1))
    rows = [{"id": "chair", "image": "chair.png", "prompt": "on white", "model": MODEL}]
    batch = house.submit(house.manifest(rows))
    house.retouch("cancel", batch, "--yes", "--json")
    house.workers(1)
    house.ended(batch, 60)
    (house.folder / "chair.png").unlink()

    said = house.retouch("retry", batch, "--yes", "--json", "--watch")

    assert said.code == 0, said
    assert house.books(batch).states == {"stored": 1}


def test_a_batch_that_runs_or_made_it_all_or_is_nobodys_is_not_opened_again(house: House) -> None:
    house.simulate("--latency", "0.1")
    rows = house.rows(3)
    batch = house.submit(house.manifest(rows))

    running = house.retouch("retry", batch, "--yes", "--json")
    house.workers(1)
    house.ended(batch, 60)
    done = house.retouch("retry", batch, "--yes", "--json")
    unasked = house.retouch("retry", batch, "--json")
    unknown = house.retouch("retry", "no-such-batch", "--yes", "--json")
    nonsense = house.retouch("retry", batch, "--reason", "bad_luck", "--yes", "--json")

    assert (running.code, running.document["error"]["code"]) == (2, "running")
    assert (done.code, done.document["state"]) == (0, "done")
    assert (unasked.code, unasked.document["error"]["code"]) == (2, "nobody_to_ask")
    assert (unknown.code, unknown.document["error"]["code"]) == (2, "unknown_batch")
    assert (nonsense.code, nonsense.document["error"]["code"]) == (2, "usage")
    assert house.books(batch).api["posts"] == 3


def test_a_person_sees_the_price_and_a_no_changes_nothing(house: House) -> None:
    house.simulate("--latency", "0.1")
    house.workers(1)
    rows = [*house.rows(3), {**house.rows(1)[0], "id": "refused", "prompt": "[[request-moderated]]"}]
    rows[0]["image"] = f"s3://{house.servers.bucket.name}/{house.name}/originals/late.png"
    batch = house.submit(house.manifest(rows))
    before = house.ended(batch, 60).files

    with at_terminal("retry", batch, folder=house.folder, env=house.env()) as terminal:
        question = terminal.until(r"Start .* \[y/N\] ").group()
        asked = terminal.text
        terminal.type("n")
        code = terminal.ended()

    assert re.match(r"Start round 2, 1 edit for about \$[0-9.]+, at most \$[0-9.]+, about .*\?", question)
    assert "request_moderated 1" in asked
    assert code == 0
    assert house.books(batch).files == before
    assert house.books(batch).api["posts"] == 3
