"""Local pictures on their way to the bucket: what changes meanwhile, and a person who breaks off and goes on."""

from __future__ import annotations

from running.programs import eventually
from tests.acceptance.harness import MODEL, House, picture
from tests.acceptance.terminal import at_terminal

AHEAD = 1_984
"""Rows that are staged where nothing is fed: all chunks of 32 that 2,000 have room for."""


def test_a_picture_that_changed_after_the_plan_ends_its_row_and_is_never_sent(house: House) -> None:
    house.simulate("--latency", "0.1")
    house.workers(1)
    for shade, name in enumerate(("same", "changed", "gone")):
        (house.folder / f"{name}.png").write_bytes(picture(shade))
    rows = [
        {"id": name, "image": f"{name}.png", "prompt": "on white", "model": MODEL}
        for name in ("same", "changed", "gone")
    ]
    arguments = ("run", house.manifest(rows), "--name", house.name)

    with at_terminal(*arguments, folder=house.folder, env=house.env()) as terminal:
        terminal.until(r"Start 3 edits .* \[y/N\] ")
        (house.folder / "changed.png").write_bytes(picture(9))
        (house.folder / "gone.png").unlink()
        terminal.type("y")
        code = terminal.ended()
    batch = next(iter(house.servers.bucket.keys(f"{house.prefix}batches/"))).key.split("/")[-2]
    books = house.books(batch)

    assert code == 1, terminal.text
    assert {id_: (line["state"], line["reason"]) for id_, line in books.by_id.items()} == {
        "same": ("stored", ""),
        "changed": ("failed", "image_changed"),
        "gone": ("failed", "image_changed"),
    }
    assert len(books.tasks) == 1
    assert "The file changed after the plan was made." in terminal.text


def test_ctrl_c_while_uploading_pauses_and_resume_needs_nothing_that_was_uploaded(house: House) -> None:
    house.simulate("--latency", "0.1")
    pictures = [house.folder / f"chair-{n}.png" for n in range(42)]
    for shade, path in enumerate(pictures):
        path.write_bytes(picture(shade))
    rows = [
        {"id": f"row-{n}", "image": pictures[n // 50].name, "prompt": f"on white, view {n}", "model": MODEL}
        for n in range(2_100)
    ]
    manifest = house.manifest(rows)

    with at_terminal(*house.submission(manifest)[:-1], folder=house.folder, env=house.env()) as terminal:
        eventually(lambda: terminal.runs and staged(house) == AHEAD, 120, lambda: terminal.text[-2_000:])
        terminal.press_ctrl_c()
        found = terminal.until(
            r"the batch is paused, (\d+) rows still wait for local pictures.\s+`retouch resume (\S+)`"
        )
        code = terminal.ended()
    batch = found.group(2)
    paused = house.status(batch)
    before = uploads(house)
    for path in pictures[: AHEAD // 50]:
        path.unlink()
    house.workers(1)
    resumed = house.begin("resume", batch, "--json").ended(180)

    assert (code, found.group(1)) == (130, str(len(rows) - AHEAD))
    assert (paused["state"], paused["reason"]) == ("paused", "staging")
    assert resumed.code == 0, resumed
    assert resumed.document["state"] == "open"
    assert staged(house) == len(rows)
    after = uploads(house)
    assert {key: after[key] for key in before} == before, "nothing was uploaded twice"
    assert len(after) == len(pictures)


def staged(house: House) -> int:
    """Return how many rows of the only batch are staged."""
    batches = house.redis.zrange("retouch:batches", 0, 0)
    return int(str(house.redis.hget(f"retouch:batch:{batches[0]!s}", "staged:flux") or 0)) if batches else 0


def uploads(house: House) -> dict[str, float]:
    """Return when each picture in the bucket was last written."""
    return {head.key: head.modified for head in house.servers.bucket.keys(f"{house.prefix}inputs/")}
