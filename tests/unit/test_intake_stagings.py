"""Local pictures of scheduled batches: staged beside everything else, and gone on with by whoever starts next."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import cast

import pytest
from PIL import Image

from jobs.batch import Batch, BatchState
from jobs.errors import Unavailable
from producers.intake.desk import Desk, alone
from producers.intake.firing import fire
from producers.intake.stagings import Stagings
from producers.schedules.file import Schedule, read_schedules
from producers.staging import left
from tests.fakes import FakeBucket
from tests.servers import wait_until
from tests.unit.intaking import HEADER, NOW, Clock, batches, desk

SCHEDULE = """
[[schedule]]
name = "autumn"
cron = "30 22 * * *"
manifest = "autumn.csv"
max_cost_usd = 5
settle_s = 0
"""


@pytest.fixture
def place(tmp_path: Path) -> Desk:
    (tmp_path / "schedules.toml").write_text(SCHEDULE, encoding="utf-8")
    for n in range(3):
        Image.new("RGB", (8, 8), (n, 0, 0)).save(tmp_path / f"{n}.png")
    text = HEADER + "".join(f"r{n},{n}.png,on white\n" for n in range(3))
    (tmp_path / "autumn.csv").write_text(text, encoding="utf-8")
    return desk(tmp_path, Clock(), data_dir=tmp_path / "data")


def opened(place: Desk) -> tuple[Schedule, Batch]:
    """Carry out a firing; its pictures are still to be staged."""
    schedule = read_schedules(place.settings.schedules)["autumn"]
    record = fire(schedule, NOW.replace(second=0), place)
    assert record is not None
    assert record.outcome == "opened"
    return schedule, batches(place)[-1]


def unstaged(place: Desk, batch: Batch) -> int:
    found = place.ledger.batch(batch.id)
    assert found is not None
    return left(batch, found[1])


def test_pictures_are_staged_while_other_firings_go_on(place: Desk) -> None:
    schedule, batch = opened(place)
    assert unstaged(place, batch) == 3

    with closing(Stagings(place)) as stagings:
        stagings.begin(schedule, batch.id)

        wait_until(lambda: unstaged(place, batch) == 0, what="the pictures")


def test_an_intake_that_starts_goes_on_with_what_another_had_begun(place: Desk) -> None:
    _, batch = opened(place)
    place.ledger.set_state(batch.id, BatchState.PAUSED, "staging", only_from=[BatchState.OPEN])

    with closing(Stagings(place)) as stagings:
        stagings.resume()
        wait_until(lambda: unstaged(place, batch) == 0, what="the pictures")

    found = place.ledger.batch(batch.id)
    assert found is not None
    assert found[1].state is BatchState.OPEN


def test_a_batch_that_a_person_has_paused_stays_so(place: Desk) -> None:
    _, batch = opened(place)
    place.ledger.set_state(batch.id, BatchState.PAUSED, "operator", only_from=[BatchState.OPEN])

    with closing(Stagings(place)) as stagings:
        stagings.resume()
        wait_until(lambda: unstaged(place, batch) == 0, what="the pictures")

    found = place.ledger.batch(batch.id)
    assert found is not None
    assert (found[1].state, found[1].reason) == (BatchState.PAUSED, "operator")


def test_a_store_that_is_away_for_a_while_is_tried_again(place: Desk) -> None:
    schedule, batch = opened(place)
    bucket = cast("FakeBucket", place.bucket)
    bucket.failing["head"] = Unavailable()

    with closing(Stagings(place, again_s=0.01)) as stagings:
        stagings.begin(schedule, batch.id)
        asked = len(bucket.calls)
        wait_until(lambda: len(bucket.calls) > asked + 20, what="some tries")
        bucket.failing.clear()

        wait_until(lambda: unstaged(place, batch) == 0, what="the pictures")


def test_two_intakes_do_not_stage_one_batch_at_once(place: Desk) -> None:
    schedule, batch = opened(place)

    with closing(Stagings(place, again_s=0.01)) as stagings:
        with alone(place, f"staging:{batch.id}"):
            asked = len(cast("FakeBucket", place.bucket).calls)
            stagings.begin(schedule, batch.id)
            wait_until(lambda: len(cast("FakeBucket", place.bucket).calls) > asked + 20, what="some looks")
            assert unstaged(place, batch) == 3

        wait_until(lambda: unstaged(place, batch) == 0, what="the pictures")


def test_a_machine_without_the_files_leaves_them_to_the_one_that_has_them(place: Desk, tmp_path: Path) -> None:
    schedule, batch = opened(place)
    (tmp_path / "autumn.csv").unlink()

    with closing(Stagings(place)) as stagings:
        stagings.begin(schedule, batch.id)

    assert unstaged(place, batch) == 3
