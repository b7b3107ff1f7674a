"""A batch under fire ends, loses nothing, and pays for nothing twice that it was not allowed to.

What is said here is said by the judge of `tests.chaos.checker`, which reads the manifest, the API's ledger and the
bucket alone, and which fails where the faults did not come.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.checker import Evidence
from tests.chaos.rig import Rig, rig
from tests.chaos.soak import Fought, Soak, fire
from tests.servers import RunningS3

SHORT = Soak(rows=60, kills=5, redis_kills=1, latency_s=1.0, hang_s=3.0, within_s=580.0)
LONG = Soak(rows=500, kills=40, redis_kills=2)
LONGEST = Soak(
    rows=30_000, kills=30, on_and_on=True, redis_kills=2, latency_s=0.02, spread=0.0, within_s=4 * 3600, look_s=0.5
)


@pytest.fixture
def scene(tmp_path: Path, s3: RunningS3) -> Iterator[Rig]:
    with rig(tmp_path, s3) as found:
        yield found


def short(allowance: str) -> Soak:
    """Return a short soak in which faults are common, so that all of them come."""
    often = {name: min(share * 5, 0.1) for name, share in SHORT.faults.items()}
    return replace(SHORT, faults=often, allowance=allowance)


def long(allowance: str) -> Soak:
    """Return the long soak."""
    return replace(LONG, allowance=allowance)


def judged(scene: Rig, fought: Fought) -> Evidence:
    """Fail with everything that is wrong, say what was seen, and return it."""
    found = fought.evidence(scene)
    print(found.figures().as_json())  # noqa: T201 - `pytest -s` and a failure show it
    print(f"{fought.seconds:.0f} s, MB of a worker and of Redis by thirds: {fought.memory()}")  # noqa: T201
    assert found.judge() == []
    return found


@pytest.mark.parametrize(
    "soak",
    [
        pytest.param(short("0"), marks=pytest.mark.timeout(600)),
        pytest.param(long("0"), marks=[pytest.mark.long, pytest.mark.timeout(1200)]),
    ],
)
def test_without_an_allowance_nothing_is_charged_twice_and_what_is_held_is_counted(scene: Rig, soak: Soak) -> None:
    fought = fire(scene, soak)

    found = judged(scene, fought)
    assert found.charged_twice() == []
    assert found.figures().stored + found.held == soak.rows


@pytest.mark.parametrize("soak", [pytest.param(long(""), marks=[pytest.mark.long, pytest.mark.timeout(1200)])])
def test_with_the_default_allowance_the_report_says_at_least_what_was_paid_twice_and_a_yes_buys_what_is_held(
    scene: Rig, soak: Soak
) -> None:
    fought = fire(scene, soak)

    first = judged(scene, fought)
    assert first.figures().stored + first.held == soak.rows

    assert scene.house.api is not None
    scene.house.api.set_faults(**dict.fromkeys(soak.faults, 0))
    said = scene.house.retouch("retry", fought.batch, "--in-doubt", "--yes", "--json", "--watch")

    assert said.code == 0, said
    assert judged(scene, fought).figures().stored == soak.rows


@pytest.mark.parametrize(
    "soak",
    [
        pytest.param(short("5"), marks=pytest.mark.timeout(600)),
        pytest.param(long("5"), marks=[pytest.mark.long, pytest.mark.timeout(1200)]),
    ],
)
def test_with_an_ample_allowance_everything_is_stored(scene: Rig, soak: Soak) -> None:
    fought = fire(scene, soak)

    found = judged(scene, fought)
    assert found.figures().stored == soak.rows


@pytest.mark.longest
@pytest.mark.timeout(5 * 3600)
def test_of_30000_jobs_none_is_lost_or_paid_for_twice_unknowingly(scene: Rig) -> None:
    soak = replace(LONGEST, rows=int(os.environ.get("SOAK_ROWS", LONGEST.rows)))

    fought = fire(scene, replace(soak, allowance="100"))  # without one, feeding stops at 500 that are held

    found = judged(scene, fought)
    assert found.figures().stored == soak.rows
