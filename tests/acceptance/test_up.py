"""`retouch up` as a person has it: the whole local stack, schedules and the inbox included."""

from __future__ import annotations

import json
import os
import re
import signal
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from config.parts import bucket_of
from config.settings import read_settings
from jobs.bucket.port import Bucket
from producers.schedules.cron import stamp
from producers.stack.record import Record, with_sections
from running.programs import Program, eventually
from tests.acceptance.harness import MODEL, picture
from tests.acceptance.terminal import RETOUCH, WITHIN_S, at_terminal, local_stores, person_env, record_of, tasks_in
from tests.servers import is_running

SCHEDULE = """
[[schedule]]
name = "minutely"
cron = "* * * * *"
manifest = "summer.csv"
max_cost_usd = 5
settle_s = 0
"""
LOOKING = {"RETOUCH_INBOX__LOOK_S": "1"}
INBOX = "retouch/inbox/"


def shop(folder: Path, rows: int) -> None:
    """Write a manifest with its pictures, and the schedule that runs it."""
    lines = ["id,image,model,prompt"]
    for number in range(rows):
        (folder / f"{number}.png").write_bytes(picture(number))
        lines.append(f"shot-{number},{number}.png,{MODEL},on white")
    (folder / "summer.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "schedules.toml").write_text(SCHEDULE, encoding="utf-8")


def running(folder: Path) -> Record:
    found = record_of(folder)
    assert found is not None
    return found


def bucket_in(folder: Path) -> Bucket:
    settings = read_settings(_env_file=None, data_dir=folder / "retouch-data")
    return bucket_of(with_sections(settings, running(folder).settings))


def has_spoken(program: Program) -> bool:
    return program.said.endswith("}\n")


def documents(bucket: Bucket, prefix: str, ending: str) -> list[dict[str, Any]]:
    keys = [head.key for head in bucket.keys(prefix) if head.key.endswith(ending)]
    return [json.loads(bucket.get(key)) for key in keys]


def test_up_runs_what_is_scheduled_and_what_is_dropped_and_ctrl_c_fetches_what_was_bought(tmp_path: Path) -> None:
    shop(tmp_path, 6)
    with local_stores(tmp_path) as (bucket, _):  # the first firing is due at once
        since = {"since": stamp(datetime.now(UTC) - timedelta(minutes=1))}
        bucket.put("retouch/schedules/minutely/since.json", json.dumps(since).encode())
    with at_terminal("up", "--simulate", folder=tmp_path, env=LOOKING) as terminal:
        terminal.until(r"Beat +1 schedule in schedules\.toml")
        terminal.until(r"Intake +takes what is dropped under s3://retouch/retouch/inbox/")
        bucket = bucket_in(tmp_path)
        pids = {part.name: part.pid for part in running(tmp_path).parts}
        bucket.put(f"{INBOX}a.png", picture(50), content_type="image/png")
        bucket.put(f"{INBOX}dropped.csv", f"id,image,model,prompt\na,a.png,{MODEL},on white\n".encode())
        receipt = eventually(
            lambda: documents(bucket, INBOX, ".receipt.json"), WITHIN_S, lambda: f"a receipt: {terminal.text}"
        )[0]
        os.kill(pids["beat"], signal.SIGKILL)
        terminal.until(r"beat was killed by signal 9 by itself and was started again")
        eventually(
            lambda: terminal.runs and len(documents(bucket, "retouch/schedules/minutely/2", ".json")),
            WITHIN_S,
            lambda: f"a firing: {terminal.text}",
        )
        eventually(lambda: terminal.runs and len(tasks_in(tmp_path)) > 1, WITHIN_S, lambda: terminal.text)
        pids |= {part.name: part.pid for part in running(tmp_path).parts}

        terminal.press_ctrl_c()
        terminal.until(r"Stopping beat and intake; what they had begun, the next ones go on with\.")
        bought: list[dict[str, Any]] = []
        while terminal.runs:
            bought = tasks_in(tmp_path) or bought
        code = terminal.ended()

    assert code == 0
    assert pids.keys() == {"redis", "storage", "simulator", "worker-1", "beat", "intake"}
    assert not any(is_running(pid) for pid in pids.values())
    assert receipt["state"] == "open"
    with local_stores(tmp_path) as (bucket, redis):
        firings = documents(bucket, "retouch/schedules/minutely/2", ".json")
        states = [redis.hget(key, "state") for key in redis.scan_iter("retouch:job:*")]
    # Where it took a minute to come so far, two were due, and only the latest is run.
    assert "opened" in {firing["outcome"] for firing in firings}
    assert {task["status"] for task in bought} == {"Ready"}
    assert all(task["downloads"] for task in bought), "what was bought was fetched"
    assert {"submitting", "running", "ready"}.isdisjoint(states)


def test_up_says_in_one_document_what_runs_and_runs_no_schedule_where_it_is_told_so(tmp_path: Path) -> None:
    shop(tmp_path, 1)
    quietly = [*RETOUCH, "up", "--json", "--quiet", "--workers", "0"]

    said = []
    for name, arguments in {"with": quietly, "without": [*quietly, "--no-intake"]}.items():
        program = Program(name, arguments, person_env(RETOUCH_DATA_DIR=f"data-{name}"), tmp_path)
        try:
            eventually(partial(has_spoken, program), WITHIN_S, name)
            program.terminate()
            assert program.ended(WITHIN_S) == 0
        finally:
            program.end()
        said.append(program.said)

    first, second = (json.loads(text) for text in said)
    assert first["parts"].keys() == {"redis", "storage", "simulator", "intake", "beat"}
    assert first["schedules"] == {"file": "schedules.toml", "names": ["minutely"], "error": ""}
    assert first["inbox"] == "s3://retouch/retouch/inbox/"
    assert second["parts"].keys() == {"redis", "storage", "simulator"}
    assert (second["schedules"], second["inbox"]) == (None, None)
    assert re.fullmatch(r"127\.0\.0\.1:\d+/0", first["redis"])
