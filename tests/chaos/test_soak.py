"""A batch under fire ends, loses nothing, and pays for nothing twice that it was not allowed to.

What is said here is said by the judge of `tests.chaos.checker`, which reads the manifest, the API's ledger and the
bucket alone, and which fails where the faults did not come.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.checker import Evidence
from tests.chaos.rig import Rig, rig
from tests.chaos.soak import Soak, fire
from tests.servers import RunningS3

SHORT = Soak(rows=60, kills=5, redis_kills=1, latency_s=1.0, hang_s=3.0, within_s=280.0)
LONG = Soak(rows=500, kills=40, redis_kills=2)
LONGEST = Soak(rows=30_000, kills=60, redis_kills=2, latency_s=0.02, spread=0.0, within_s=4 * 3600, look_s=2.0)


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


def nothing_wrong(found: Evidence) -> None:
    """Fail with everything that is wrong, and say what was seen."""
    print(found.figures().as_json())  # noqa: T201 - `pytest -s` and a failure show it
    assert found.judge() == []


@pytest.mark.parametrize(
    "soak", [short("0"), pytest.param(long("0"), marks=[pytest.mark.long, pytest.mark.timeout(1200)])]
)
def test_without_an_allowance_nothing_is_charged_twice_and_what_is_held_is_counted(scene: Rig, soak: Soak) -> None:
    _, found = fire(scene, soak)

    nothing_wrong(found)
    assert found.charged_twice() == []
    assert found.figures().stored + found.held == soak.rows


@pytest.mark.parametrize("soak", [pytest.param(long(""), marks=[pytest.mark.long, pytest.mark.timeout(1200)])])
def test_with_the_default_allowance_the_report_says_at_least_what_was_paid_twice(scene: Rig, soak: Soak) -> None:
    _, found = fire(scene, soak)

    nothing_wrong(found)
    assert found.figures().stored + found.held == soak.rows


@pytest.mark.parametrize(
    "soak", [short("5"), pytest.param(long("5"), marks=[pytest.mark.long, pytest.mark.timeout(1200)])]
)
def test_with_an_ample_allowance_everything_is_stored(scene: Rig, soak: Soak) -> None:
    _, found = fire(scene, soak)

    nothing_wrong(found)
    assert found.figures().stored == soak.rows


@pytest.mark.longest
@pytest.mark.timeout(5 * 3600)
def test_of_30000_jobs_none_is_lost_or_paid_for_twice_unknowingly(scene: Rig) -> None:
    _, found = fire(scene, replace(LONGEST, allowance="100"))  # without one, feeding stops at 500 that are held

    nothing_wrong(found)
    assert found.figures().stored == LONGEST.rows
