"""A process dies at every line that matters, and nothing is lost, and nothing is paid for twice unknowingly.

Each test is one death by `kill -9` of a real worker (or command), over a real Redis, a real store, and an API that
keeps its own ledger. `tests/chaos/crashes.py` is the table of what has to come of it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from jobs.crashpoints import EVENT_PLACES, PLACES, names
from running.programs import ROOT, eventually
from tests.acceptance.checker import Books
from tests.acceptance.harness import picture
from tests.acceptance.test_main_job import ids_of
from tests.chaos.crashes import AMPLE, CRASHES, NEVER, NOT_REACHED, OF_COMMANDS, Crash
from tests.chaos.rig import Fate, Rig, killed, rig
from tests.servers import RunningS3, seaweed

CALM = dict.fromkeys(("lose_answer", "rate_limit", "fail_task", "refuse_download", "slow_answer", "refuse"), 0)


@pytest.fixture
def scene(request: pytest.FixtureRequest, tmp_path: Path, s3: RunningS3) -> Iterator[Rig]:
    crash = request.node.callspec.params.get("crash") if hasattr(request.node, "callspec") else None
    with ExitStack() as stack:
        if crash is not None and crash.own_store:
            s3 = stack.enter_context(seaweed(tmp_path / "store"))
        yield stack.enter_context(rig(tmp_path, s3))


def dead(scene: Rig, crash: Crash, allowance: str, **env: str) -> tuple[str, list[str]]:
    """Open a batch, let a worker die there, and return the batch and the ids of its rows."""
    env = {**crash.env, **env}
    house = scene.house
    faults = [word for name, p in crash.api.items() for word in (f"--{name.replace('_', '-')}", str(p))]
    api = house.simulate("--latency", str(crash.latency), *faults)
    rows = crash.rows(house)
    batch = house.submit(house.manifest(rows), allowance=allowance)
    if crash.before:
        disk = {"RETOUCH_WORKER__SPOOL_DIR": str(house.folder / "elsewhere")} if crash.elsewhere else {}
        first = house.worker(RETOUCH_TEST__CRASH_AT=crash.before, **disk, **env)
        crash.do_before(scene, first, batch)
        scene.dies(first)
        scene.mend()
        scene.meets(Fate.KEPT)
        crash.between(scene, batch)
    worker = house.worker(RETOUCH_TEST__CRASH_AT=crash.at, **env)
    crash.do(scene, worker, batch)
    scene.dies(worker)
    scene.mend()
    api.set_faults(**CALM)
    return batch, ids_of(rows)


SHORT = {
    "begun-0",
    "sent-0",
    "last-bytes-sent-0",
    "recording:Accepted-5",
    "recorded:Accepted-0",
    "recorded:Doubted-5",
} | {"recorded:Ready-0", "filed-0", "taken-over-after-last-bytes-sent-0", "outcomes-written-0", "report-written-0"}
"""Those that money hangs on; `make acceptance` runs these alone."""


FORGETTING = {"last-bytes-sent", "recorded:Accepted"}
INTENTS = {"RETOUCH_SUBMIT__INTENTS_IN_BUCKET": "true"}
STEPS_TO_QUEUED = 6
"""So many changes back, a row that was stored is fed and not yet begun."""


def each_death() -> Iterator[Any]:
    for crash in CRASHES:
        for allowance in crash.under:
            name = f"{crash.at}{crash.before and '-after-' + crash.before}-{allowance}"
            yield pytest.param(crash, allowance, id=name, marks=() if name in SHORT else pytest.mark.long)


def each_loss() -> Iterator[Any]:
    for crash in CRASHES:
        if NEVER in crash.under:
            name = f"{crash.at}{crash.before and '-after-' + crash.before}"
            yield pytest.param(crash, id=name, marks=() if name in FORGETTING else pytest.mark.long)


@pytest.mark.parametrize(("crash", "allowance"), [*each_death()])
def test_a_death_there_costs_what_the_table_says(scene: Rig, crash: Crash, allowance: str) -> None:
    batch, ids = dead(scene, crash, allowance)

    scene.meets(Fate.KEPT)
    scene.house.worker(**crash.env)
    scene.ends(batch)
    eventually(lambda: scene.on_disk() == [], 30, "nothing is left on the disk")
    books = scene.house.books(batch)

    books.check(ids)
    assert sum(books.charged.values()) == crash.charges + (crash.doubt and allowance == AMPLE)
    if crash.doubt and allowance == NEVER:
        assert books.states == {"in_doubt": 1}
        assert books.summary["held"] == 1
    else:
        assert books.states == crash.ends
        assert books.summary["held"] == 0
    assert books.summary["doubts"] == (int(crash.doubt) if crash.doubts is None else crash.doubts)
    assert books.summary["doubt_exposure_usd"] >= paid_twice(books)


@pytest.mark.parametrize("crash", [*each_loss()])
@pytest.mark.parametrize("fate", [Fate.ROLLED_BACK, Fate.EMPTIED])
def test_a_death_there_loses_nothing_even_if_redis_forgets(scene: Rig, crash: Crash, fate: Fate) -> None:
    env = {**crash.env, **INTENTS}
    batch, ids = dead(scene, crash, NEVER, **INTENTS)

    scene.meets(fate)
    scene.goes_on(batch, **env)
    scene.ends(batch)
    books = scene.house.books(batch)

    books.check(ids)
    assert set(books.charged.values()) <= {1}
    # What lay on the disk may have been filed before the batch was put right: then its row finds it, paid as it is.
    assert set(books.states) <= {*crash.ends, "in_doubt", *(["unchanged"] if crash.own_store else [])}
    if crash.own_store and "in_doubt" not in books.states:
        assert books.summary["cost_usd"] == charged_usd(books)
    if crash.known:
        assert books.states == crash.ends


@pytest.mark.long
def test_without_intents_in_the_bucket_a_sent_mark_that_redis_forgets_is_an_edit_bought_again(scene: Rig) -> None:
    """What docs/promises.md says is not promised: if this ever fails, promise it."""
    batch, ids = dead(scene, Crash(at="last-bytes-sent"), NEVER)

    scene.meets(Fate.ROLLED_BACK)
    scene.goes_on(batch)
    scene.ends(batch)
    books = scene.house.books(batch)

    assert books.lost(ids) == []
    assert books.states == {"stored": 1}
    assert set(books.charged.values()) == {2}


@pytest.mark.long
@pytest.mark.parametrize("steps", range(2, 9))
@pytest.mark.parametrize("place", ["last-bytes-sent", "recorded:Accepted", "recorded:Stored"])
def test_however_far_redis_goes_back_nothing_is_lost_or_bought_again(scene: Rig, place: str, steps: int) -> None:
    batch, ids = dead(scene, Crash(at=place), NEVER, **INTENTS)

    scene.meets(Fate.ROLLED_BACK, steps)
    scene.goes_on(batch, **INTENTS)
    scene.ends(batch)
    books = scene.house.books(batch)

    books.check(ids)
    assert set(books.charged.values()) == {1}
    assert books.states == {"in_doubt" if place == "last-bytes-sent" else "stored": 1}
    assert books.summary["cost_usd"] == (0 if place == "last-bytes-sent" else charged_usd(books))


@pytest.mark.long
@pytest.mark.parametrize("place", ["prepared", "begun", "recording:Accepted", "recorded:Accepted", "filed"])
def test_a_second_death_on_the_way_of_an_edit_that_redis_forgot_buys_nothing_either(scene: Rig, place: str) -> None:
    batch, ids = dead(scene, Crash(at="recorded:Stored"), NEVER, **INTENTS)
    scene.meets(Fate.ROLLED_BACK, STEPS_TO_QUEUED)
    scene.dies(scene.house.worker(RETOUCH_TEST__CRASH_AT=place, **INTENTS))

    scene.meets(Fate.KEPT)
    scene.goes_on(batch, **INTENTS)
    scene.ends(batch)
    books = scene.house.books(batch)

    books.check(ids)
    assert books.states == {"stored": 1}
    assert set(books.charged.values()) == {1}
    assert books.summary["cost_usd"] == charged_usd(books)


@pytest.mark.parametrize("place", [pytest.param("plan-written", marks=pytest.mark.long), "batch-written"])
def test_a_command_that_dies_before_the_batch_is_open_has_begun_nothing_and_is_given_again(
    scene: Rig, place: str
) -> None:
    house = scene.house
    api = house.simulate("--latency", "0.05")
    rows = house.rows(2)
    manifest = house.manifest(rows)
    killed(house.begin(*house.submission(manifest), RETOUCH_TEST__CRASH_AT=place))
    house.workers(1)
    shown = house.retouch("status", "--json").document["batches"]
    assert {found["state"] for found in shown} <= {"planned"}
    assert api.totals()["posts"] == 0

    batch = house.submit(manifest)
    scene.ends(batch)
    books = house.books(batch)

    books.check(ids_of(rows))
    assert books.states == {"stored": 2}
    assert set(books.charged.values()) == {1}


@pytest.mark.long
def test_a_command_that_dies_when_the_batch_is_open_is_not_missed(scene: Rig) -> None:
    house = scene.house
    house.simulate("--latency", "0.05")
    rows = house.rows(2)
    killed(house.begin(*house.submission(house.manifest(rows)), RETOUCH_TEST__CRASH_AT="batch-opened"))

    house.workers(1)
    (batch,) = house.batches()
    scene.ends(batch)
    books = house.books(batch)

    books.check(ids_of(rows))
    assert books.states == {"stored": 2}
    assert set(books.charged.values()) == {1}


@pytest.mark.long
@pytest.mark.parametrize("place", ["pictures-staged", "chunk-staged", "mark-raised"])
def test_a_command_that_dies_while_it_stages_pictures_goes_on_with_resume(scene: Rig, place: str) -> None:
    house = scene.house
    house.simulate("--latency", "0.05")
    rows = house.rows(40, image="chair.png")  # two chunks
    (house.folder / "chair.png").write_bytes(picture(3))
    killed(house.begin(*house.submission(house.manifest(rows)), RETOUCH_TEST__CRASH_AT=place))
    (batch,) = house.batches()

    house.workers(1)
    said = house.retouch("resume", batch, "--json")
    scene.ends(batch)
    books = house.books(batch)

    assert said.code == 0, said
    books.check(ids_of(rows))
    assert books.states == {"stored": 40}
    assert set(books.charged.values()) == {1}


def charged_usd(books: Books) -> float:
    """Return what the API charged, in dollars."""
    return round(sum(float(task["charged"]) for task in books.tasks) / 100, 6)


def paid_twice(books: Books) -> float:
    """Return what the API charged for edits that it had charged for before, in dollars."""
    first: set[str] = set()
    again = 0.0
    for task in books.tasks:
        if task["charged"]:
            again += task["charged"] / 100 if task["content"] in first else 0.0
            first.add(task["content"])
    return again


def test_every_place_has_a_death_in_the_table() -> None:
    tested = {crash.at for crash in CRASHES} | {crash.before for crash in CRASHES} | {*OF_COMMANDS, *NOT_REACHED}

    assert set(names()) == tested - {""}


def test_every_place_is_on_the_way_of_real_work_exactly_once() -> None:
    passed = sorted(place for room in ("jobs", "workers", "producers") for place in places_in(ROOT / room))

    assert passed == sorted([*PLACES, *EVENT_PLACES])


def places_in(room: Path) -> Iterator[str]:
    for file in room.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "crashpoint":
                assert isinstance(node.args[0], ast.Constant), f"{file.name} names a place that only running it tells"
                yield str(node.args[0].value)
