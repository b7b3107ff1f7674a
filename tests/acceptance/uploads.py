"""Uploads by two writers into the inbox, before two beats and two intakes of which one each is killed."""

from __future__ import annotations

import json
import threading

from running.programs import eventually
from tests.acceptance.harness import House
from tests.acceptance.nights import batches, keys, said, start


def each_is_taken_once(house: House, uploads: int) -> None:
    """Make so many uploads, and fail unless each of them ends as one batch with one receipt."""
    beats = [start(house, "beat", n) for n in range(2)]
    intakes = [start(house, "intake", n) for n in range(2)]

    def write(first: int) -> None:
        for n in range(first, uploads, 2):
            text = f"id,image,prompt\nr{n},photos/{n}.jpg,on white\n"
            house.servers.bucket.put(f"{house.prefix}inbox/team-{first}/file-{n:03d}.csv", text.encode())

    writers = [threading.Thread(target=write, args=(n,)) for n in range(2)]
    for writer in writers:
        writer.start()
    eventually(
        lambda: len(keys(house, "inbox/team", ".receipt.json")) >= 5,
        60,
        lambda: "the first receipts: " + said(*beats, *intakes),
    )
    intakes[0].kill()
    beats[0].kill()
    for writer in writers:
        writer.join()
    eventually(
        lambda: not keys(house, "inbox/team", ".csv"),
        60 + 3 * uploads,
        lambda: f"an empty inbox: {keys(house, 'inbox/team', '.csv')} {intakes[1].said[-3000:]}{beats[1].said[-2000:]}",
    )

    receipts = [json.loads(house.servers.bucket.get(key)) for key in keys(house, "inbox/team", ".receipt.json")]
    assert len({receipt["file"] for receipt in receipts}) == len(receipts) == uploads
    assert {receipt["state"] for receipt in receipts} == {"open"}
    assert sorted(receipt["batch"] for receipt in receipts) == sorted(batches(house))
    assert len(keys(house, "inbox/done/", ".csv")) == uploads
    assert keys(house, "batches/", "planned.json") == []
    opened = {house.redis.exists(f"retouch:batch:{receipt['batch']}") for receipt in receipts}
    assert opened == {1}
