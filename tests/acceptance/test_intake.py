"""Schedules and uploads with real processes: beats and intakes are killed, and each thing is still done once."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from producers.schedules.cron import from_stamp, stamp
from running.programs import eventually
from tests.acceptance.harness import House
from tests.acceptance.nights import batches, keys, records, said, start
from tests.acceptance.uploads import each_is_taken_once

SCHEDULE = """
[[schedule]]
name = "minutely"
cron = "* * * * *"
manifest = "manifest.csv"
max_cost_usd = 5
settle_s = 0
catch_up = "all"
"""


def test_two_beats_and_one_killed_at_the_minute_make_one_batch_a_firing(house: House) -> None:
    house.manifest([{"id": "a", "image": "https://example.com/a.jpg", "prompt": "on white"}])
    (house.folder / "schedules.toml").write_text(SCHEDULE, encoding="utf-8")
    since = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=3)
    key = f"{house.prefix}schedules/minutely/since.json"
    house.servers.bucket.put(key, json.dumps({"since": stamp(since)}).encode())
    beats = [start(house, "beat", n) for n in range(2)]
    intakes = [start(house, "intake", n) for n in range(2)]

    eventually(lambda: records(house, "minutely"), 60, lambda: "a first firing: " + said(*beats, *intakes))
    names = ("beat-0", "beat-1", "intake-0", "intake-1")  # who has not begun yet is not killed in the midst of it
    eventually(
        lambda: all((house.folder / f"{name}.beat").exists() for name in names), 60, lambda: said(*beats, *intakes)
    )
    beats[0].kill()
    eventually(lambda: len(records(house, "minutely")) >= 4, 120, lambda: "four firings: " + said(beats[1], *intakes))
    beats[1].kill()
    for intake in intakes:
        intake.terminate()
        intake.ended(30)

    found = records(house, "minutely")
    firings = [from_stamp(record["firing"]) for record in found]
    assert firings == [since + timedelta(minutes=n + 1) for n in range(len(found))]
    assert {record["outcome"] for record in found} == {"opened"}
    assert sorted(record["batch"] for record in found) == sorted(batches(house))
    assert len(set(batches(house))) == len(found)


def test_uploads_by_two_writers_before_two_watchers_of_which_one_is_killed_are_each_taken_once(house: House) -> None:
    each_is_taken_once(house, uploads=24)  # tests/long makes 200 of them


def test_a_dear_upload_waits_and_resume_opens_it_and_explain_says_why_its_row_waits(house: House) -> None:
    house.simulate()

    beat, intake = start(house, "beat"), start(house, "intake", RETOUCH_INBOX__RUN_BELOW_USD="0")
    row = house.rows(1)[0]
    text = ",".join(row) + "\n" + ",".join(f'"{cell}"' for cell in row.values()) + "\n"
    house.servers.bucket.put(f"{house.prefix}inbox/autumn.csv", text.encode())
    eventually(lambda: keys(house, "inbox/done/", ".csv"), 60, lambda: f"an answer: {beat.said}{intake.said}")
    (batch,) = batches(house)

    waiting = house.retouch("status", batch, "--json").document
    why = house.retouch("explain", batch, "row-000", "--json").document
    refused = house.retouch("pause", batch, "--json")
    resumed = house.retouch("resume", batch, "--json")
    house.workers(1)
    books = house.ended(batch, 60)
    after = house.retouch("explain", batch, "row-000", "--json").document

    assert (waiting["state"], "retouch resume" in waiting["warnings"][0]) == ("planned", True)
    assert "nobody has opened the batch" in why["why"]
    assert (refused.code, refused.document["error"]["code"]) == (2, "planned")
    assert (resumed.code, resumed.document["state"]) == (0, "open")
    assert len(books.outcomes) == 1
    assert after["why"].startswith("It ran, and its result is")


def test_a_person_runs_pauses_and_reads_the_history_of_a_schedule(house: House) -> None:
    good = [{"id": f"a{n}", "image": f"https://example.com/{n}.jpg", "prompt": "on white"} for n in range(6)]
    house.manifest([*good, {"id": "bad", "image": "", "prompt": "on white"}])
    (house.folder / "schedules.toml").write_text(SCHEDULE, encoding="utf-8")
    env = {"RETOUCH_SCHEDULES": "schedules.toml"}

    ran = house.retouch("schedule", "run", "minutely", "--yes", "--json", **env)
    batch = ran.document["batch"]
    why, unknown_row = (house.retouch("explain", batch, id_, "--json", **env) for id_ in ("bad", "nobody"))
    house.manifest([{"id": "a", "image": "", "prompt": "on white"}])
    held = house.retouch("schedule", "run", "minutely", "--yes", "--json", **env)
    paused = house.retouch("schedule", "pause", "minutely", "--json", **env)
    listed = house.retouch("schedule", "list", "--json", **env)
    goes_on = house.retouch("schedule", "pause", "minutely", "--off", "--json", **env)
    history = house.retouch("schedule", "history", "minutely", "--json", **env)
    unknown = house.retouch("schedule", "run", "minutly", "--yes", "--json", **env)

    assert (ran.code, ran.document["outcome"]) == (0, "opened"), ran
    assert "it is invalid. The row names no picture." in why.document["why"]
    assert (unknown_row.code, unknown_row.document["error"]["code"]) == (2, "unknown_row")
    assert (held.code, held.document["error"]["code"]) == (5, "held"), held
    assert paused.document["paused"] is True
    assert listed.document["schedules"][0]["paused"] is True
    assert goes_on.document["paused"] is False
    assert [each["outcome"] for each in history.document["firings"]] == ["opened", "held"]
    assert unknown.code == 2
    assert "minutely" in unknown.document["error"]["message"]
